#!/usr/bin/env bash
# d3rlpy's reward scalers scale the sum of several steps' rewards as if it were one reward.
#
# Versions: d3rlpy 2.8.1, torch 2.13.0 (CPU build), NumPy 2.4.6, Python 3.11.
# Who is hit: whoever learns offline with MultiStepTransitionPicker and a scaler that shifts (ConstantShift,
# Standard, MinMax) or that measures returns (ReturnBased), as for mazes whose steps should cost 1 each.
# Guess: "r' = r + c" of ConstantShiftRewardScaler is meant for each reward r of the dataset, so that a shift of
# -1 and a dataset whose rewards are 1 less give the same values, whatever the number of steps.
# Behaviour: the picker sums the rewards of n steps, the scaler is applied to the sum. So a path is charged once
# for n steps, and in full where fewer are left. ReturnBasedRewardScaler adds up the sums of overlapping steps as
# an episode's return, nearly n times too much, so that rewards become n times too small. The returns to go of
# the same batch are scaled reward by reward, so the two no longer agree.
# Output seen, a path of 9 steps to the end, discount 0.9; the true value of its start is -6.13:
#   1 step: -1 in the data -6.13, shift of -1 -6.13; greatest return of rewards of 1: 9
#   3 steps: -1 in the data -6.13, shift of -1 -2.26; greatest return of rewards of 1: 24
#   one batch of 3 steps with a shift of -1, the start: reward -1.00, by its return to go -6.13
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 numpy==2.4.6 d3rlpy==2.8.1
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import logging

import d3rlpy
import numpy as np
import structlog
import torch
from d3rlpy.algos import DQNConfig
from d3rlpy.dataset import Episode, MultiStepTransitionPicker, create_infinite_replay_buffer
from d3rlpy.models import VectorEncoderFactory
from d3rlpy.preprocessing import ConstantShiftRewardScaler, ReturnBasedRewardScaler
from d3rlpy.torch_utility import TorchMiniBatch

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
torch.set_num_threads(1)
LENGTH, DISCOUNT = 9, 0.9
PLACES = np.eye(LENGTH, dtype=np.float32)


def dataset(rewards, steps, discount=DISCOUNT):
    """Episodes along the path, each with one reward at every step, as transitions of several steps."""
    episodes = [
        Episode(
            observations=PLACES,
            actions=np.zeros((LENGTH, 1), np.int64),
            rewards=np.full((LENGTH, 1), reward, np.float32),
            terminated=True,
        )
        for reward in rewards
    ]
    return create_infinite_replay_buffer(episodes, transition_picker=MultiStepTransitionPicker(steps, discount))


def value_of_start(reward, steps, scaler):
    """The start's value that DQN learns; there is one action."""
    d3rlpy.seed(0)
    data = dataset([reward], steps)
    agent = DQNConfig(
        learning_rate=3e-3,
        gamma=DISCOUNT,
        batch_size=64,
        target_update_interval=50,
        reward_scaler=scaler,
        encoder_factory=VectorEncoderFactory([32]),
    ).create(device="cpu:0")
    agent.build_with_dataset(data)
    for _ in range(1500):
        agent.update(data.sample_transition_batch(64))
    return float(agent.predict_value(PLACES[:1], np.zeros((1, 1), np.int64))[0])


true = -(1 - DISCOUNT**LENGTH) / (1 - DISCOUNT)
found = {}
for steps in (1, 3):
    in_data = value_of_start(-1.0, steps, None)
    shifted = value_of_start(0.0, steps, ConstantShiftRewardScaler(shift=-1.0))
    returns = ReturnBasedRewardScaler()
    data = dataset([1.0, 0.0], steps, discount=1.0)
    returns.fit_with_transition_picker(data.episodes, data.transition_picker)
    found[steps] = in_data, shifted, returns.return_max
    name = "1 step" if steps == 1 else f"{steps} steps"
    print(
        f"{name}: -1 in the data {in_data:.2f}, shift of -1 {shifted:.2f}; "
        f"greatest return of rewards of 1: {returns.return_max:.0f}"
    )

data = dataset([0.0], 3)
start = data.transition_picker(data.episodes[0], 0)
batch = TorchMiniBatch.from_batch(
    d3rlpy.dataset.TransitionMiniBatch.from_transitions([start]),
    gamma=DISCOUNT,
    compute_returns_to_go=True,
    device="cpu:0",
    reward_scaler=ConstantShiftRewardScaler(shift=-1.0),
)
reward, to_go = float(batch.rewards[0]), float(batch.returns_to_go[0])
print(
    f"one batch of 3 steps with a shift of -1, the start: reward {reward:.2f}, by its return to go {to_go:.2f}"
)

charged_once = -sum(DISCOUNT**step for step in (0, 3, 6))
assert np.allclose(found[1], (true, true, 9.0), atol=0.02), found
assert np.allclose(found[3], (true, charged_once, 24.0), atol=0.02), found
assert np.allclose((reward, to_go), (-1.0, true), atol=0.01), (reward, to_go)
print("As described above.")
PYTHON
