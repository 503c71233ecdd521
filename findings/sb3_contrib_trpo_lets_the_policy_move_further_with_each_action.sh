#!/usr/bin/env bash
# The trust region of sb3-contrib's TRPO is as many times too wide as the policy has continuous actions.
#
# Versions: sb3-contrib 2.9.2, stable-baselines3 2.9.2, gymnasium 1.4.0, torch 2.13.0 (CPU build), NumPy
# 2.4.6, Python 3.11.
# Who is hit: whoever trains a robot with TRPO, compares it with another library's TRPO at the same target_kl,
# or reads the divergence from the log. With 17 motors, as many as a humanoid has, a step is accepted up to a
# divergence of 0.17 where target_kl says 0.01.
# Guess: target_kl bounds the Kullback-Leibler divergence between the new and the old policy, averaged over
# states, and "train/kl_divergence_loss" is that divergence, whatever the number of actions.
# Behaviour: a diagonal Gaussian is held as a plain torch Normal, so the divergence has a column for each
# action, and the mean over states is a mean over these columns too: the joint divergence, which is their sum,
# is the number of actions times larger. The step size and the line search both use the mean. For
# MultiDiscrete actions the columns are summed, as they should be.
# Output seen, the first update of a policy; the divergence by torch's formula for the joint distribution:
#   1 actions: logged 0.0092, target 0.01, divergence 0.0092
#   6 actions: logged 0.0062, target 0.01, divergence 0.0374
#   17 actions: logged 0.0033, target 0.01, divergence 0.0566
#   17 discrete actions: logged 0.0068, target 0.01, divergence 0.0068
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 numpy==2.4.6 gymnasium==1.4.0 stable-baselines3==2.9.2 sb3-contrib==2.9.2
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import copy

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import TRPO
from torch.distributions import Independent, Normal, kl_divergence

torch.set_num_threads(1)
TARGET = 0.01


class Reach(gymnasium.Env):
    """Pays for motors that stand where the observation asks; one step an episode."""

    def __init__(self, motors, discrete):
        self.observation_space = spaces.Box(-1.0, 1.0, (motors,), np.float32)
        self.action_space = spaces.MultiDiscrete([3] * motors) if discrete else self.observation_space
        self.asked = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.asked = self.np_random.uniform(-1.0, 1.0, self.observation_space.shape).astype(np.float32)
        return self.asked, {}

    def step(self, action):
        places = np.asarray(action) - 1.0 if isinstance(self.action_space, spaces.MultiDiscrete) else action
        return self.asked, -float(np.square(places - self.asked).sum()), True, False, {}


def divergence(new, old):
    """Return the joint divergence: of independent actions, the sum of theirs."""
    if isinstance(new, list):
        return sum(kl_divergence(one, other) for one, other in zip(new, old, strict=True)).mean().item()
    assert type(new) is Normal and new.mean.dim() == 2
    return kl_divergence(Independent(new, 1), Independent(old, 1)).mean().item()


for motors, discrete in ((1, False), (6, False), (17, False), (17, True)):
    settings = {"n_steps": 512, "target_kl": TARGET, "n_critic_updates": 1, "seed": 0, "device": "cpu"}
    model = TRPO("MlpPolicy", Reach(motors, discrete), **settings)
    before = copy.deepcopy(model.policy)
    model.learn(512)
    states = torch.as_tensor(model.rollout_buffer.observations).reshape(512, motors)
    with torch.no_grad():
        new, old = (policy.get_distribution(states).distribution for policy in (model.policy, before))
        true = divergence(new, old)
    logged = model.logger.name_to_value["train/kl_divergence_loss"]
    kind = "discrete " if discrete else ""
    print(f"{motors} {kind}actions: logged {logged:.4f}, target {TARGET}, divergence {true:.4f}", flush=True)
    assert 0.0 < logged < TARGET
    factor = 1 if discrete else motors
    assert abs(true / (factor * logged) - 1.0) < 0.02, "the behaviour has changed"
PYTHON
