#!/usr/bin/env bash
# The orientation that MuJoCo reports for a mesh geom at rest is another one from 3.4.0 on, though nothing else changed.
#
# Versions: mujoco 3.3.0, 3.4.0, 3.17.0, NumPy 2.4.6, Python 3.11, Linux x86_64.
# Guess: data.geom(name).xmat of an unrotated geom in an unrotated body is the identity, or at least the same for the
# same file, so an observation with it, or a policy that reads it, carries over to a newer MuJoCo.
# Behaviour: a mesh is turned into its principal axes of inertia, and xmat is that frame. Where two or three moments are
# equal, as of a cube, a square rod or a cylinder, the frame is the version's choice: 3.3.0 says that a cube along the
# world's axes is turned by 170 degrees, 3.4.0 that it is not. A brick with three different sides is the same in all.
# Contacts, masses and the body's own orientation do not change.
# Output seen, degrees between the geom's frame and the world's:
#   3.3.0: cube 169.6, square rod 45.0, brick 0.0, body of the cube 0.0
#   3.4.0: cube 0.0, square rod 0.0, brick 0.0, body of the cube 0.0
#   3.17.0: cube 0.0, square rod 0.0, brick 0.0, body of the cube 0.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/program.py" <<'PYTHON'
import itertools

import mujoco
import numpy as np


def degrees(matrix):
    return float(np.degrees(np.arccos(np.clip((np.trace(matrix.reshape(3, 3)) - 1) / 2, -1, 1))))


def angles(*half_sides):
    corners = [np.multiply(signs, half_sides) for signs in itertools.product((-1, 1), repeat=3)]
    vertices = " ".join(f"{number:.4f}" for corner in corners for number in corner)
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><asset><mesh name="m" vertex="{vertices}"/></asset><worldbody><body name="b"><freejoint/>'
        '<geom name="g" type="mesh" mesh="m"/></body></worldbody></mujoco>'
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return degrees(data.geom("g").xmat), degrees(data.body("b").xmat)


(cube, body), (rod, _), (brick, _) = angles(0.1, 0.1, 0.1), angles(0.1, 0.1, 0.3), angles(0.1, 0.2, 0.3)
print(f"{mujoco.__version__}: cube {cube:.1f}, square rod {rod:.1f}, brick {brick:.1f}, body of the cube {body:.1f}")
assert brick < 0.1 and body < 0.1, "the behaviour has changed"
old = mujoco.__version__ == "3.3.0"
assert (cube > 10) == old and (rod > 10) == old, "the behaviour has changed"
PYTHON
for version in 3.3.0 3.4.0 3.17.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
        "mujoco==$version" numpy==2.4.6
    "$folder/$version/bin/python" "$folder/program.py"
done
