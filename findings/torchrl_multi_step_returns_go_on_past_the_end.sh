#!/usr/bin/env bash
# TorchRL's n-step returns add the value of the terminal state for all but the last step of an episode.
#
# Versions: torchrl 0.14.1, tensordict 0.14.3, torch 2.13.0 (CPU build), NumPy 2.4.6, Python 3.11.
# Guess: MultiStep in a collector, or MultiStepTransform in a replay buffer, gives TorchRL's losses the n-step target of
# Rainbow: rewards up to n steps ahead and, unless the episode has ended by then, a discounted value.
# Behaviour: reward, next observation and steps_to_next_obs are moved n steps ahead or to the episode's end, but
# "terminated" stays that of the first of these steps. So for the n - 1 steps before the last the next observation is
# the terminal state and "terminated" is False, and TD0Estimator and DQNLoss add a value that nothing ever trains, since
# no step starts there: falling over pays what a robot that still stands expects. With n = 1, and in the last step, the
# target is right. Moving the flag by hand, to that of the step that steps_to_next_obs names, mends it.
# Output seen, an episode of 6 steps that pay 1, then terminates; n 3, discount 1, every state valued 100:
#   by hand: [103, 103, 103, 3, 2, 1]
#   MultiStep and TD0Estimator: [103, 103, 103, 103, 102, 1]
#   MultiStep and DQNLoss: [103, 103, 103, 103, 102, 1]
#   MultiStepTransform and TD0Estimator: [103, 103, 103, 103, 102, 1]
#   with the flag moved: [103, 103, 103, 3, 2, 1]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check torch==2.13.0 numpy==2.4.6 \
    torchrl==0.14.1 tensordict==0.14.3
RL_LOGGING_LEVEL=WARNING "$folder/venv/bin/python" - <<'PYTHON' 2>"$folder/notes" || { cat "$folder/notes" >&2; exit 1; }
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.data.postprocs import MultiStep
from torchrl.envs import MultiStepTransform
from torchrl.modules import QValueActor
from torchrl.objectives import DQNLoss
from torchrl.objectives.value import TD0Estimator

LENGTH, STEPS, VALUE = 6, 3, 100.0


class Constant(torch.nn.Module):
    """A network that gives the same outputs in every state."""

    def __init__(self, *outputs):
        super().__init__()
        self.outputs = torch.nn.Parameter(torch.tensor(outputs))

    def forward(self, observation):
        return self.outputs.expand(*observation.shape[:-1], -1)


def episode():
    """Six steps that pay 1; the last one terminates."""
    place = torch.arange(float(LENGTH)).unsqueeze(-1)
    end = place == LENGTH - 1
    after = {"observation": place + 1, "reward": torch.ones(LENGTH, 1), "terminated": end, "done": end.clone()}
    action = torch.nn.functional.one_hot(torch.ones(LENGTH, dtype=torch.long), 2)
    return TensorDict({"observation": place, "action": action, "next": after}, [LENGTH])


def estimate(transitions):
    value = TensorDictModule(Constant(VALUE), in_keys=["observation"], out_keys=["state_value"])
    return whole(TD0Estimator(gamma=1.0, value_network=value).value_estimate(transitions))


def estimate_of_dqn(transitions):
    network = QValueActor(Constant(VALUE, 0.0), in_keys=["observation"], action_space="one_hot")
    # the action taken is the second one, valued 0, so the error is the target
    loss = DQNLoss(network, action_space="one_hot", delay_value=False)
    loss.make_value_estimator(gamma=1.0)
    loss(transitions)
    return whole(transitions["td_error"].sqrt())


def whole(numbers):
    return [round(number) for number in numbers.flatten().tolist()]


by_hand = [min(STEPS, LENGTH - step) + (VALUE if step + STEPS < LENGTH else 0) for step in range(LENGTH)]
in_collector = MultiStep(gamma=1.0, n_steps=STEPS)(episode().unsqueeze(0)).squeeze(0)
buffer = TensorDictReplayBuffer(
    storage=LazyTensorStorage(100), transform=MultiStepTransform(n_steps=STEPS, gamma=1.0), batch_size=LENGTH
)
buffer.extend(episode())
buffer.extend(episode())  # the steps before the end follow when more come
in_buffer = buffer[:LENGTH]
mended = in_collector.clone()
last = torch.arange(LENGTH) + in_collector["steps_to_next_obs"].flatten() - 1
mended["next", "terminated"] = in_collector["next", "terminated"][last]
found = {
    "MultiStep and TD0Estimator": estimate(in_collector),
    "MultiStep and DQNLoss": estimate_of_dqn(in_collector.clone()),
    "MultiStepTransform and TD0Estimator": estimate(in_buffer),
}
print("by hand:", whole(torch.tensor(by_hand)))
for name, targets in found.items():
    print(f"{name}: {targets}")
print("with the flag moved:", estimate(mended), flush=True)
for targets in found.values():
    assert targets == [103, 103, 103, 103, 102, 1], "the behaviour has changed"
assert whole(torch.tensor(by_hand)) == estimate(mended) == [103, 103, 103, 3, 2, 1]
PYTHON
