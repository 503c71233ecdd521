#!/usr/bin/env bash
# Tianshou's hindsight replay replaces goals and pays for the old ones, if the buffer does not store next observations.
#
# Versions: tianshou 2.0.1, gymnasium 1.4.0, torch 2.13.0 (CPU build), NumPy 2.4.6, Python 3.11.
# Who is hit: whoever halves a buffer's memory with ignore_obs_next=True learns from relabelled steps that reach their goal
# and are not paid, though paying them is what hindsight replay is for, or that are paid for another goal. Nothing raises.
# Guess: ignore_obs_next makes the buffer look the next observation up in the next step instead of storing it, and samples
# are the same; the reward of a relabelled step says whether it reaches the goal that the step is given with.
# Behaviour: with stored next observations it does. Without, HERReplayBuffer computes the rewards from the next steps'
# observations before it writes the new goals: the state is the right one, the goal is the episode's first one.
# Output seen, walks 0, 1, ... 10 whose goal is 99, never reached, or 5, on the way; sampled steps that are relabelled:
#   goal 99, next observations stored: 449 steps reach their new goal, paid of them 449; others paid 0
#   goal 99, ignored: 338 steps reach their new goal, paid of them 0; others paid 0
#   goal 5, next observations stored: 444 steps reach their new goal, paid of them 444; others paid 0
#   goal 5, ignored: 333 steps reach their new goal, paid of them 0; others paid 303
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check torch==2.13.0 numpy==2.4.6 \
    gymnasium==1.4.0 tianshou==2.0.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import numpy as np
from tianshou.data import Batch, HERReplayBuffer

STEPS = 10


def reward(achieved, desired):
    """Return 0 where the goal is reached and -1 elsewhere."""
    return np.where(np.abs(achieved - desired).max(-1) < 0.5, 0.0, -1.0)


def observation(place, goal):
    achieved, desired = np.array([float(place)]), np.array([float(goal)])
    return Batch(observation=achieved, achieved_goal=achieved, desired_goal=desired)


def sample(goal, ignore):
    """Return how many relabelled steps reach their goal, how many of these are paid, and how many others are."""
    np.random.seed(0)
    buffer = HERReplayBuffer(100, compute_reward_fn=reward, horizon=STEPS, ignore_obs_next=ignore)
    for _ in range(8):
        for place in range(STEPS):
            now, after = observation(place, goal), observation(place + 1, goal)
            paid = float(reward(after.achieved_goal, after.desired_goal))
            end = place == STEPS - 1
            step = {"act": 0, "rew": paid, "terminated": False, "truncated": end, "info": {}}
            buffer.add(Batch(obs=now, obs_next=after, **step))
    reach = paid = others = 0
    for _ in range(100):
        batch, _ = buffer.sample(32)
        new = batch.obs.desired_goal[:, 0] != goal
        reached = new & (batch.obs.achieved_goal[:, 0] + 1 == batch.obs.desired_goal[:, 0])
        is_paid = batch.rew == 0.0
        reach += reached.sum()
        paid += (reached & is_paid).sum()
        others += (new & ~reached & is_paid).sum()
    name = "ignored" if ignore else "next observations stored"
    print(f"goal {goal}, {name}: {reach} steps reach their new goal, paid of them {paid}; others paid {others}", flush=True)
    return reach, paid, others


for goal in (99, 5):
    reach, paid, others = sample(goal, ignore=False)
    assert paid == reach > 100 and others == 0
    reach, paid, others = sample(goal, ignore=True)
    assert reach > 100 and paid == 0 and (others > 100) == (goal == 5), "the behaviour has changed"
PYTHON
