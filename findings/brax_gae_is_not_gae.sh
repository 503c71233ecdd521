#!/usr/bin/env bash
# Brax's compute_gae gives other advantages than generalised advantage estimation: lambda 0 looks two steps ahead.
#
# Versions: brax 0.14.2, jax 0.9.2, flax 0.12.6, NumPy 2.4.6, Python 3.11.
# Who is hit: whoever compares Brax's PPO, or what is trained with it, at one gae_lambda with another library's, or
# lowers gae_lambda for less variance: the setting means another thing there.
# Guess: compute_gae, which says that it calculates the estimator and that lambda_ 0 is one step, gives the sum of the
# temporal differences weighed by (discount * lambda) ** k, as stable-baselines3, CleanRL or rsl_rl do.
# Behaviour: only the value targets are that. The advantages are the reward plus the discounted *target* of the next
# state, as V-trace has it, less the value: lambda weighs one difference too few, so that each after the first counts
# 1 / lambda times too much. At lambda 0 the advantage is that of two steps; only lambda 1 is as it should be. So the
# policy's advantages are not the targets less the values, as elsewhere.
# Output seen, six steps of drawn rewards and values, discount 0.9:
#   lambda 1.00: largest difference from the estimator 0.000, of targets 0.000
#   lambda 0.95: largest difference from the estimator 0.082, of targets 0.000
#   lambda 0.50: largest difference from the estimator 0.798, of targets 0.000
#   lambda 0.00: largest difference from the estimator 1.595, of targets 0.000
#   lambda 0.00: largest difference from two-step advantages 0.000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    brax==0.14.2 jax==0.9.2 jaxlib==0.9.2 flax==0.12.6 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore - <<'PYTHON' 2>"$folder/notes" || { cat "$folder/notes" >&2; exit 1; }
import contextlib
import os

import numpy as np

with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # it names what else could be installed
    from brax.training.agents.ppo.losses import compute_gae

STEPS, DISCOUNT = 6, 0.9
generator = np.random.default_rng(0)
rewards, values = generator.normal(size=(2, STEPS, 1)).astype(np.float32)
after = generator.normal(size=1).astype(np.float32)  # the value of the state behind the last step
zeros = np.zeros_like(rewards)  # no episode ends
next_values = np.concatenate([values[1:], after[None]])
differences = rewards + DISCOUNT * next_values - values


def estimator(decay):
    """Generalised advantage estimation by its definition, a sum over all later steps."""
    rows = [
        sum((DISCOUNT * decay) ** k * differences[step + k] for k in range(STEPS - step)) for step in range(STEPS)
    ]
    return np.stack(rows)


def furthest(one, other):
    return float(np.abs(np.asarray(one) - other).max())


found = {}
for decay in (1.0, 0.95, 0.5, 0.0):
    targets, advantages = compute_gae(zeros, zeros, rewards, values, after, lambda_=decay, discount=DISCOUNT)
    found[decay] = furthest(advantages, estimator(decay)), furthest(targets - values, estimator(decay))
    print(f"lambda {decay:.2f}: largest difference from the estimator {found[decay][0]:.3f}, ", end="")
    print(f"of targets {found[decay][1]:.3f}")
two_steps = differences.copy()
two_steps[:-1] += DISCOUNT * differences[1:]
print(f"lambda 0.00: largest difference from two-step advantages {furthest(advantages, two_steps):.3f}")
assert all(target < 1e-5 for _, target in found.values()) and found[1.0][0] < 1e-5
assert found[0.95][0] > 0.01 and found[0.5][0] > 0.1 and found[0.0][0] > 0.5, "the behaviour has changed"
assert furthest(advantages, two_steps) < 1e-5, "the behaviour has changed"
PYTHON
