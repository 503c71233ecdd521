#!/usr/bin/env bash
# MJX's JAX backend steps a robot without its delays, rotor inertia and moving floor, and raises nothing.
#
# Versions: mujoco 3.17.0, mujoco-mjx 3.17.0, jax 0.10.2 (CPU), SciPy 1.17.1, NumPy 2.4.6, Python 3.11, Linux
# x86_64.
# Who is hit: models that were fitted to a real robot, with the newer elements of MJCF for it. A policy is
# trained on servos that answer at once and motors without inertia, and fails where the model is right.
# Guess: put_model raises for what it does not know; so its documentation says, and so it does for fluid drag
# with an implicit integrator or a PID actuator. Of elements it takes, the numbers are the same up to
# rounding.
# Behaviour: it raises for unknown kinds (of actuators, geoms, integrators), not for unknown attributes. So
# delay of actuators and sensors, interval of sensors, armature of actuators, surfacevel of geoms and the
# option actuatorgroupdisable are read by MuJoCo's compiler, copied or dropped by put_model, and never used in
# a step.
# Output seen, 60 ms, both in double precision (MuJoCo, MJX):
#   servo, 20 ms delay: 0.358 rad, 0.683 rad
#   motor, armature of the actuator: 0.001 rad, 0.016 rad
#   motor of a disabled group: 0.000 rad, 0.016 rad
#   box on a belt that runs at 1 m/s: 0.019 m, 0.000 m
#   position sensor, 20 ms delay: 0.087 rad, 0.649 rad
#   position sensor, each 20 ms: 0.106 rad, 0.649 rad
#   MJX against MuJoCo without all of these: largest difference 2e-16
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check mujoco==3.17.0 \
    mujoco-mjx==3.17.0 jax==0.10.2 jaxlib==0.10.2 scipy==1.17.1 numpy==2.4.6
"$folder/venv/bin/python" - 2>"$folder/notes" <<'PYTHON' || { cat "$folder/notes" >&2; exit 1; }
import jax
import mujoco
import numpy as np
from mujoco import mjx

jax.config.update("jax_enable_x64", True)
ARM = """<body pos="0 {y} 1"><joint name="{name}" damping="1"/>
<geom size="0.1" mass="1" pos="0.3 0 0" contype="0" conaffinity="0"/></body>"""
XML = f"""<mujoco><option actuatorgroupdisable="2"/><worldbody>
<geom type="plane" size="5 5 0.1" surfacevel="1 0 0 0 0 0"/>
<body pos="0 0 0.1"><freejoint/><geom type="box" size="0.1 0.1 0.1" mass="1"/></body>
{"".join(ARM.format(name=name, y=y) for y, name in enumerate(("late", "heavy", "off"), start=1))}</worldbody>
<actuator><position joint="late" kp="50" delay="0.02" nsample="10"/><motor joint="heavy" armature="2"/>
<motor joint="off" group="2"/></actuator>
<sensor><jointpos joint="late" nsample="10" delay="0.02"/>
<jointpos joint="late" nsample="1" interval="0.02"/></sensor>
</mujoco>"""
STEPS = 30

model = mujoco.MjModel.from_xml_string(XML)
data = mujoco.MjData(model)
data.ctrl[:] = 1.0
device_model, device_data = mjx.put_model(model, impl="jax"), mjx.put_data(model, data, impl="jax")
step = jax.jit(mjx.step)
for _ in range(STEPS):
    mujoco.mj_step(model, data)
    device_data = step(device_model, device_data)
names = (
    "servo, 20 ms delay",
    "motor, armature of the actuator",
    "motor of a disabled group",
    "box on a belt",
    "position sensor, 20 ms delay",
    "position sensor, each 20 ms",
)
theirs, ours = (
    np.concatenate([d.qpos[7:], d.qpos[:1], d.sensordata]) for d in (data, jax.device_get(device_data))
)
for name, right, found in zip(names, theirs, ours, strict=True):
    print(f"{name}: MuJoCo {right:.3f}, MJX {found:.3f}")
assert (np.abs(theirs - ours) > 0.01).all(), "the behaviour has changed"

# The same model without these attributes is, in MuJoCo, what MJX steps.
model.opt.disableactuator = 0
for values in (model.actuator_delay, model.actuator_armature, model.geom_surfacevel):
    values[:] = 0.0
mujoco.mj_setConst(model, mujoco.MjData(model))
plain = mujoco.MjData(model)
plain.ctrl[:] = 1.0
for _ in range(STEPS):
    mujoco.mj_step(model, plain)
gap = np.abs(np.concatenate([plain.qpos[7:], plain.qpos[:1]]) - ours[:4]).max()
print(f"MJX against MuJoCo without all of these: largest difference {gap:.0e}")
assert gap < 1e-6
PYTHON
