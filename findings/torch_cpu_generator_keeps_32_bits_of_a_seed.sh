#!/usr/bin/env bash
# Seeds of torch.Generator on the CPU that differ above bit 31 give one and the same stream.
#
# Versions: torch 2.13.0 (CPU build), NumPy 2.4.6, Python 3.11, Linux x86_64.
# Guess: manual_seed takes any 64-bit integer and initial_seed() returns it, so 2**63 streams are told apart; a run
# that packs (seed, purpose, worker) into the high bits of a 64-bit seed has streams of its own for each.
# Behaviour: initial_seed() returns all 64 bits, yet the engine (mt19937) is seeded by the low 32 alone, so seeds s and
# s + 2**32 draw equal numbers. NumPy's default_rng tells the two apart.
# Output seen:
#   initial_seed: 7 4294967303
#   torch draws equal: True
#   numpy draws equal: False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import torch

seeds = (7, 7 + 2**32)
generators = [torch.Generator().manual_seed(seed) for seed in seeds]
print("initial_seed:", *(generator.initial_seed() for generator in generators))
draws = [torch.randn(1000, generator=generator) for generator in generators]
same = torch.equal(*draws)
print("torch draws equal:", same)
others = [np.random.default_rng(seed).standard_normal(1000) for seed in seeds]
distinct = np.array_equal(*others)
print("numpy draws equal:", distinct)
assert [generator.initial_seed() for generator in generators] == list(seeds)
assert same and not distinct, "the behaviour has changed"
PYTHON
