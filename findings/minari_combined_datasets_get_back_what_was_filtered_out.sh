#!/usr/bin/env bash
# Minari's combine_datasets takes all episodes of each file, also those that were filtered out or split off before.
#
# Versions: minari 0.5.4, gymnasium 1.4.0, h5py 3.16.0, pillow 13.0.0, NumPy 2.4.6, Python 3.11.
# Who is hit: whoever merges the successful episodes of several collections trains on the failures too, and whoever merges the
# training parts of two splits trains on their held-out episodes, with better results on these than on new ones.
# Guess: filter_episodes and split_dataset return datasets, which have the length and the episodes that they iterate over,
# and combine_datasets combines these datasets.
# Behaviour: the two return views, a file with a list of indices. combine_datasets copies the files, whatever the lists
# say, without a warning; two parts of one split are one file, so each episode is in the result twice. It drops the
# episodes' seeds as well, which repeat them in the environment. Filtering after combining is right. Pull request 350 of
# the project, which copies the listed episodes only, is open.
# Output seen, two collections of 4 episodes, of which 1 and 2 succeed:
#   successful episodes of each: 1 and 2; combined: 8, of which succeed 3
#   split of the first into 3 and 1: combined with the second 8 episodes, of which were held out 1
#   the two parts of the split combined: 8 episodes, of which are different 4
#   seeds: before [0, 1, 2, 3], combined [None, None, None, None]
#   filtered after combining: 3
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check "minari[hdf5]==0.5.4" \
    gymnasium==1.4.0 h5py==3.16.0 pillow==13.0.0 numpy==2.4.6
MINARI_DATASETS_PATH="$folder/datasets" "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import minari
import numpy as np
from gymnasium.spaces import Box
from minari.data_collector import EpisodeBuffer

SPACE = Box(-np.inf, np.inf, (1,))


def collect(name, first, solved):
    """Make a dataset of episodes that are numbered by their observations; "terminated" marks those that are solved."""
    episodes = [
        EpisodeBuffer(
            id=i,
            seed=first + i,
            observations=np.full((4, 1), first + i, dtype=np.float32),
            actions=np.zeros((3, 1), dtype=np.float32),
            rewards=[0.0, 0.0, 1.0],
            terminations=[False, False, i < solved],
            truncations=[False, False, i >= solved],
        )
        for i in range(4)
    ]
    return minari.create_dataset_from_buffers(name, episodes, observation_space=SPACE, action_space=SPACE)


def successful(dataset):
    return dataset.filter_episodes(lambda episode: episode.terminations[-1])


def numbers(dataset):
    return [int(episode.observations[0, 0]) for episode in dataset.iterate_episodes()]


def seeds(dataset):
    return [episode.get("seed") for episode in dataset.storage.get_episode_metadata(range(4))]


first, second = collect("first-v0", 0, 1), collect("second-v0", 10, 2)
parts = [successful(first), successful(second)]
both = minari.combine_datasets(parts, "successful-v0")
print(f"successful episodes of each: {len(parts[0])} and {len(parts[1])}; ", end="")
print(f"combined: {len(both)}, of which succeed {len(successful(both))}")
assert [len(part) for part in parts] == [1, 2]
assert sorted(numbers(both)) == [0, 1, 2, 3, 10, 11, 12, 13], "the behaviour has changed"

training, held_out = minari.split_dataset(first, [3, 1], seed=0)
mixed = minari.combine_datasets([training, second], "training-v0")
leaked = set(numbers(mixed)) & set(numbers(held_out))
print(f"split of the first into {len(training)} and {len(held_out)}: ", end="")
print(f"combined with the second {len(mixed)} episodes, of which were held out {len(leaked)}")
assert not set(numbers(training)) & set(numbers(held_out)) and len(leaked) == 1, "the behaviour has changed"
again = minari.combine_datasets([training, held_out], "again-v0")
print(f"the two parts of the split combined: {len(again)} episodes, of which are different {len(set(numbers(again)))}")
assert len(again) == 8 and len(set(numbers(again))) == 4, "the behaviour has changed"

print(f"seeds: before {seeds(first)}, combined {seeds(both)}")
assert seeds(first) == [0, 1, 2, 3] and seeds(both) == [None] * 4, "the behaviour has changed"
after = successful(minari.combine_datasets([first, second], "all-v0"))
print(f"filtered after combining: {len(after)}")
assert numbers(after) == [0, 10, 11]
PYTHON
