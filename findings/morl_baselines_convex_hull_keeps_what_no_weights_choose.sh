#!/usr/bin/env bash
# MORL-Baselines' convex coverage set keeps policies that no weights choose, until a useless policy is added.
#
# Versions: morl-baselines 1.3.0, SciPy 1.17.1, NumPy 2.4.6, Python 3.11.
# Who is hit: whoever counts or stores the policies that linear weights can choose: filter_convex_dominated,
# and a ParetoArchive with convex_hull=True, which keeps and copies a network for each.
# Guess: of the treasures of the concave deep sea the nearest and the richest are left, for every sum of
# value and time with positive weights is greatest at one of these two. And a policy that is worse than all
# others in both changes nothing.
# Behaviour: all corners of the convex hull are taken, and those that another one dominates are left out.
# The hull has two sides, and a front that is hollow lies on the lower one: its policies are corners there,
# and no single policy dominates them, only mixtures do. A policy far below makes a corner of its own
# instead and swallows them. The archive drops that one as soon as a better one comes, and keeps the hollow.
# Output seen, of 10 treasures:
#   best for some of 10,000 weights 2, filter_convex_dominated 7, ParetoArchive 7
#   with a policy of no treasure and 100 steps: best for some of 10,000 weights 2, filter_convex_dominated 2,
#     ParetoArchive 7
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check --no-deps \
    morl-baselines==1.3.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import numpy as np
from morl_baselines.common.pareto import ParetoArchive, filter_convex_dominated

TREASURES = (1, 2, 3, 5, 8, 16, 24, 50, 74, 124)
STEPS = (1, 3, 5, 7, 8, 9, 13, 14, 17, 19)
FRONT = [np.array([treasure, -steps], float) for treasure, steps in zip(TREASURES, STEPS, strict=True)]
USELESS = np.array([0.0, -100.0])


def chosen(points):
    """Count the points that are best for some weights."""
    first = np.linspace(0.0, 1.0, 10_002)[1:-1]
    return len(np.unique((np.stack([first, 1 - first], 1) @ np.array(points).T).argmax(1)))


found = {}
for name, points in (("", FRONT), ("with a policy of no treasure and 100 steps: ", [*FRONT, USELESS])):
    archive = ParetoArchive(convex_hull=True)
    for point in reversed(points):
        archive.add("a policy", point)
    sizes = chosen(points), len(filter_convex_dominated(points)), len(archive.evaluations)
    found[name] = sizes
    print(f"{name}best for some of 10,000 weights {sizes[0]},", end=" ")
    print(f"filter_convex_dominated {sizes[1]}, ParetoArchive {sizes[2]}")
assert list(found.values()) == [(2, 7, 7), (2, 2, 7)], "the behaviour has changed"
PYTHON
