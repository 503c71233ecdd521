#!/usr/bin/env bash
# pytorch_kinematics shifts the links of a MuJoCo model wherever a joint is not at its body's origin.
#
# Versions: pytorch_kinematics 0.10.0, mujoco 3.3.7, gymnasium 1.4.0, torch 2.13.0 (CPU build), NumPy 2.4.6,
# Python 3.11.
# Who is hit: forward kinematics, Jacobians and inverse kinematics of chains from MJCF, for one the legs of
# Gymnasium's Hopper and Walker2d. A joint at its body's origin, as in most arms, is right.
# Guess: build_chain_from_mjcf takes a model that MuJoCo compiled, so its links are where mj_kinematics has
# them; at least so in the rest pose, where no joint has turned.
# Behaviour: a body turns about the place that its joint names, and its frame keeps its own origin. The
# chain moves on to the joint, turns and stays there: the way back from joint to origin is missing. So the
# frame is that of the joint, all that hangs on it is shifted by the joint's place, and the shifts of
# several joints add up. The Jacobian is that of the shifted robot. A chain from URDF has no such way, for
# its joints are at the links' origins.
# Output seen, metres between the chain's foot and MuJoCo's, and how far the knee moves the foot forward:
#   hopper.xml: rest 0.37, bent 0.32, joints at the bodies' origins 0.00;
#     knee 0.25 m per radian, by MuJoCo 0.60
#   walker2d_v5.xml: the same, rest 0.40, bent 0.33
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check torch==2.13.0 \
    numpy==2.4.6 mujoco==3.3.7 gymnasium==1.4.0 pytorch_kinematics==0.10.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytorch_kinematics
import torch

ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
JOINTS = ("thigh_joint", "leg_joint", "foot_joint")


def compare(text, angles):
    """Return the chain's error at the foot, and the knee's slope of its x by MuJoCo and the chain."""
    model = mujoco.MjModel.from_xml_string(text)
    data = mujoco.MjData(model)
    for name, angle in zip(JOINTS, angles, strict=True):
        data.joint(name).qpos = angle
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    jacobian = np.zeros((3, model.nv))
    mujoco.mj_jacBody(model, data, jacobian, None, model.body("foot").id)
    columns = [model.joint(name).dofadr[0] for name in JOINTS]

    chain = pytorch_kinematics.build_chain_from_mjcf(text, "torso")
    leg = pytorch_kinematics.SerialChain(chain, "foot", "torso")
    assert tuple(leg.get_joint_parameter_names()) == JOINTS
    bent = torch.tensor(angles, dtype=torch.float32)
    place = leg.forward_kinematics(bent).get_matrix()[0, :3, 3].numpy()
    ours = leg.jacobian(bent)[0, :3].numpy()
    gap = np.linalg.norm(data.body("foot").xpos - data.body("torso").xpos - place)
    return gap, jacobian[0, columns[1]], ours[0, 1]


def at_origins(text):
    """Put each joint of the leg at its body's origin, which makes another robot."""
    specification = mujoco.MjSpec.from_string(text)
    for name in JOINTS:
        specification.joint(name).pos = 0, 0, 0
    specification.compile()
    return specification.to_xml()


for name in ("hopper.xml", "walker2d_v5.xml"):
    text = (ASSETS / name).read_text()
    rest, true_slope, slope = compare(text, (0, 0, 0))
    bent, _, _ = compare(text, (0, -1, 0.5))
    moved, true_moved_slope, moved_slope = compare(at_origins(text), (0, -1, 0.5))
    print(f"{name}: rest {rest:.2f}, bent {bent:.2f}, joints at the bodies' origins {moved:.2f};", end=" ")
    print(f"knee {slope:.2f} m per radian, by MuJoCo {true_slope:.2f}")
    assert moved < 1e-5 and np.isclose(moved_slope, true_moved_slope, atol=1e-5)
    assert rest > 0.3 and bent > 0.3, "the behaviour has changed"
    assert np.isclose(slope, true_slope - 0.35, atol=1e-5), "the behaviour has changed"
PYTHON
