#!/usr/bin/env bash
# TorchRL's FrameSkipTransform goes on stepping when an episode has ended, and adds up what it is paid there.
#
# Versions: torchrl 0.14.1, tensordict 0.14.3, gymnasium 1.4.0, torch 2.13.0 (CPU build), NumPy 2.4.6, Python
# 3.11.
# Who is hit: whoever repeats actions with the transform. A reward or a penalty for the end is paid up to
# frame_skip times, and learned and reported as the return; an end that passes by within the repeated steps is
# never seen.
# Guess: an action is repeated until the episode ends, as GymEnv's argument frame_skip does.
# Behaviour: the transform takes all its steps, whatever the flags say, and keeps the flags of the last one.
# Nothing warns, as most environments can be stepped on after their end.
# Output seen, returns of five episodes; a car pushed with its velocity (100 for the goal, up to 0.1 lost a
# step), each action 4 times; two links swung (1 lost a step until the tip is up), each action 6 times:
#   MountainCarContinuous-v0: argument [89, 89, 89, 89, 89]
#   MountainCarContinuous-v0: transform [389, 389, 389, 289, 289]
#   Acrobot-v1: argument [-196, -260, -172, -145, -374]
#   Acrobot-v1: transform [-196, -260, -172, -178, -448]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 numpy==2.4.6 torchrl==0.14.1 tensordict==0.14.3 gymnasium==1.4.0
RL_LOGGING_LEVEL=WARNING "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import torch
from tensordict.nn import TensorDictModule
from torchrl.envs import FrameSkipTransform, GymEnv, TransformedEnv


def push(observation):
    """Push the car with its velocity, which drives it to the goal."""
    return torch.where(observation[..., 1:] >= 0, 1.0, -1.0)


def swing(observation):
    """Turn the joint against the first link's velocity, which swings the tip up to the goal."""
    return 2 * (observation[..., 4] < 0).long()


def returns(name, act, skip, by_transform):
    env = GymEnv(name, frame_skip=1 if by_transform else skip, categorical_action_encoding=True)
    if by_transform:
        env = TransformedEnv(env, FrameSkipTransform(skip))
    policy = TensorDictModule(act, in_keys=["observation"], out_keys=["action"])
    found = []
    for seed in range(5):
        env.set_seed(seed)
        rollout = env.rollout(200, policy)
        assert rollout["next", "terminated"][-1].item()
        found.append(round(rollout["next", "reward"].sum().item()))
    print(f"{name}: {'transform' if by_transform else 'argument'} {found}", flush=True)
    return found


car = [returns("MountainCarContinuous-v0", push, 4, by_transform) for by_transform in (False, True)]
assert all(85 < each < 95 for each in car[0])
assert all(each - right in (200, 300) for right, each in zip(*car, strict=True)), "the behaviour has changed"
tip = [returns("Acrobot-v1", swing, 6, by_transform) for by_transform in (False, True)]
assert all(each <= right for right, each in zip(*tip, strict=True))
assert any(each < right - 6 for right, each in zip(*tip, strict=True)), "the behaviour has changed"
PYTHON
