#!/usr/bin/env bash
# Humanoid-v5's default observation is a function of the model's masses: hidden dynamics are not hidden.
#
# Versions: gymnasium 1.4.0, mujoco 3.3.0, NumPy 2.4.6, Python 3.11.
# Guess: scaling body masses (domain randomisation, Humanoid tasks of meta-RL) changes how the robot moves, so an agent
# must infer the scale from what its actions do; the observation at the reset, before any action, is the same.
# Behaviour: "cinert", 130 of the 348 numbers, holds each body's inertia about the centre of mass, and with it the mass
# itself: every tenth number is a body's mass. One observation tells the scale exactly, before the first step. Ant-v5,
# HalfCheetah-v5, Hopper-v5 and Walker2d-v5 show no such thing.
# Output seen:
#   Humanoid-v5 at the reset, masses x 1 and x 1.5: 132 of 348 entries differ
#   ratio of the entries that hold masses: 1.5 to 1.5
#   Ant-v5: 0, HalfCheetah-v5: 0, Hopper-v5: 0, Walker2d-v5: 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "gymnasium[mujoco]==1.4.0" mujoco==3.3.0 \
    numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import gymnasium
import numpy as np


def first_observation(name, scale):
    env = gymnasium.make(name)
    model = env.unwrapped.model
    model.body_mass[:] *= scale
    model.body_inertia[:] *= scale
    observation, _ = env.reset(seed=0)
    env.close()
    return observation


plain, heavy = (first_observation("Humanoid-v5", scale) for scale in (1.0, 1.5))
differ = int((plain != heavy).sum())
print(f"Humanoid-v5 at the reset, masses x 1 and x 1.5: {differ} of {len(plain)} entries differ")
inertias = [each[45:175].reshape(13, 10) for each in (plain, heavy)]
ratios = inertias[1][:, 9] / inertias[0][:, 9]
print(f"ratio of the entries that hold masses: {ratios.min():.6g} to {ratios.max():.6g}")
others = {}
for name in ("Ant-v5", "HalfCheetah-v5", "Hopper-v5", "Walker2d-v5"):
    one, other = (first_observation(name, scale) for scale in (1.0, 1.5))
    others[name] = int((one != other).sum())
print(", ".join(f"{name}: {count}" for name, count in others.items()))
assert np.allclose(ratios, 1.5), "the behaviour has changed"
assert not any(others.values()), "the behaviour has changed"
PYTHON
