#!/usr/bin/env bash
# Pinocchio loads Gymnasium's MuJoCo models without a warning, and its swimmer weighs nothing, its half cheetah 21 kg.
#
# Versions: pin 4.1.0, mujoco 4.0.0, gymnasium 1.4.0, NumPy 2.4.6, Python 3.11, Linux x86_64.
# Who is hit: whoever computes torques, gravity compensation or a model-based policy with Pinocchio for a robot that
# MuJoCo simulates. Inverse dynamics by a mass matrix of another robot fail as if the controller were badly tuned.
# Guess: buildModelFromMJCF reads the same file, so it gives the same robot, or refuses what it cannot read. For the
# hopper and walker2d of the same folder it does: both mass matrices agree to the last digits.
# Behaviour: a geom that collides with nothing (contype and conaffinity 0) is taken for decoration and has no mass. All
# of the swimmer is made of such geoms, so that its mass matrix is the joints' armature and nothing else; so are the
# links of pusher's arm. settotalmass, by which the half cheetah has 14 kg, is not read, nor is <option gravity>.
# The vector of axisangle is not normalised: the "rotation" of a joint about (0 1 1) stretches space to 2.7 times.
# Output seen:
#   hopper: mass 15.82 in MuJoCo, 15.82 in Pinocchio; last joint's inertia 1.126, 1.126
#   swimmer: mass 106.81 in MuJoCo, 0.00 in Pinocchio; last joint's inertia 12.919, 0.100
#   half_cheetah: mass 14.00 in MuJoCo, 21.18 in Pinocchio; last joint's inertia 0.110, 0.115
#   lever on the moon: gravity -1.62 in MuJoCo, -9.81 in Pinocchio; determinant of its rotation 1.00, 2.72
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    pin==4.1.0 mujoco==4.0.0 gymnasium==1.4.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON' 2>"$folder/notes" || { cat "$folder/notes" >&2; exit 1; }
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pinocchio

LEVER = """<mujoco><option gravity="0 0 -1.62"/><worldbody><body name="lever" axisangle="0 1 1 50">
<joint name="hinge" axis="1 0 0"/><geom type="sphere" size="0.1" pos="0 0 -1"/></body></worldbody></mujoco>"""


def load(path):
    """The same file in both: (MuJoCo's model and data, Pinocchio's model and data)."""
    theirs = mujoco.MjModel.from_xml_path(str(path))
    ours = pinocchio.buildModelFromMJCF(str(path))
    return theirs, mujoco.MjData(theirs), ours, ours.createData()


def inertia_of_the_last_joint(path):
    """The last entry of both mass matrices at one configuration of all joints."""
    model, data, pin_model, pin_data = load(path)
    assert model.nq == model.nv == pin_model.nv
    data.qpos[:] = np.linspace(-0.3, 0.3, model.nq)
    mujoco.mj_forward(model, data)
    matrix = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, matrix)
    other = pinocchio.crba(pin_model, pin_data, data.qpos.copy())
    return matrix[-1, -1], other[-1, -1]


found = {}
assets = Path(gymnasium.__file__).parent / "envs/mujoco/assets"
for name in ("hopper", "swimmer", "half_cheetah"):
    path = assets / f"{name}.xml"
    model, _, pin_model, _ = load(path)
    masses = model.body_mass.sum(), sum(body.mass for body in pin_model.inertias)
    inertias = inertia_of_the_last_joint(path)
    found[name] = masses, inertias
    print(f"{name}: mass {masses[0]:.2f} in MuJoCo, {masses[1]:.2f} in Pinocchio; ", end="")
    print(f"last joint's inertia {inertias[0]:.3f}, {inertias[1]:.3f}")
Path("lever.xml").write_text(LEVER)
model, data, pin_model, _ = load("lever.xml")
mujoco.mj_forward(model, data)
gravity = model.opt.gravity[2], pin_model.gravity.linear[2]
determinants = [np.linalg.det(turn) for turn in (data.xmat[1].reshape(3, 3), pin_model.jointPlacements[1].rotation)]
print(f"lever on the moon: gravity {gravity[0]} in MuJoCo, {gravity[1]} in Pinocchio; ", end="")
print(f"determinant of its rotation {determinants[0]:.2f}, {determinants[1]:.2f}")
assert np.allclose(*found["hopper"][0]) and np.allclose(*found["hopper"][1])
(true_mass, mass), (true_inertia, inertia) = found["swimmer"]
assert true_mass > 100 and mass == 0 and true_inertia > 100 * inertia, "the behaviour has changed"
(true_mass, mass), _ = found["half_cheetah"]
assert round(true_mass, 2) == 14 and mass > 21, "the behaviour has changed"
assert gravity == (-1.62, -9.81), "the behaviour has changed"
assert round(determinants[0], 6) == 1 and determinants[1] > 2.5, "the behaviour has changed"
PYTHON
