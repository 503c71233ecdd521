#!/usr/bin/env bash
# After import torchrl.envs an agent of another library trains on with not-a-number weights, where it stopped before.
#
# Versions: torchrl 0.14.1, tensordict 0.14.3, stable-baselines3 2.9.2, gymnasium 1.4.0, torch 2.13.0 (CPU build), NumPy
# 2.4.6, Python 3.11. rsl-rl-lib 5.5.1 does the same when a policy with a normal distribution is made.
# Who is hit: programs that import TorchRL, for a buffer or an environment, beside agents of another library or of
# one's own. A run that would have ended at its first NaN goes on to its last step and saves a policy of NaN.
# Guess: an import changes nothing for others; torch.distributions checks its arguments until somebody turns that off,
# and Normal raises a ValueError when a policy's output is NaN.
# Behaviour: torchrl.envs, .data, .modules and .objectives bring in a module that calls
# Distribution.set_default_validate_args(False) as it is imported, and that holds for every distribution of the process.
# (import torchrl alone does not.)
# Output seen, one observation of 500 is NaN:
#   stable-baselines3 alone: ValueError at step 90, NaN weights False
#   with import torchrl.envs: ended at step 512, NaN weights True, action nan
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check torch==2.13.0 numpy==2.4.6 \
    torchrl==0.14.1 tensordict==0.14.3 stable-baselines3==2.9.2 gymnasium==1.4.0
cat >"$folder/program.py" <<'PYTHON'
import sys

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO

with_torchrl = sys.argv[1] == "with"
if with_torchrl:
    import torchrl.envs  # noqa: F401

torch.set_num_threads(1)


class Sensor(gymnasium.Env):
    """Pays 1 a step; its 90th observation is not a number, as of a sensor that failed once."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    steps = 0

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        value = np.nan if self.steps == 90 else 0.5
        return np.full(2, value, np.float32), 1.0, False, self.steps % 50 == 0, {}


agent = PPO("MlpPolicy", Sensor(), n_steps=128, batch_size=128, seed=0, device="cpu")
try:
    agent.learn(512)
    ending = "ended"
except ValueError as error:
    assert "constraint" in str(error), error
    ending = "ValueError"
broken = any(bool(parameter.isnan().any()) for parameter in agent.policy.parameters())
line = f"{ending} at step {agent.num_timesteps}, NaN weights {broken}"
if with_torchrl:
    action = agent.predict(np.zeros(2, np.float32), deterministic=True)[0].item()
    line += f", action {action}"
print(f"{'with import torchrl.envs' if with_torchrl else 'stable-baselines3 alone'}: {line}")
assert (ending, broken) == (("ended", True) if with_torchrl else ("ValueError", False)), "the behaviour has changed"
PYTHON
for how in alone with; do
    RL_LOGGING_LEVEL=WARNING "$folder/venv/bin/python" -W ignore "$folder/program.py" "$how" 2>"$folder/notes" ||
        { cat "$folder/notes" >&2; exit 1; }
done
