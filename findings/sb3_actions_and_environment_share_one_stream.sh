#!/usr/bin/env bash
# With stable-baselines3's seed, SAC's first random actions are the environment's own random numbers.
#
# Versions: stable-baselines3 2.9.2, gymnasium 1.4.0, torch 2.13.0 (CPU build), NumPy 2.4.6, Python 3.11.
# Guess: SAC(..., seed=0) makes a run repeatable, and the random actions before learning_starts are independent of the
# goals and starts that the environment draws at its resets.
# Behaviour: set_random_seed seeds the action space and the environment with the same number, and both make NumPy's
# default generator of it. An environment that draws a uniform goal in reset() draws the very numbers that the first
# uniform actions are made of: in the first episode the first action points exactly at the goal.
# Output seen:
#   goal of the first episode 0.2739233746429086
#   first action              0.2739234
#   correlation of goals and actions over 20 episodes 1.0
#   correlation with an action space seeded otherwise -0.2
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 \
    gymnasium==1.4.0 stable-baselines3==2.9.2
"$folder/venv/bin/python" - <<'PYTHON'
import gymnasium
import numpy as np
from stable_baselines3 import SAC


class Reach(gymnasium.Env):
    """One number to hit; each episode's is drawn uniformly at its reset."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self):
        self.goals, self.actions = [], []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.goals.append(float(self.np_random.uniform(-1.0, 1.0)))
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.actions.append(float(action[0]))
        return np.zeros(1, np.float32), -abs(self.goals[-1] - float(action[0])), True, False, {}


def play(**reseed):
    env = Reach()
    model = SAC("MlpPolicy", env, seed=0, learning_starts=100, policy_kwargs={"net_arch": [8]})
    if reseed:
        model.action_space.seed(reseed["seed"])
        env.action_space.seed(reseed["seed"])
    model.learn(20)
    return np.array(env.goals[:20]), np.array(env.actions[:20])


goals, actions = play()
print("goal of the first episode", goals[0])
print("first action             ", np.float32(actions[0]))
correlation = np.corrcoef(goals, actions)[0, 1]
print("correlation of goals and actions over 20 episodes", round(correlation, 4))
others, elsewhere = play(seed=12345)
print("correlation with an action space seeded otherwise", round(np.corrcoef(others, elsewhere)[0, 1], 4))
assert np.allclose(goals, actions, atol=1e-6), "the behaviour has changed"
assert not np.allclose(others, elsewhere, atol=1e-2)
PYTHON
