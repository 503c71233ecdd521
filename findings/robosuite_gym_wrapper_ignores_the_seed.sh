#!/usr/bin/env bash
# robosuite's GymWrapper: reset(seed=0) places objects elsewhere each time, and the time limit is a termination.
#
# Versions: robosuite 1.5.2, mujoco 3.3.0, gymnasium 1.4.0, h5py 3.16.0, NumPy 1.26.4, Python 3.11.
# Who is hit: whoever evaluates two policies on "the same" seeds compares them on different layouts, and an algorithm that
# tells the two ends apart takes the value after the last step for 0 in every episode, whatever the robot was about to do.
# Guess: as everywhere in Gymnasium, a seed fixes the episode, and the end of the horizon is "truncated", which the wrapper
# returns; "terminated" is for states in which the task is over.
# Behaviour: the wrapper seeds NumPy's global generator, from which robosuite 1.5 no longer draws: each environment has a
# generator of its own, made by robosuite.make(seed=...), which the wrapper cannot reach. robosuite's only end is the
# horizon, and the wrapper returns it as "terminated"; "truncated" is always False. ignore_done=True with Gymnasium's
# TimeLimit around the wrapper gets the ends right.
# Output seen, Lift with a horizon of 5 steps:
#   reset(seed=0) three times: the cube is in 3 places
#   two environments by make(seed=0), reset(seed=1) and reset(seed=2): the cube is in 1 place
#   at the horizon: terminated True, truncated False
#   ignore_done and TimeLimit: terminated False, truncated True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check robosuite==1.5.2 mujoco==3.3.0 \
    gymnasium==1.4.0 h5py==3.16.0 numpy==1.26.4
cd "$folder"
MUJOCO_GL=disabled "$folder/venv/bin/python" - <<'PYTHON' 2>"$folder/notes" || { cat "$folder/notes" >&2; exit 1; }
import numpy as np
import robosuite
from gymnasium.wrappers import TimeLimit
from robosuite.wrappers import GymWrapper

HORIZON = 5


def lift(**options):
    return GymWrapper(
        robosuite.make(
            "Lift",
            robots="Panda",
            horizon=HORIZON,
            hard_reset=False,
            has_renderer=False,
            has_offscreen_renderer=False,
            use_camera_obs=False,
            **options,
        )
    )


def cube(env, seed):
    """Reset and return where the cube stands, in metres."""
    env.reset(seed=seed)
    base = env.unwrapped
    return tuple(base.sim.data.body_xpos[base.cube_body_id][:2].round(6))


def last_step(env):
    for _ in range(HORIZON):
        *_, terminated, truncated, _ = env.step(np.zeros(env.action_space.shape))
    return terminated, truncated


env = lift()
places = len({cube(env, seed=0) for _ in range(3)})
print(f"reset(seed=0) three times: the cube is in {places} places")
assert places == 3, "the behaviour has changed"
ends = last_step(env)

seeded = {cube(lift(seed=0), seed) for seed in (1, 2)}
print(f"two environments by make(seed=0), reset(seed=1) and reset(seed=2): the cube is in {len(seeded)} place")
assert len(seeded) == 1

print("at the horizon: terminated {}, truncated {}".format(*ends))
assert ends == (True, False), "the behaviour has changed"
limited = TimeLimit(lift(ignore_done=True), HORIZON)
limited.reset()
ends = last_step(limited)
print("ignore_done and TimeLimit: terminated {}, truncated {}".format(*ends))
assert ends == (False, True)
PYTHON
