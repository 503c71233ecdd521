#!/usr/bin/env bash
# Under MuJoCo 4.0.0 a robot with 60 degrees of freedom or more moves otherwise than with jacobian="dense".
#
# Versions: mujoco 3.17.0 and 4.0.0 (mujoco-core 4.0.0), NumPy 2.4.6, Python 3.11, Linux x86_64.
# Guess: <option jacobian="..."/> says how the constraint Jacobian is stored ("auto" is sparse from 60 degrees of
# freedom on), so a simulation is the same to rounding with either, and a newer MuJoCo is as right as an older one.
# Behaviour: under 3.17.0 the two agree. Under 4.0.0 the Newton solver's factor of a sparse Hessian is wrong for bodies
# that branch: it runs into its limit of 100 iterations, and the robots end elsewhere. No warning is raised. 4.0.1's
# notes say that it is mended there (issue 3767). With fewer than 60 degrees of freedom the default is dense, and right.
# Output seen (72 degrees of freedom, 500 steps):
#   3.17.0: most iterations dense 8, auto 8; positions differ by 3.4e-14
#   4.0.0: most iterations dense 8, auto 100; positions differ by 1.4e+00
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/program.py" <<'PYTHON'
import mujoco
import numpy as np


def limbs(depth, name):
    if depth == 0:
        return ""
    places = [(0.2 * np.cos(2.4 * k + depth), 0.2 * np.sin(2.4 * k + depth)) for k in range(2)]
    return "".join(
        f'<body name="{name}{k}" pos="{x:.3f} {y:.3f} -0.1"><joint axis="{k} {1 - k} 0" damping="0.1"/>'
        f'<geom type="capsule" fromto="0 0 0 0.15 0 -0.05" size="0.03"/>{limbs(depth - 1, name + str(k))}</body>'
        for k, (x, y) in enumerate(places)
    )


def simulate(jacobian):
    bodies = "".join(
        f'<body name="r{i}" pos="{0.3 * i} 0 {0.5 + 0.2 * i}"><freejoint/><geom size="0.1"/>{limbs(4, f"r{i}")}</body>'
        for i in range(2)
    )
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><option jacobian="{jacobian}"/><worldbody><geom type="plane" size="5 5 0.1"/>{bodies}</worldbody>'
        "</mujoco>"
    )
    assert model.nv == 72
    data, most = mujoco.MjData(model), 0
    for _ in range(500):
        mujoco.mj_step(model, data)
        most = max(most, int(data.solver_niter.max()))
    assert not any(warning.number for warning in data.warning)
    return most, data.qpos.copy()


(dense, first), (auto, second) = simulate("dense"), simulate("auto")
apart = np.abs(first - second).max()
print(f"{mujoco.__version__}: most iterations dense {dense}, auto {auto}; positions differ by {apart:.1e}")
if mujoco.__version__ == "4.0.0":
    assert auto == 100 and apart > 0.01, "the behaviour has changed"
else:
    assert auto == dense and apart < 1e-6, "the behaviour has changed"
PYTHON
for version in 3.17.0 4.0.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
        "mujoco==$version" numpy==2.4.6
    "$folder/$version/bin/python" "$folder/program.py"
done
