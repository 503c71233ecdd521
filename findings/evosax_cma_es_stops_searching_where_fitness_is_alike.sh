#!/usr/bin/env bash
# On a sparse reward evosax's CMA-ES shrinks its steps to nothing: weights of equal solutions do not add up.
#
# Versions: evosax 0.3.2, jax 0.10.2, NumPy 2.4.6, Python 3.11.
# Who is hit: CMA_ES, Sep_CMA_ES, MA_ES and LM_MA_ES wherever solutions tie: success or failure, whole steps
# that an episode lasted, a plateau around the start. SimpleES is hit the other way round.
# Guess: solutions that are equally good share the weights of the ranks that they fill, so that a generation
# in which nothing succeeds says nothing: the step size wanders about its value and the search goes on.
# Behaviour: tied solutions get their average rank, it is cut to a whole number, and each of them gets the
# weight of that one rank. If all tie, that is the least weight of the better half: 16 solutions share a
# weight of 0.15 in place of 1. The mean hardly moves, the step-size control holds this for a walk on the
# spot, and halves the step size about every second or third generation. In SimpleES all of them are the
# better half, so weights add up to 2 and the distribution grows. With a millionth of noise on the fitness
# no two tie, and all is as one expects.
# Output seen, a goal 4 from the start with radius 0.5 in 2 dimensions, medians of 20 seeds:
#   sum of the better half's weights: all differ, the 4 best tie, all tie
#     CMA_ES 1.00, 1.06, 0.15; SimpleES 1.00, 1.00, 2.00
#   as it is: step size 1, after 20, 40 and 60 generations 0.0031, 9.3e-06, 2.9e-08; reached by 0 of 20 seeds
#   with noise of a millionth: step size 1, after 20, 40 and 60 generations 1, 1, 0.88; reached by 6 of 20
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    numpy==2.4.6 jax==0.10.2 jaxlib==0.10.2 evosax==0.3.2
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import jax
import jax.numpy as jnp
import numpy as np
from evosax.algorithms import CMA_ES, SimpleES
from evosax.core.fitness_shaping import weights_fitness_shaping_fn

SOLUTIONS, GENERATIONS, SEEDS = 16, 60, 20


def weights(algorithm, fitness):
    """Return the sum of the positive weights that these solutions get."""
    found = weights_fitness_shaping_fn(jnp.zeros((SOLUTIONS, 1)), fitness, None, algorithm.default_params)
    return float(jnp.maximum(found, 0).sum())


different, alike = jnp.arange(SOLUTIONS, dtype=float), jnp.zeros(SOLUTIONS)
cma, simple = (kind(population_size=SOLUTIONS, solution=jnp.zeros(2)) for kind in (CMA_ES, SimpleES))
cases = different, jnp.maximum(different, 3), alike
sums = [weights(cma, fitness) for fitness in cases]
ours = [weights(simple, fitness) for fitness in cases]
print("sum of the better half's weights: all differ, the 4 best tie, all tie")
print("  CMA_ES {:.2f}, {:.2f}, {:.2f}; SimpleES {:.2f}, {:.2f}, {:.2f}".format(*sums, *ours))
assert np.isclose(sums[0], 1, atol=1e-4) and np.isclose(ours[0], 1, atol=1e-4)
assert sums[2] < 0.2 and np.isclose(ours[2], 2, atol=1e-4), "the behaviour has changed"


def generation(carried, key):
    """Search for one generation: a solution's fitness is 0 at the goal and 1 elsewhere."""
    state, noise = carried
    ask, tell, draw = jax.random.split(key, 3)
    solutions, state = cma.ask(ask, state, cma.default_params)
    failed = 1.0 * (jnp.linalg.norm(solutions - jnp.array([4.0, 0.0]), axis=1) > 0.5)
    fitness = failed + noise * jax.random.uniform(draw, (SOLUTIONS,))
    state, _ = cma.tell(tell, solutions, fitness, state, cma.default_params)
    return (state, noise), (state.std, jnp.any(failed == 0))


@jax.jit
def search(seed, noise):
    key = jax.random.key(seed)
    state = cma.init(key, jnp.zeros(2), cma.default_params)
    return jax.lax.scan(generation, (state, noise), jax.random.split(key, GENERATIONS))[1]


found = {}
for name, noise in (("as it is", 0.0), ("with noise of a millionth", 1e-6)):
    runs = [search(seed, noise) for seed in range(SEEDS)]
    steps = np.median([np.asarray(run[0]) for run in runs], axis=0)[[19, 39, 59]]
    found[name] = steps[-1], sum(bool(run[1].any()) for run in runs)
    shown = ", ".join(f"{step:.2g}" for step in steps)
    print(f"{name}: step size 1, after 20, 40 and 60 generations {shown};", end=" ")
    print(f"reached by {found[name][1]} of {SEEDS} seeds")
(plain, missed), (noisy, reached) = found.values()
assert plain < 1e-6 and noisy > 0.1 and missed + 3 <= reached, "the behaviour has changed"
PYTHON
