#!/usr/bin/env bash
# Under MuJoCo Warp the actuators of a disabled group go on driving the robot, with no error and no warning.
#
# Versions: mujoco 4.0.0, mujoco-warp 4.0.0, warp-lang 1.19.0 (its CPU device), NumPy 2.4.6, Python 3.11.
# Who is hit: models with two sets of actuators on the same joints, position servos and motors, of which
# actuatorgroupdisable (MjOption.disableactuator) picks one. Policies trained on the GPU have both.
# Guess: put_model carries the option over or refuses the model, as it does with a PID actuator or the
# override flag. The documentation lists the options in which MuJoCo Warp differs, and this is not one of
# them.
# Behaviour: put_model takes the model, and nothing reads the option. The forces of all groups are added up.
# Controls of 0 for the disabled ones do not help where they are servos: those hold the joint at 0, as here.
# Output seen, a joint with a motor (group 0, control 1 Nm) and a servo (group 1, control 0), one second:
#   MuJoCo, all groups: 0.10 rad, MuJoCo Warp: 0.10 rad
#   MuJoCo, group 1 disabled: 7.90 rad, MuJoCo Warp: 0.10 rad
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check mujoco==4.0.0 \
    numpy==2.4.6 mujoco-warp==4.0.0 warp-lang==1.19.0
cat >"$folder/program.py" <<'PYTHON'
import mujoco
import warp

warp.config.quiet = True
import mujoco_warp  # noqa: E402 - warp's setting comes first

XML = """<mujoco><option timestep="0.01" gravity="0 0 0"/><worldbody><body>
<joint name="hip" damping="0.05"/><geom size="0.05" pos="0.3 0 0" mass="0.5"/></body></worldbody>
<actuator><motor joint="hip" group="0"/><position joint="hip" group="1" kp="10" kv="1"/></actuator>
</mujoco>"""
STEPS, SERVOS = 100, 1


def angles(disabled):
    """The joint after a second under MuJoCo and under MuJoCo Warp."""
    model = mujoco.MjModel.from_xml_string(XML)
    model.opt.disableactuator = disabled
    data = mujoco.MjData(model)
    data.ctrl[:] = [1.0, 0.0]
    with warp.ScopedDevice("cpu"):
        device_model = mujoco_warp.put_model(model)
        device_data = mujoco_warp.put_data(model, data)
        for _ in range(STEPS):
            mujoco.mj_step(model, data)
            mujoco_warp.step(device_model, device_data)
        return data.qpos[0], device_data.qpos.numpy()[0, 0]


both, both_warp = angles(0)
one, one_warp = angles(1 << SERVOS)
print(f"MuJoCo, all groups: {both:.2f} rad, MuJoCo Warp: {both_warp:.2f} rad")
print(f"MuJoCo, group 1 disabled: {one:.2f} rad, MuJoCo Warp: {one_warp:.2f} rad")
assert abs(both - both_warp) < 1e-3 and one > 2.0
assert one_warp == both_warp, "the behaviour has changed"
PYTHON
# A warning for the user would be an error; what Warp says of the kernels that it compiles is left out.
WARP_CACHE_PATH="$folder/kernels" "$folder/venv/bin/python" -W error::UserWarning "$folder/program.py" \
    2>"$folder/notes" | grep "^MuJoCo" || { cat "$folder/notes" >&2 && exit 1; }
