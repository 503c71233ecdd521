#!/usr/bin/env bash
# stable-baselines3's SAC updates its target network at every environment step, whatever target_update_interval is.
#
# Versions: stable-baselines3 and sb3-contrib 2.9.2, gymnasium 1.4.0, torch 2.13.0 (CPU build), NumPy 2.4.6, Python 3.11.
# Who is hit: whoever asks SAC or TQC for a slow target, such as a copy (tau=1) every 1000 gradient steps: the critic then
# bootstraps from itself, with no target network at all. Comparisons of intervals compare equal runs.
# Guess: target_update_interval counts gradient steps, as DQN's of the same name counts environment steps over the whole
# run: 200 gradient steps with an interval of 50 update the target 4 times, however they are spread over the run.
# Behaviour: the steps are counted from 0 in each round of training, and the first of a round always updates. With one
# gradient step a round, the usual setting, the interval has no effect; with n a round, an interval above n is n.
# Output seen, target updates in 200 gradient steps, interval 50:
#   gradient steps a round 1: SAC 200, TQC 200
#   gradient steps a round 10: SAC 20, TQC 20
#   gradient steps a round 100: SAC 4, TQC 4
#   DQN, gradient steps a round 1: 4
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check torch==2.13.0 numpy==2.4.6 \
    gymnasium==1.4.0 stable-baselines3==2.9.2 sb3-contrib==2.9.2
"$folder/venv/bin/python" - <<'PYTHON'
import gymnasium
import torch
from sb3_contrib import TQC
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.callbacks import BaseCallback

INTERVAL, UPDATES = 50, 200


class TargetWatch(BaseCallback):
    """Count how often the target network differs from what it was at its last use."""

    def __init__(self, name):
        super().__init__()
        self.name, self.changes, self.last = name, 0, None

    def look(self):
        weights = torch.nn.utils.parameters_to_vector(getattr(self.model, self.name).parameters()).detach()
        self.changes += self.last is not None and not torch.equal(weights, self.last)
        self.last = weights

    def _on_training_start(self):
        getattr(self.model, self.name).register_forward_pre_hook(lambda module, inputs: self.look())

    def _on_step(self):
        return True

    def _on_training_end(self):
        self.look()


def changes(algorithm, task, target, per_round):
    """Train for 200 gradient steps and the same number of environment steps; return how often the target changed."""
    watch = TargetWatch(target)
    model = algorithm(
        "MlpPolicy",
        gymnasium.make(task),
        seed=0,
        tau=1.0,
        learning_starts=per_round,
        train_freq=per_round,
        gradient_steps=per_round,
        target_update_interval=INTERVAL,
        batch_size=8,
        policy_kwargs={"net_arch": [8]},
        device="cpu",
    )
    model.learn(UPDATES + per_round, callback=watch)
    assert model._n_updates == UPDATES
    return watch.changes


torch.set_num_threads(1)
for per_round in (1, 10, 100):
    sac = changes(SAC, "Pendulum-v1", "critic_target", per_round)
    tqc = changes(TQC, "Pendulum-v1", "critic_target", per_round)
    print(f"gradient steps a round {per_round}: SAC {sac}, TQC {tqc}", flush=True)
    assert sac == tqc == UPDATES // min(per_round, INTERVAL), "the behaviour has changed"
dqn = changes(DQN, "CartPole-v1", "q_net_target", 1)
print(f"DQN, gradient steps a round 1: {dqn}")
assert dqn == UPDATES // INTERVAL
PYTHON
