#!/usr/bin/env bash
# mujoco.rollout plans in another world than its data's: welds that were switched on are off, mocap is at home.
#
# Versions: mujoco 3.17.0, 4.0.0, NumPy 2.4.6, Python 3.11, Linux x86_64.
# Guess: rollout(model, data, state), with the full physics state of those same data, goes on as mj_step
# would. Its documentation says that it sets all inputs of the step itself, which sounds like care, not like
# other inputs.
# Behaviour: the full physics state has no equality switches, mocap poses or applied forces, and rollout does
# not leave them as they are in data: it puts the model's own in their place, for each rollout, and leaves
# data with those. So a weld that was made at the grasp, by eq_active, is gone in all that a planner looks at:
# every plan drops the object, and afterwards the caller's data have dropped it too. mjSTATE_INTEGRATION
# cannot be given instead: its size is refused. control_spec with EQ_ACTIVE, MOCAP_POS and MOCAP_QUAT in each
# step's control is what keeps them.
# Output seen, a box welded to a mocap hand that was raised to 1.2 m, 250 steps on, the same under 3.17.0 and
# 4.0.0:
#   mj_step: box at 1.20 m; rollout: box at -0.03 m; data afterwards: weld False, hand at 1.0 m;
#   rollout with control_spec: box at 1.20 m
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/program.py" <<'PYTHON'
import copy

import mujoco
import numpy as np
from mujoco import mjtState, rollout

STEPS = 250
XML = """<mujoco><worldbody><body name="hand" mocap="true" pos="0 0 1"/>
<body name="box" pos="0 0 1"><freejoint/><geom type="box" size="0.05 0.05 0.05" mass="1"/></body></worldbody>
<equality><weld name="grasp" body1="hand" body2="box" active="false"/></equality></mujoco>"""


def state_of(data, which):
    state = np.zeros(mujoco.mj_stateSize(model, which))
    mujoco.mj_getState(model, data, state, which)
    return state


model = mujoco.MjModel.from_xml_string(XML)
data = mujoco.MjData(model)
data.eq_active[0] = 1
data.mocap_pos[0, 2] = 1.2
for _ in range(500):
    mujoco.mj_step(model, data)
state = state_of(data, mjtState.mjSTATE_FULLPHYSICS)[None]
user = int(mjtState.mjSTATE_MOCAP_POS | mjtState.mjSTATE_MOCAP_QUAT | mjtState.mjSTATE_EQ_ACTIVE)
inputs = np.tile(state_of(data, user), (1, STEPS, 1))

stepped, planned, told = (copy.copy(data) for _ in range(3))
for _ in range(STEPS):
    mujoco.mj_step(model, stepped)
plan, _ = rollout.rollout(model, planned, state, nstep=STEPS)
kept, _ = rollout.rollout(model, told, state, inputs, control_spec=user)
place = 1 + 2  # the state begins with the time
print(f"{mujoco.__version__}: mj_step: box at {stepped.qpos[2]:.2f} m;", end=" ")
print(f"rollout: box at {plan[0, -1, place]:.2f} m;", end=" ")
print(f"data afterwards: weld {planned.eq_active[0]}, hand at {planned.mocap_pos[0, 2]:.1f} m;", end=" ")
print(f"rollout with control_spec: box at {kept[0, -1, place]:.2f} m")
assert abs(stepped.qpos[2] - 1.2) < 0.01 and abs(kept[0, -1, place] - 1.2) < 0.01
assert plan[0, -1, place] < 0.1, "the behaviour has changed"
assert not planned.eq_active[0] and planned.mocap_pos[0, 2] == 1.0, "the behaviour has changed"
try:
    rollout.rollout(model, planned, state_of(data, mjtState.mjSTATE_INTEGRATION)[None], nstep=STEPS)
    raise SystemExit("the behaviour has changed: the integration state is taken")
except ValueError:
    pass
PYTHON
for version in 3.17.0 4.0.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
        "mujoco==$version" numpy==2.4.6
    "$folder/$version/bin/python" "$folder/program.py"
done
