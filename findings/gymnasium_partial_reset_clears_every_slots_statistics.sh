#!/usr/bin/env bash
# Resetting one finished slot of a Gymnasium vector environment wipes the statistics of all slots that are still running.
#
# Versions: gymnasium 1.4.0, NumPy 2.4.6, Python 3.11.
# Guess: with autoreset disabled, reset(options={"reset_mask": ended}) starts the named slots and touches no other, and
# RecordEpisodeStatistics, which has code for the mask, reports each episode's whole return and length.
# Behaviour: SyncVectorEnv and AsyncVectorEnv take the mask out of the caller's dictionary. The wrapper outside looks for
# it after they have returned, finds none, and clears all slots; NormalizeReward clears all without looking. So long
# episodes are reported as what is left of them since any slot last ended, and the mean episode length of a run with
# episodes of several lengths is far too small. The environments themselves go on correctly. A dictionary that is used
# a second time is empty by then, and resets everything.
# Output seen, for slots that pay 1 a step, one with episodes of 3 steps and one of 10:
#   SyncVectorEnv: the episode of 10 steps is reported with length 1 and return 1
#   AsyncVectorEnv: the episode of 10 steps is reported with length 1 and return 1
#   options after the reset: {}
#   NormalizeReward, running returns of both slots after a reset of the first: 0.0 0.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check gymnasium==1.4.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import NormalizeReward, RecordEpisodeStatistics


class Episodes(gymnasium.Env):
    """Pays 1 a step and ends after ``length`` steps; shows how many it has taken."""

    observation_space = gymnasium.spaces.Box(0.0, 100.0, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(1)

    def __init__(self, length):
        self.length, self.steps = length, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.full(1, self.steps, np.float32), 1.0, self.steps == self.length, False, {}


def reported(kind):
    env = kind([lambda: Episodes(3), lambda: Episodes(10)], autoreset_mode=AutoresetMode.DISABLED)
    env = RecordEpisodeStatistics(env)
    env.reset()
    while True:
        seen, _, ended, _, infos = env.step(np.zeros(2, np.int64))
        if ended[1]:
            env.close()
            return int(seen[1, 0]), int(infos["episode"]["l"][1]), float(infos["episode"]["r"][1])
        if ended.any():
            env.reset(options={"reset_mask": ended})


for kind in (SyncVectorEnv, AsyncVectorEnv):
    steps, length, paid = reported(kind)
    print(f"{kind.__name__}: the episode of {steps} steps is reported with length {length} and return {paid:g}")
    assert (steps, length, paid) == (10, 1, 1.0), "the behaviour has changed"

env = SyncVectorEnv([lambda: Episodes(3), lambda: Episodes(10)], autoreset_mode=AutoresetMode.DISABLED)
env = NormalizeReward(env)
env.reset()
for _ in range(3):
    env.step(np.zeros(2, np.int64))
assert env.accumulated_reward[1] > 2.9
options = {"reset_mask": np.array([True, False])}
env.reset(options=options)
print("options after the reset:", options)
first, second = (float(value) for value in env.accumulated_reward)
print(f"NormalizeReward, running returns of both slots after a reset of the first: {first} {second}")
assert options == {} and first == second == 0.0, "the behaviour has changed"
PYTHON
