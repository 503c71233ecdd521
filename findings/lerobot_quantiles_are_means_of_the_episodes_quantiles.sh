#!/usr/bin/env bash
# The 1 % and 99 % quantiles of a LeRobot dataset are means over its episodes, and normalise a goal to ninety million.
#
# Versions: lerobot 0.4.4, datasets 4.8.5, torch 2.13.0 (CPU build), NumPy 2.4.6, Python 3.11. The lines in question
# are the same in lerobot 0.6.1, which needs Python 3.12.
# Who is hit: whoever trains policies that are normalised by quantiles, as pi0.5's states and actions are by default,
# on episodes that differ in where they happen. What the network sees and must predict is not within [-1, 1], and a
# number that is constant within an episode swamps all others.
# Guess: stats["observation.state"]["q01"] and ["q99"] are quantiles of the dataset: some 98 % of it lie between.
# Behaviour: each episode's quantiles are found, and averaged with the episodes' lengths as weights when the episodes
# are put together, at each save_episode and when datasets are joined. So they show how far a number moves within an
# episode, around the mean of all. min, max, mean and std are put together correctly. A number that each episode keeps
# and that differs between episodes, as a goal or an object's size, gets one value for both: the range between is 0,
# 1e-8 takes its place, and the goal 0.45 becomes 0.45 * 2 / 1e-8.
# Output seen, ten episodes of 100 steps, a hand that moves by 0.05 around the episode's goal:
#   hand: q01 -0.050, q99 0.050, of all steps -0.497, 0.497; 10 % of steps in [-1, 1], largest 10
#   goal: q01 0.000, q99 0.000, of all steps -0.450, 0.450; 0 % of steps in [-1, 1], largest 90000000
#   elbow: q01 -0.500, q99 0.499, of all steps -0.498, 0.499; 99 % of steps in [-1, 1], largest 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
install() {
    "$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check "$@"
}
install torch==2.13.0 numpy==2.4.6 datasets==4.8.5 huggingface-hub==0.35.3 pandas==3.1.1 pyarrow==26.0.1 av==18.1.0 \
    accelerate==1.15.0 deepdiff==9.1.0 draccus==0.10.0 einops==0.8.2 jsonlines==4.0.0 packaging==25.0 pillow==13.0.0 \
    pyserial==3.5
install --no-deps lerobot==0.4.4  # without simulators, cameras and a second torch
cd "$folder"
HF_HOME="$folder/cache" HF_HUB_OFFLINE=1 "$folder/venv/bin/python" -W ignore - <<'PYTHON' 2>"$folder/notes" || { cat "$folder/notes" >&2; exit 1; }
import importlib.machinery
import sys
import types

for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
    module = types.ModuleType(name)  # it is imported for images, of which there are none here
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    sys.modules[name] = module
sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]
sys.modules["torchvision.transforms"].functional = sys.modules["torchvision.transforms.functional"]

import numpy as np
import torch
from lerobot.configs.types import FeatureType, NormalizationMode, PolicyFeature
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.processor import NormalizerProcessorStep, TransitionKey

KEY, NAMES = "observation.state", ["hand", "goal", "elbow"]
features = {
    KEY: {"dtype": "float32", "shape": (3,), "names": NAMES},
    "action": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
}
dataset = LeRobotDataset.create("local/reach", fps=10, features=features, root="reach", use_videos=False)
rows = []
for episode in range(10):
    goal = -0.45 + 0.1 * episode
    for step in range(100):
        swing = np.sin(step / 5)
        rows.append(np.array([goal + 0.05 * swing, goal, 0.5 * swing], np.float32))
        dataset.add_frame({KEY: rows[-1], "action": np.zeros(2, np.float32), "task": "reach"})
    dataset.save_episode()
dataset.finalize()

rows = np.stack(rows)
stats = dataset.meta.stats[KEY]
low, high = np.quantile(rows, [0.01, 0.99], axis=0)
normalizer = NormalizerProcessorStep(
    features={KEY: PolicyFeature(FeatureType.STATE, (3,))},
    norm_map={FeatureType.STATE: NormalizationMode.QUANTILES},
    stats=dataset.meta.stats,
)
transition = normalizer({TransitionKey.OBSERVATION: {KEY: torch.as_tensor(rows)}})
normalized = transition[TransitionKey.OBSERVATION][KEY].abs().numpy()
inside, largest = (normalized <= 1).mean(0), normalized.max(0)
for i, name in enumerate(NAMES):
    print(f"{name}: q01 {stats['q01'][i] + 0.0:.3f}, q99 {stats['q99'][i] + 0.0:.3f}, ", end="")
    print(f"of all steps {low[i]:.3f}, {high[i]:.3f}; ", end="")
    print(f"{inside[i]:.0%} of steps in [-1, 1], largest {largest[i]:.0f}".replace("%", " %", 1))
assert np.allclose(stats["min"], rows.min(0)) and np.allclose(stats["std"], rows.std(0), atol=1e-3)
assert inside[2] > 0.97 and abs(stats["q99"][2] - high[2]) < 0.01
assert stats["q99"][0] < 0.06 < high[0] and inside[0] < 0.15, "the behaviour has changed"
assert stats["q01"][1] == stats["q99"][1] and largest[1] > 1e7, "the behaviour has changed"
PYTHON
