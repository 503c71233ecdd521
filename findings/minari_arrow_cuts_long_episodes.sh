#!/usr/bin/env bash
# Minari's arrow and parquet datasets give pieces of the first episode for all, once an episode has 32,768 steps or more.
#
# Versions: minari 0.5.4, gymnasium 1.4.0, pyarrow 26.0.1, h5py 3.16.0, pillow 13.0.0, NumPy 2.4.6, Python 3.11.
# Who is hit: whoever records robots at a kilohertz, where half a minute is such an episode, or simulations that never end:
# much of the data is never read, and what is read comes as episodes that never were, without an error.
# Guess: data_format chooses how the same data lie on the disk: episodes of any length come back as they were written.
# Behaviour: one pass over all files gives record batches, and the n-th batch is taken for the n-th episode; but a file comes
# in batches of at most 32,768 rows. So an iteration gives the first episode's pieces, one after the other, each without
# its last action and reward, which it takes for padding, and ends when as many have come as there are episodes.
# filter_episodes judges by the same pieces. dataset[i] gives the right episode's first piece. total_steps is right, and so
# are the files, and data_format="hdf5", the default.
# Output seen, three episodes, of which the observations are 0, 1 and 2, as (observation, first and last action, steps):
#   hdf5, 40000 steps: [(0, 0, 39999, 40000), (1, 0, 39999, 40000), (2, 0, 39999, 40000)]; by index 1: (1, 0, 39999, 40000)
#   arrow, 32767 steps: [(0, 0, 32766, 32767), (1, 0, 32766, 32767), (2, 0, 32766, 32767)]; by index 1: (1, 0, 32766, 32767)
#   arrow, 40000 steps: [(0, 0, 32766, 32767), (0, 32768, 39999, 7232), (1, 0, 32766, 32767)]; by index 1: (1, 0, 32766, 32767)
#   parquet, 40000 steps: the same
#   total_steps of each: three times the steps
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check "minari[arrow,hdf5]==0.5.4" \
    gymnasium==1.4.0 pyarrow==26.0.1 h5py==3.16.0 pillow==13.0.0 numpy==2.4.6
MINARI_DATASETS_PATH="$folder/datasets" "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import minari
import numpy as np
from gymnasium.spaces import Box
from minari.data_collector import EpisodeBuffer

SPACE = Box(-np.inf, np.inf, (1,))


def summary(episode):
    observation, actions = int(episode.observations[0, 0]), episode.actions[:, 0]
    return observation, int(actions[0]), int(actions[-1]), len(episode)


def show(data_format, steps):
    """Write three episodes; return what is read back, and the second alone."""
    episodes = [
        EpisodeBuffer(
            id=i,
            observations=np.full((steps + 1, 1), i, dtype=np.float32),
            actions=np.arange(steps, dtype=np.float32)[:, None],
            rewards=np.ones(steps),
            terminations=np.arange(steps) == steps - 1,
            truncations=np.zeros(steps, dtype=bool),
        )
        for i in range(3)
    ]
    name = f"{data_format}-{steps}-v0"
    dataset = minari.create_dataset_from_buffers(
        name, episodes, observation_space=SPACE, action_space=SPACE, data_format=data_format
    )
    assert dataset.total_steps == 3 * steps
    read = [summary(episode) for episode in dataset.iterate_episodes()]
    print(f"{data_format}, {steps} steps: {read}; by index 1: {summary(dataset[1])}", flush=True)
    return read, summary(dataset[1])


def right(steps):
    whole = [(i, 0, steps - 1, steps) for i in range(3)]
    return whole, whole[1]


assert show("hdf5", 40_000) == right(40_000)
assert show("arrow", 32_767) == right(32_767)
for data_format in ("arrow", "parquet"):
    read, second = show(data_format, 40_000)
    assert read == [(0, 0, 32766, 32767), (0, 32768, 39999, 7232), (1, 0, 32766, 32767)], "the behaviour has changed"
    assert second == (1, 0, 32766, 32767), "the behaviour has changed"
PYTHON
