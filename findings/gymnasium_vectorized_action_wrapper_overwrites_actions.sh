#!/usr/bin/env bash
# Gymnasium's vectorised action wrapper writes what it computes into the array of actions that the caller holds.
#
# Versions: gymnasium 1.4.0, NumPy 2.4.6, Python 3.11.
# Guess: VectorizeTransformAction(env, TransformAction, func=f) does to a vector of actions what TransformAction with f
# does to one, and step() leaves its argument alone, as the same function in wrappers.vector.TransformAction does.
# Behaviour: where the action space stays the same, the result goes into the caller's own array. An on-policy
# algorithm that stores its actions after the step stores the transformed ones, beside log-probabilities of those that
# it drew, so its importance ratios are wrong from the first update on. An array that is stepped with repeatedly is
# transformed repeatedly. Where the space differs, as for ClipAction, the caller's array stays as it is.
# Output seen, with a function that halves the action:
#   TransformAction on one environment: environment gets 0.5 0.5 0.5, caller's array afterwards 1
#   vector.TransformAction: environment gets 0.5 0.5 0.5, caller's array afterwards 1
#   vector.VectorizeTransformAction: environment gets 0.5 0.25 0.125, caller's array afterwards 0.125
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check gymnasium==1.4.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import gymnasium
import numpy as np
from gymnasium import wrappers
from gymnasium.vector import SyncVectorEnv


class Echo(gymnasium.Env):
    """Shows the action that it was given."""

    observation_space = action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return action.copy(), 0.0, False, False, {}


def halve(action):
    return action * np.float32(0.5)


def play(env, actions):
    env.reset()
    given = [float(env.step(actions)[0].flat[0]) for _ in range(3)]
    return given, float(actions.flat[0])


vector = SyncVectorEnv([Echo, Echo])
found = {
    "TransformAction on one environment": play(
        wrappers.TransformAction(Echo(), halve, Echo.action_space), np.ones(1, np.float32)
    ),
    "vector.TransformAction": play(wrappers.vector.TransformAction(vector, halve), np.ones((2, 1), np.float32)),
    "vector.VectorizeTransformAction": play(
        wrappers.vector.VectorizeTransformAction(
            vector, wrappers.TransformAction, func=halve, action_space=Echo.action_space
        ),
        np.ones((2, 1), np.float32),
    ),
}
for name, (given, after) in found.items():
    print(f"{name}: environment gets {' '.join(f'{x:g}' for x in given)}, caller's array afterwards {after:g}")
plain, by_function, vectorized = found.values()
assert plain == by_function == ([0.5, 0.5, 0.5], 1.0), "the behaviour has changed"
assert vectorized == ([0.5, 0.25, 0.125], 0.125), "the behaviour has changed"
PYTHON
