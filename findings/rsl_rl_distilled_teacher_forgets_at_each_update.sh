#!/usr/bin/env bash
# rsl_rl's distillation empties a recurrent teacher's memory at each update, in the middle of the episodes.
#
# Versions: rsl-rl-lib 5.5.1, tensordict 0.15.3, torch 2.13.0 (CPU build), NumPy 2.4.6, Python 3.11.
# Who is hit: whoever distils a policy that remembers: every num_steps_per_env steps, two dozen as a rule, the labels are
# those of a teacher that has just woken up, so the student is taught to act without a memory. The loss does not show it.
# Guess: the teacher runs along with the student and only an episode's end resets it, so its labels are the actions that it
# takes by itself; the code that keeps its hidden state at the end of an update is there to carry it over.
# Behaviour: an update replays the rollout through the student, from the hidden state at its start to that at its end. The
# teacher is set back as well, and not replayed, for its labels are stored. So after the first update it has the state from
# before the first rollout, none, and each later update restores that. The student's memory goes on as it should. Where the
# teacher's state is put back by hand after update(), with teacher.reset(hidden_state=...), the labels are right.
# Output seen, largest difference of labels and the same teacher's actions without an update, in 12 steps of one episode:
#   an update every 4 steps: 0.00 0.00 0.00 0.00 | 0.14 0.07 0.04 0.03 | 0.06 0.04 0.02 0.01
#   put back after the update: 0.00 0.00 0.00 0.00 | 0.00 0.00 0.00 0.00 | 0.00 0.00 0.00 0.00
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check torch==2.13.0 numpy==2.4.6 \
    tensordict==0.15.3 rsl-rl-lib==5.5.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import copy

import torch
from rsl_rl.algorithms import Distillation
from rsl_rl.models import MLPModel, RNNModel
from rsl_rl.storage import RolloutStorage
from tensordict import TensorDict

ENVIRONMENTS, STEPS = 2, 4


def observe(values):
    return TensorDict({"policy": values}, batch_size=[ENVIRONMENTS])


def differences(put_back):
    """Return how far the labels of 12 steps are from the actions of a copy of the teacher."""
    torch.manual_seed(0)
    start = observe(torch.zeros(ENVIRONMENTS, 1))
    groups = {"student": ["policy"], "teacher": ["policy"]}
    teacher = RNNModel(start, groups, "teacher", 1, hidden_dims=[8], rnn_type="gru", rnn_hidden_dim=8)
    gaussian = {"class_name": "GaussianDistribution", "init_std": 0.1}
    student = MLPModel(start, groups, "student", 1, hidden_dims=[8], distribution_cfg=gaussian)
    storage = RolloutStorage("distillation", ENVIRONMENTS, STEPS, start, [1])
    algorithm = Distillation(student, teacher, storage, gradient_length=STEPS)
    algorithm.train_mode()
    alone, rounds = copy.deepcopy(teacher), []
    for _ in range(3):
        found = []
        with torch.inference_mode():
            for _ in range(STEPS):
                observation = observe(3.0 * torch.randn(ENVIRONMENTS, 1))
                algorithm.act(observation)
                label = algorithm.transition.privileged_actions
                found.append((label - alone(observation)).abs().max().item())
                never = torch.zeros(ENVIRONMENTS)
                algorithm.process_env_step(observation, never, never, {})
        memory = teacher.get_hidden_state()
        algorithm.update()
        if put_back:
            teacher.reset(hidden_state=memory)
        rounds.append(found)
    name = "put back after the update" if put_back else f"an update every {STEPS} steps"
    shown = " | ".join(" ".join(f"{number:.2f}" for number in found) for found in rounds)
    print(f"{name}: {shown}", flush=True)
    return rounds


first, second, third = differences(put_back=False)
assert max(first) == 0.0 and second[0] > 0.01 and third[0] > 0.01, "the behaviour has changed"
assert max(max(found) for found in differences(put_back=True)) == 0.0
PYTHON
