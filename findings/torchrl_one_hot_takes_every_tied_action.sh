#!/usr/bin/env bash
# TorchRL's greedy one-hot action is several actions where values tie, and the value of the choice is their sum.
#
# Versions: torchrl 0.14.1, tensordict 0.14.3, torch 2.13.0 (CPU build), NumPy 2.4.6, Python 3.11.
# Guess: QValueActor with action_space="one_hot", which GymEnv's discrete spaces are by default, marks one action of the
# highest value, and the value of the choice, as in DQNLoss's target, is that highest value. Ties are rare in float32.
# Behaviour: every action that equals the maximum is marked, and the value is the sum over the marks. Ties are the rule
# with an optimistic start, where a table or a last layer gives all actions one value, and in bfloat16, under autocast:
# near 100 it holds steps of 0.5 only. The target of two tied actions is twice what it should be, so values grow with
# every update until the tie breaks, or without end. action_space="categorical" marks one, and has the right target.
# Output seen, three of four actions tie at 1; then a network of values near 100 that differ by about 0.3, 4 actions:
#   one_hot: action [1, 1, 1, 0], chosen value 3.0, target of DQNLoss 3.0 (reward 0, discount 1)
#   categorical: action 0, chosen value 1.0, target of DQNLoss 1.0 (reward 0, discount 1)
#   network in float32: several actions in 0% of 1000 states, highest chosen value 101
#   network in bfloat16: several actions in 69% of 1000 states, highest chosen value 400
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check torch==2.13.0 numpy==2.4.6 \
    torchrl==0.14.1 tensordict==0.14.3
RL_LOGGING_LEVEL=WARNING "$folder/venv/bin/python" - <<'PYTHON' 2>"$folder/notes" || { cat "$folder/notes" >&2; exit 1; }
import torch
from tensordict import TensorDict
from torchrl.modules import QValueActor
from torchrl.objectives import DQNLoss


class Constant(torch.nn.Module):
    """A network that gives the same values in every state."""

    def __init__(self, *values):
        super().__init__()
        self.values = torch.nn.Parameter(torch.tensor(values))

    def forward(self, observation):
        return self.values.expand(*observation.shape[:-1], -1)


found = {}
for space, last_action in (("one_hot", [0, 0, 0, 1]), ("categorical", 3)):
    actor = QValueActor(Constant(1.0, 1.0, 1.0, 0.0), in_keys=["observation"], action_space=space)
    choice = actor(TensorDict({"observation": torch.zeros(1, 1)}, [1]))
    # the action taken is valued 0, so the error is the target
    loss = DQNLoss(actor, action_space=space, delay_value=False)
    loss.make_value_estimator(gamma=1.0)
    no = torch.zeros(1, 1, dtype=torch.bool)
    after = {"observation": torch.zeros(1, 1), "reward": torch.zeros(1, 1), "done": no, "terminated": no.clone()}
    step = {"observation": torch.zeros(1, 1), "action": torch.tensor([last_action]), "next": after}
    transitions = TensorDict(step, [1])
    loss(transitions)
    action, value = choice["action"][0].tolist(), choice["chosen_action_value"].item()
    target = transitions["td_error"].sqrt().item()
    found[space] = action, value, target
    print(f"{space}: action {action}, chosen value {value}, target of DQNLoss {target} (reward 0, discount 1)")

torch.manual_seed(0)
network = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.Tanh(), torch.nn.Linear(64, 4))
torch.nn.init.constant_(network[2].bias, 100.0)
actor = QValueActor(network, in_keys=["observation"], action_space="one_hot")
states = torch.randn(1000, 8)
share = {}
for name, reduced in (("float32", False), ("bfloat16", True)):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=reduced):
        choice = actor(TensorDict({"observation": states}, [1000]))
    share[name] = (choice["action"].sum(-1) > 1).float().mean().item()
    highest = choice["chosen_action_value"].max().item()
    print(f"network in {name}: several actions in {share[name]:.0%} of 1000 states, highest chosen value {highest:.0f}")
assert found["categorical"] == (0, 1.0, 1.0)
assert found["one_hot"] == ([1, 1, 1, 0], 3.0, 3.0), "the behaviour has changed"
assert share["float32"] == 0.0
assert share["bfloat16"] > 0.1, "the behaviour has changed"
PYTHON
