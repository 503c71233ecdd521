#!/usr/bin/env bash
# A MuJoCo robot that was attached at a frame leaves that frame when the data are reset to its own keyframe.
#
# Versions: mujoco 3.17.0, 4.0.0, NumPy 2.4.6, Python 3.11, Linux x86_64.
# Guess: attach moves a model as a whole: two copies of a robot with a free joint, attached at two frames, stand at
# those frames at the start, and at their keyframe "home" too, which is prefixed and resized along with them.
# Behaviour: qpos0 and mocap bodies are moved by the frame, the keyframes' qpos and mpos are not. So a reset to
# "right/home" puts the right robot where its file had it, here into the left one, which "right/home" leaves at qpos0,
# and the solver drives them apart. With one robot at the world's origin, or robots that are bolted down, all is well,
# so it shows with the second robot that walks. Applying the frame to the free joint's numbers in key_qpos mends it.
# Output seen, a box attached at x = 0 and x = 2 with its mocap target, the same under 3.17.0 and 4.0.0:
#   right robot at qpos0 [2.0, 0.0, 0.2], at right/home [0.0, 0.0, 0.3]
#   its target at qpos0 [3.0, 0.0, 0.0], at right/home [1.0, 0.0, 0.5]
#   contacts between the robots at right/home: 4, fastest velocity 10 steps on 1.1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/program.py" <<'PYTHON'
import mujoco
import numpy as np

ROBOT = """<mujoco><worldbody><body name="trunk" pos="0 0 0.2"><freejoint/><geom type="box" size="0.3 0.2 0.1"/></body>
<body name="target" mocap="true" pos="1 0 0"/></worldbody>
<keyframe><key name="home" qpos="0 0 0.3 1 0 0 0" mpos="1 0 0.5"/></keyframe></mujoco>"""

spec = mujoco.MjSpec()
for name, x in (("left/", 0.0), ("right/", 2.0)):
    spec.attach(mujoco.MjSpec.from_string(ROBOT), frame=spec.worldbody.add_frame(pos=[x, 0.0, 0.0]), prefix=name)
    model = spec.compile()  # as the documentation asks between two attachments
data = mujoco.MjData(model)
right = model.joint(model.body("right/trunk").jntadr[0]).qposadr[0]


def place():
    return data.qpos[right : right + 3].round(6).tolist(), data.mocap_pos[1].round(6).tolist()


def fastest():
    for _ in range(10):
        mujoco.mj_step(model, data)
    return np.abs(data.qvel).max()


start, target = place()
calm = fastest()
mujoco.mj_resetDataKeyframe(model, data, model.key("right/home").id)
home, target_home = place()
mujoco.mj_forward(model, data)
contacts, wild = data.ncon, fastest()
print(f"{mujoco.__version__}: right robot at qpos0 {start}, at right/home {home}")
print(f"  its target at qpos0 {target}, at right/home {target_home}")
print(f"  contacts between the robots at right/home: {contacts}, fastest velocity 10 steps on {wild:.1f}")
assert start == [2.0, 0.0, 0.2] and target == [3.0, 0.0, 0.0]
assert home == [0.0, 0.0, 0.3] and target_home == [1.0, 0.0, 0.5], "the behaviour has changed"
assert contacts > 0 and wild > 3 * calm
PYTHON
for version in 3.17.0 4.0.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
        "mujoco==$version" numpy==2.4.6
    "$folder/$version/bin/python" "$folder/program.py"
done
