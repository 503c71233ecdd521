#!/usr/bin/env bash
# MO-Gymnasium's Pareto front of resource-gathering-v0 misses its best policy, and discounts a step too many.
#
# Versions: mo-gymnasium 1.3.2, gymnasium 1.4.0, NumPy 2.4.6, Python 3.11.
# Who is hit: whoever measures multi-objective agents on this environment by their distance to the known
# front, or by the utility that is lost to it. The best agent is scored as one that missed the front, a
# cautious one as if it had lost nothing.
# Guess: no policy does better than pareto_front(gamma), "the pareto front of the resource gathering
# environment", and a policy that is in it reaches the listed return.
# Behaviour: the front is a list of six policies, and each of them that fetches both resources passes an
# enemy. A walk of 18 steps fetches both and meets none: from a discount of about 0.97 on it dominates
# policies of the front, and without a discount all of them. And a return n steps from the start is
# discounted n times. The environment pays it at step n, which n - 1 discounts precede; the package's record
# of discounted returns counts so, and so does the front of its deep-sea-treasure.
# Output seen:
#   discount 1.00: both resources (-0.00, 1.00, 1.00); front's best for equal weights 0.57, the walk's 0.67;
#     3 of 3 policies of the front are dominated
#   discount 0.99: both resources (0.00, 0.84, 0.84); front's best for equal weights 0.49, the walk's 0.56;
#     1 of 3 policies of the front are dominated
#   discount 0.90, only the gem: 0.387 reached, 0.349 in the front
#   discount 0.90, the nearest treasure of the deep sea: 0.70 reached, 0.70 in the front
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    numpy==2.4.6 gymnasium==1.4.0 mo-gymnasium==1.3.2
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import mo_gymnasium
import numpy as np
from mo_gymnasium.wrappers import MORecordEpisodeStatistics

MOVES = "UDLR"
BOTH, GEM = "UULUURLDDRRURDDDLL", "RRUUUDDDLL"


def play(name, moves, discount):
    """Return an episode's discounted return, by the package's own record, and the front."""
    environment = MORecordEpisodeStatistics(mo_gymnasium.make(name), gamma=discount)
    environment.reset(seed=0)
    for move in moves:
        *_, terminated, _, info = environment.step(MOVES.index(move))
    assert terminated, "the walk ends at home"
    front = np.array(environment.unwrapped.pareto_front(discount))
    return np.array(info["episode"]["dr"], np.float64), front


def dominated(points, point):
    """Tell which points are nowhere better than the point, and somewhere worse."""
    return np.all(points <= point + 1e-6, axis=1) & np.any(points < point - 1e-6, axis=1)


shares = {}
for discount in (1.0, 0.99):
    walk, front = play("resource-gathering-v0", BOTH, discount)
    best, reached = front.mean(1).max(), walk.mean()
    worse = dominated(front, walk)
    shares[discount] = worse.sum(), len(front)
    print(f"discount {discount:.2f}: both resources ({', '.join(f'{each:.2f}' for each in walk)});", end=" ")
    print(f"front's best for equal weights {best:.2f}, the walk's {reached:.2f};")
    print(f"  {worse.sum()} of {len(front)} policies of the front are dominated")
    assert np.allclose(walk, (0, discount**17, discount**17), atol=1e-4), walk
    assert reached > best + 0.05, "the front holds the walk now"
assert shares[1.0][0] == shares[1.0][1] and shares[0.99][0] >= 1, shares

gem, front = play("resource-gathering-v0", GEM, 0.9)
listed = front[:, 2][(front[:, 0] == 0) & (front[:, 1] == 0)].item()
print(f"discount 0.90, only the gem: {gem[2]:.3f} reached, {listed:.3f} in the front")
assert np.isclose(gem[2], 0.9**9) and np.isclose(listed, 0.9**10), "the front is discounted otherwise"

treasure, front = play("deep-sea-treasure-v0", "D", 0.9)
print(f"discount 0.90, the nearest treasure of the deep sea: {treasure[0]:.2f} reached,", end=" ")
print(f"{front[:, 0].min():.2f} in the front")
assert np.isclose(treasure[0], front[:, 0].min())
PYTHON
