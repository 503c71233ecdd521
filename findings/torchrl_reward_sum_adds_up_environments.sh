#!/usr/bin/env bash
# TorchRL's RewardSum sums over environments instead of time when it is given data that were collected before.
#
# Versions: torchrl 0.14.1, tensordict 0.14.3, gymnasium 1.4.0, torch 2.13.0 (CPU build), NumPy 2.4.6, Python 3.11.
# Guess: RewardSum accumulates rewards over time, per episode, on a rollout or in a replay buffer as in an environment:
# in "offline mode", as its error message calls it, it looks for the dimension that is named "time".
# Behaviour: it finds that dimension and sums over the one before. On a rollout of several environments, whose
# dimensions are environment and time, it adds up the rewards of different environments at the same step, so a return
# is at most the number of environments times a reward, and grows with the row. On a rollout of one environment the
# dimension before is the last, of size 1: "episode_reward" is the reward. Neither raises. In the environment it is
# right.
# Output seen, CartPole (reward 1 a step), eight steps:
#   1 environment: while collecting [1, 2, 3, 4, 5, 6, 7, 8], afterwards [1, 1, 1, 1, 1, 1, 1, 1]
#   3 environments, last: while collecting [1, 2, 3, 4, 5, 6, 7, 8], afterwards [3, 3, 3, 3, 3, 3, 3, 3]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check torch==2.13.0 numpy==2.4.6 \
    torchrl==0.14.1 tensordict==0.14.3 gymnasium==1.4.0
RL_LOGGING_LEVEL=WARNING "$folder/venv/bin/python" - <<'PYTHON' 2>"$folder/notes" || { cat "$folder/notes" >&2; exit 1; }
import torch
from torchrl.envs import GymEnv, RewardSum, SerialEnv, TransformedEnv


def cart_pole():
    return GymEnv("CartPole-v1")


KEY = ("next", "episode_reward")
found = {}
for name, make in (("1 environment", cart_pole), ("3 environments, last", lambda: SerialEnv(3, cart_pole))):
    torch.manual_seed(0)
    env = TransformedEnv(make(), RewardSum())
    env.set_seed(0)
    rollout = env.rollout(8)
    assert rollout.names[-1] == "time" and not rollout["next", "done"].any()
    transform = RewardSum(in_keys=[("next", "reward")], out_keys=[KEY])
    afterwards = transform(rollout.exclude(KEY))
    rows = [data[KEY].reshape(-1, 8)[-1].int().tolist() for data in (rollout, afterwards)]
    found[name] = rows
    print(f"{name}: while collecting {rows[0]}, afterwards {rows[1]}")
for name, number in (("1 environment", 1), ("3 environments, last", 3)):
    assert found[name][0] == list(range(1, 9))
    assert found[name][1] == [number] * 8, "the behaviour has changed"
PYTHON
