#!/usr/bin/env bash
# evosax's LM-MA-ES learns its directions from the order of the solutions, not from their fitness.
#
# Versions: evosax 0.3.2, jax 0.10.2, NumPy 2.4.6, Python 3.11.
# Who is hit: LM_MA_ES on anything but a round bowl, as the parameters of a policy are. It runs and it does
# improve: it is an evolution strategy with one step size, and is compared as the algorithm of its paper.
# Guess: after a generation the transformation is another one if the fitness of the solutions was another
# one.
# Behaviour: the transformation gives the weights of the ranks, best first, to the solutions in the order of
# the population. Mean and step size are updated with the weights that fitness gave, the transformation is
# not: it follows random draws and is the same for every fitness. In MA_ES one of two terms is made so, and
# the other one follows fitness. CMA_ES is right, and so is LM_MA_ES with its weights put in the order of
# fitness.
# Output seen:
#   transformation after one generation with the fitness, and with its opposite, greatest difference:
#     LM_MA_ES 0, CMA_ES 0.1
#   a cigar of 20 dimensions, 1,200 generations, cost of the mean with five seeds:
#     LM_MA_ES 0.19, 9.9, 4.8, 0.88, 0.00011
#     weights in the order of fitness 6.4e-07, 0.00012, 5.5e-05, 1.2e-06, 1.9e-05
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
from evosax.algorithms import CMA_ES, LM_MA_ES

SOLUTIONS, DIMENSIONS, GENERATIONS, SEEDS = 16, 20, 1200, 5


class Ordered(LM_MA_ES):
    """LM-MA-ES whose transformation gets the weights that fitness gave to each solution."""

    def _tell(self, key, population, fitness, state, params):
        return super()._tell(key, population, fitness, state, params.replace(weights=fitness))


def cigar(solutions):
    return solutions[:, 0] ** 2 + 1e4 * jnp.sum(solutions[:, 1:] ** 2, axis=1)


def transformation(kind, sign):
    """Return what one generation makes of the transformation or the covariance."""
    algorithm = kind(population_size=SOLUTIONS, solution=jnp.zeros(DIMENSIONS))
    parameters = algorithm.default_params
    state = algorithm.init(jax.random.key(0), jnp.ones(DIMENSIONS), parameters)
    solutions, state = algorithm.ask(jax.random.key(1), state, parameters)
    state, _ = algorithm.tell(jax.random.key(2), solutions, sign * cigar(solutions), state, parameters)
    return state.C if kind is CMA_ES else state.M


def costs(kind):
    """Return the cost of the mean after the last generation, for each seed."""
    algorithm = kind(population_size=SOLUTIONS, solution=jnp.zeros(DIMENSIONS))
    parameters = algorithm.default_params
    state = algorithm.init(jax.random.key(0), jnp.ones(DIMENSIONS), parameters)

    def generation(state, key):
        ask, tell = jax.random.split(key)
        solutions, state = algorithm.ask(ask, state, parameters)
        return algorithm.tell(tell, solutions, cigar(solutions), state, parameters)[0], None

    @jax.jit
    def run(key):
        last, _ = jax.lax.scan(generation, state, jax.random.split(key, GENERATIONS))
        return cigar(last.mean[None])[0]

    return np.array([run(jax.random.key(seed)) for seed in range(SEEDS)])


print("transformation after one generation with the fitness, and with its opposite, greatest difference:")
gaps = {}
for kind in (LM_MA_ES, CMA_ES):
    gaps[kind] = float(jnp.abs(transformation(kind, 1.0) - transformation(kind, -1.0)).max())
print("  " + ", ".join(f"{kind.__name__} {gap:.1g}" for kind, gap in gaps.items()), flush=True)
print("a cigar of 20 dimensions, 1,200 generations, cost of the mean with five seeds:")
found = {kind: costs(kind) for kind in (LM_MA_ES, Ordered)}
print("  LM_MA_ES " + ", ".join(f"{cost:.2g}" for cost in found[LM_MA_ES]))
print("  weights in the order of fitness " + ", ".join(f"{cost:.2g}" for cost in found[Ordered]))
assert gaps[LM_MA_ES] == 0 and gaps[CMA_ES] > 0.01, "the behaviour has changed"
assert np.median(found[LM_MA_ES]) > 100 * np.median(found[Ordered]), "the behaviour has changed"
PYTHON
