#!/usr/bin/env bash
# rsl_rl's recurrent PPO weighs each action by the advantages of all steps where a mini-batch is one environment.
#
# Versions: rsl-rl-lib 5.5.1, tensordict 0.15.3, torch 2.13.0 (CPU build), NumPy 2.4.6, Python 3.11.
# Who is hit: whoever trains a recurrent policy on one environment, such as a robot, or with as many mini-batches as
# environments: good and bad actions are pushed the same way, while the losses look as usual. Nothing raises.
# Guess: mini-batches are slices of the environments, and any number that divides them gives PPO's gradient: in the first
# update after a rollout every ratio is 1, so an action's log-probability has a slope of its advantage over the batch size.
# Behaviour: old log-probabilities and advantages are squeezed, which takes away the environments' dimension where it is
# of size 1, and the new log-probabilities keep theirs. So the ratio is a square, each step's new probability by each
# step's old one, and an action is weighed by the mean of all advantages over their probabilities. With two environments
# a mini-batch, or a policy without memory, the shapes agree and the gradient is right.
# Output seen, advantages of four steps, and the weights of the gradient of their log-probabilities, for each environment:
#   environments 2, mini-batches 1: advantages -1.84 -0.97 -0.03 -0.12 0.37 1.22 0.45 0.92
#     weights -1.84 -0.97 -0.03 -0.12 0.37 1.22 0.45 0.92
#   environments 2, mini-batches 2: advantages -1.84 -0.97 -0.03 -0.12 0.37 1.22 0.45 0.92
#     weights -0.73 -0.72 -1.13 -0.76 0.37 0.47 0.37 0.33
#   environments 1, mini-batches 1: advantages -1.14 -0.38 0.32 1.20
#     weights -0.28 -0.44 -0.28 0.35
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check torch==2.13.0 numpy==2.4.6 \
    tensordict==0.15.3 rsl-rl-lib==5.5.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import torch
from rsl_rl.algorithms import PPO
from rsl_rl.models import RNNModel
from rsl_rl.storage import RolloutStorage
from tensordict import TensorDict

STEPS = 4


class WatchedActor(RNNModel):
    """Keep the log-probabilities of the update, with their gradients."""

    def get_output_log_prob(self, outputs):
        log_prob = super().get_output_log_prob(outputs)
        if log_prob.requires_grad:
            log_prob.retain_grad()
            self.seen.append(log_prob)
        return log_prob


def first_update(environments, mini_batches):
    """Return each environment's advantages, and the weights of its actions in the first gradient."""
    torch.manual_seed(0)
    observation = TensorDict({"policy": torch.ones(environments, 1)}, batch_size=[environments])
    groups = {"actor": ["policy"], "critic": ["policy"]}
    sizes = {"hidden_dims": [8], "rnn_type": "gru", "rnn_hidden_dim": 8}
    gaussian = {"class_name": "GaussianDistribution"}
    actor = WatchedActor(observation, groups, "actor", 1, distribution_cfg=gaussian, **sizes)
    actor.seen = []
    critic = RNNModel(observation, groups, "critic", 1, **sizes)
    storage = RolloutStorage("rl", environments, STEPS, observation, [1])
    algorithm = PPO(
        actor,
        critic,
        storage,
        num_learning_epochs=1,
        num_mini_batches=mini_batches,
        learning_rate=0.0,
        schedule="fixed",
        entropy_coef=0.0,
    )
    with torch.inference_mode():
        for _ in range(STEPS):
            action = algorithm.act(observation)
            algorithm.process_env_step(observation, action[:, 0], torch.zeros(environments), {})
        algorithm.compute_returns(observation)
    advantages = storage.advantages[..., 0].T
    algorithm.update()
    gradients = torch.cat([log_prob.grad for log_prob in actor.seen], dim=1)
    weights = -gradients.T * (STEPS * environments / mini_batches)
    rows = [" ".join(f"{number:.2f}" for number in tensor.flatten().tolist()) for tensor in (advantages, weights)]
    print(f"environments {environments}, mini-batches {mini_batches}: advantages {rows[0]}\n  weights {rows[1]}", flush=True)
    return advantages, weights


advantages, weights = first_update(environments=2, mini_batches=1)
assert torch.allclose(advantages, weights, atol=1e-5)
for environments in (2, 1):
    advantages, weights = first_update(environments, mini_batches=environments)
    assert (advantages - weights).abs().max() > 0.5, "the behaviour has changed"
assert advantages[0, 2] > 0.3 and weights[0, 2] < -0.2, "the behaviour has changed"
PYTHON
