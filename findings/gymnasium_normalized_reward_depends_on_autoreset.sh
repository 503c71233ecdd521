#!/usr/bin/env bash
# Gymnasium's NormalizeReward lets an episode's return run on into the next, unless the vector resets in the same step.
#
# Versions: gymnasium 1.4.0, NumPy 2.4.6, Python 3.11.
# Guess: it divides by the deviation of the discounted return since the episode's start, as OpenAI's baselines do,
# around one environment as around a vector, and the autoreset mode decides only in which step a reset comes.
# Behaviour: around one environment, and around a vector under NEXT_STEP, which is the mode by default, "terminated" cuts
# the return at the wrong place: the terminal step drops what its episode earned before, and its own reward goes on into
# the next episode, past reset(). "truncated" cuts nothing. Returns then hardly vary, or vary ever less, so the divisor
# shrinks: the same reward is paid several times as high, and higher the longer the training. SAME_STEP cuts both
# endings and agrees with the calculation by hand. So learning rates, value losses and bonuses tuned in one mode are off
# in the other.
# Output seen, normalised last reward of episodes 50 and 500, each of 10 steps:
#   10 at a terminal step: by hand 3.33 3.33, SAME_STEP 3.33 3.33, NEXT_STEP 7.69 20.4, one environment 7.69 20.4
#   1 a step, time limit: by hand 0.366 0.366, SAME_STEP 0.366 0.366, NEXT_STEP 0.0409 0.103, one environment 0.0409 0.103
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check gymnasium==1.4.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import NormalizeReward
from gymnasium.wrappers.vector import NormalizeReward as NormalizeVectorReward

LENGTH, GAMMA, EPISODES = 10, 0.99, (50, 500)


class Episodes(gymnasium.Env):
    """Ten steps: each pays 1 until the time limit, or the last alone pays 10 and is terminal."""

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(1)

    def __init__(self, terminal):
        self.terminal, self.steps = terminal, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        last = self.steps == LENGTH
        reward = 10.0 * last if self.terminal else 1.0
        return np.zeros(1, np.float32), reward, last and self.terminal, last and not self.terminal, {}


def by_hand(terminal):
    """Divide by the deviation of the return since each episode's start, which is the same in all episodes."""
    rewards = [10.0 * (t == LENGTH - 1) if terminal else 1.0 for t in range(LENGTH)]
    returns = [sum(GAMMA ** (t - k) * rewards[k] for k in range(t + 1)) for t in range(LENGTH)]
    return [rewards[-1] / np.std(returns)] * len(EPISODES)


def one(terminal):
    env, last = NormalizeReward(Episodes(terminal), gamma=GAMMA), []
    for episode in range(EPISODES[-1]):
        env.reset()
        for _ in range(LENGTH):
            reward = env.step(0)[1]
        if episode + 1 in EPISODES:
            last.append(float(reward))
    return last


def vector(terminal, mode):
    env, last, ended = SyncVectorEnv([lambda: Episodes(terminal)], autoreset_mode=mode), [], 0
    env = NormalizeVectorReward(env, gamma=GAMMA)
    env.reset()
    while len(last) < len(EPISODES):
        _, rewards, terminated, truncated, _ = env.step(np.zeros(1, np.int64))
        if (terminated | truncated)[0]:
            ended += 1
            if ended in EPISODES:
                last.append(float(rewards[0]))
    return last


for name, terminal in (("10 at a terminal step", True), ("1 a step, time limit", False)):
    found = {
        "by hand": by_hand(terminal),
        "SAME_STEP": vector(terminal, AutoresetMode.SAME_STEP),
        "NEXT_STEP": vector(terminal, AutoresetMode.NEXT_STEP),
        "one environment": one(terminal),
    }
    print(f"{name}: " + ", ".join(f"{key} {a:.3g} {b:.3g}" for key, (a, b) in found.items()))
    assert np.allclose(found["SAME_STEP"], found["by hand"], rtol=0.02), "the behaviour has changed"
    assert np.allclose(found["NEXT_STEP"], found["one environment"], rtol=0.02), "the behaviour has changed"
    early, late = np.divide(found["NEXT_STEP"], found["by hand"])
    assert (early > 2 if terminal else late < 0.5) and late > 2 * early, "the behaviour has changed"
PYTHON
