#!/usr/bin/env bash
# AgileRL's n-step returns ignore an episode's end at its last step, and stop in all environments where one ends.
#
# Versions: agilerl 2.58.0, tensordict 0.13.0, torch 2.13.0 (CPU build), NumPy 2.4.6, Python 3.11.
# Who is hit: whoever trains RainbowDQN with MultiStepReplayBuffer. Where rewards are positive, the last steps of
# episodes are valued too high, and others too low, more of them the more environments run side by side.
# Guess: MultiStepReplayBuffer adds up each environment's rewards until its own episode ends, and says done there.
# Behaviour: the sum looks for an end from the second step on, so that the return of an episode's last transition
# takes in the rewards of the next episode, and its done becomes the done of a step there: it is not terminal, unless
# the next episode ends as soon. And the sum stops for the whole row of environments where any of them ends.
# RainbowDQN.learn discounts the value behind by gamma ** n_step all the same, also where fewer rewards were added up.
# Output seen, reward 1 a step, gamma 0.5, three steps, targets with the true values put in:
#   endless alone: targets [2.0], true value 2.0
#   endless beside episodes of 3 steps: targets [1.75, 2.0], true value 2.0
#   episodes of 3 steps: targets 1.75, 1.5, 1.875, true values 1.75, 1.5, 1.0; done [1.0, 1.0, 0.0]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 numpy==2.4.6 tensordict==0.13.0 gymnasium==1.4.0 accelerate==1.15.0 dill==0.4.1 lazy-loader==0.6 \
    pydantic==2.14.4 google-cloud-storage==3.17.1
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check --no-deps \
    agilerl==2.58.0 agilerl-arena==1.29.0  # what its replay buffers import is above
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON' 2>"$folder/notes" || { cat "$folder/notes" >&2; exit 1; }
import torch
from agilerl.components.replay_buffer import MultiStepReplayBuffer
from tensordict import TensorDict

GAMMA, STEPS, ENDLESS = 0.5, 3, 1000


def true_value(length, step):
    """The discounted sum of the rewards from this step of an episode on."""
    return sum(GAMMA**k for k in range(min(length, ENDLESS) - step))


def targets(lengths):
    """For each environment, {step in its episode: (target, done)} of all that the buffer stores in 12 steps."""
    buffer = MultiStepReplayBuffer(max_size=100, n_step=STEPS, gamma=GAMMA)
    clocks = [0] * len(lengths)
    for _ in range(12):
        here = torch.tensor(clocks, dtype=torch.float32)[:, None]
        ends = [clock + 1 == length for clock, length in zip(clocks, lengths)]
        row = {
            "obs": here,
            "action": torch.zeros_like(here),
            "reward": torch.ones_like(here),
            "next_obs": here + 1,
            "done": torch.tensor(ends, dtype=torch.float32)[:, None],
        }
        buffer.add(TensorDict(row, [len(lengths)]))
        clocks = [0 if end else clock + 1 for clock, end in zip(clocks, ends)]
    stored = buffer.sample_from_indices(torch.arange(buffer.size))
    results = []
    for number, length in enumerate(lengths):
        found = {}
        for entry in stored[number :: len(lengths)]:
            behind = true_value(length, int(entry["next_obs"]))
            done = entry["done"].item()
            target = entry["reward"].item() + (1 - done) * GAMMA**STEPS * behind
            found[int(entry["obs"])] = round(target, 6), done
        results.append(found)
    return results


alone = sorted({target for target, _ in targets([ENDLESS])[0].values()})
beside, short = targets([ENDLESS, STEPS])
beside = sorted({target for target, _ in beside.values()})
values = [true_value(STEPS, step) for step in range(STEPS)]
learned, dones = zip(*(short[step] for step in range(STEPS)))
print(f"endless alone: targets {alone}, true value {true_value(ENDLESS, 0)}")
print(f"endless beside episodes of 3 steps: targets {beside}, true value {true_value(ENDLESS, 0)}")
print(f"episodes of 3 steps: targets {', '.join(map(str, learned))}, true values ", end="")
print(f"{', '.join(map(str, values))}; done {list(dones)}")
assert alone == [2.0] and learned[:2] == (1.75, 1.5) and values == [1.75, 1.5, 1.0]
assert beside == [1.75, 2.0], "the behaviour has changed"
assert learned[2] == 1.875 and dones == (1.0, 1.0, 0.0), "the behaviour has changed"
PYTHON
