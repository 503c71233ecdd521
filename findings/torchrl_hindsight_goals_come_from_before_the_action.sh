#!/usr/bin/env bash
# TorchRL's hindsight replay never takes the state that an episode reached as a goal, and pays steps whatever they did.
#
# Versions: torchrl 0.14.1, tensordict 0.14.3, torch 2.13.0 (CPU build), NumPy 2.4.6, Python 3.11.
# Guess: HERReplayBuffer relabels as the paper does: strategy "final" takes what the last step of the episode achieved,
# "future" what this step or a later one achieved, and the reward function compares what the step itself achieved.
# Behaviour: goals are read at the root of the transitions, where TorchRL keeps the state before the action; what the
# step achieved is under "next". So "final" gives the last state but one, the state that the episode ended in is no goal
# under any strategy, and an episode of one step gets its own start as goal. The reward function of the class's example
# compares at the root as well: "future" then pays every last step, and one in n of those n steps from the end, for
# being where it was, whatever the action. Comparing under "next", as Gymnasium's compute_reward does, leaves the goals
# one step short: the last step is never paid. achieved_goal_key=("next", "achieved_goal") with a reward function that
# reads there mends both.
# Output seen, an episode that walks 0, 1, ... 5 in five steps, every transition relabelled:
#   class's example: final [4], future [0, 1, 2, 3, 4], paid for where the step began 46%, last step paid 100%
#   rewards under next: final [4], future [0, 1, 2, 3, 4], paid for where the step began 0%, last step paid 0%
#   both under next: final [5], future [1, 2, 3, 4, 5], paid for where the step began 0%, last step paid 100%
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check torch==2.13.0 numpy==2.4.6 \
    torchrl==0.14.1 tensordict==0.14.3
RL_LOGGING_LEVEL=WARNING "$folder/venv/bin/python" - <<'PYTHON' 2>"$folder/notes" || { cat "$folder/notes" >&2; exit 1; }
import torch
from tensordict import TensorDict
from torchrl.data import HERReplayBuffer, LazyTensorStorage


def at_root(transitions):
    return (transitions["achieved_goal"] == transitions["desired_goal"]).float()


def under_next(transitions):
    return (transitions["next", "achieved_goal"] == transitions["desired_goal"]).float()


def relabelled(positions, strategy, reward, **keys):
    """Store one episode that visits some positions; return 10,000 of its transitions with new goals."""
    buffer = HERReplayBuffer(
        reward, storage=LazyTensorStorage(100), batch_size=10_000, her_ratio=1.0, strategy=strategy, **keys
    )
    for step, (before, after) in enumerate(zip(positions, positions[1:])):
        end = torch.tensor([step == len(positions) - 2])
        after_step = {"achieved_goal": torch.tensor([after]), "reward": torch.zeros(1), "done": end, "terminated": end}
        transition = {"achieved_goal": torch.tensor([before]), "desired_goal": torch.tensor([-1.0]), "next": after_step}
        buffer.add(TensorDict(transition, []))
    return buffer.sample()


def goals(transitions):
    return sorted({int(goal) for goal in transitions["desired_goal"].flatten()})


torch.manual_seed(0)
walk = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
found = {}
for name, reward, keys in (
    ("class's example", at_root, {}),
    ("rewards under next", under_next, {}),
    ("both under next", under_next, {"achieved_goal_key": ("next", "achieved_goal")}),
):
    final, future = (relabelled(walk, strategy, reward, **keys) for strategy in ("final", "future"))
    own = future["desired_goal"] == future["achieved_goal"]
    paid = future["next", "reward"] == 1.0
    start = (paid & own).float().mean().item()
    last = paid[future["achieved_goal"] == 4.0].float().mean().item()
    found[name] = goals(final), goals(future), start > 0.0, last
    print(
        f"{name}: final {goals(final)}, future {goals(future)},"
        f" paid for where the step began {start:.0%}, last step paid {last:.0%}",
        flush=True,
    )
assert found["class's example"] == ([4], [0, 1, 2, 3, 4], True, 1.0), "the behaviour has changed"
assert found["rewards under next"] == ([4], [0, 1, 2, 3, 4], False, 0.0), "the behaviour has changed"
assert found["both under next"] == ([5], [1, 2, 3, 4, 5], False, 1.0), "the behaviour has changed"
PYTHON
