#!/usr/bin/env bash
# Brax's PPO multiplies the value at a timeout by reward_scaling: at a scale of 10 its values grow without end.
#
# Versions: brax 0.14.2, jax 0.9.2, flax 0.12.6, NumPy 2.4.6, Python 3.11.
# Who is hit: whoever trains PPO of Brax with bootstrap_on_timeout and another reward_scaling than 1. The value
# function learns a task that does not exist: with a scale below 1 a timeout is nearly a failure, above 1 it is a prize.
# Guess: reward_scaling only sets the size of the numbers. Divided by it, the learned value is the same for all scales.
# Behaviour: the value network learns scaled rewards, so its values are scaled. At a timeout train adds the discounted
# value to the *unscaled* reward, and the loss scales the sum: the value counts reward_scaling times. If an episode is
# cut often enough, scale times discount ** length is more than 1, and each update raises the value that it bootstraps
# from. Nothing is raised or warned of. Without bootstrap_on_timeout all scales agree.
# Output seen, reward 1 for ever, a timeout every 10 steps, discount 0.9, so that each state is worth 10:
#   bootstrap_on_timeout, reward_scaling 1.0: value learned, divided by the scale, 10.0
#   bootstrap_on_timeout, reward_scaling 0.1: value learned, divided by the scale, 4.5
#   bootstrap_on_timeout, reward_scaling 10.0: value learned, divided by the scale, 251
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    brax==0.14.2 jax==0.9.2 jaxlib==0.9.2 flax==0.12.6 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore - <<'PYTHON' 2>"$folder/notes" || { cat "$folder/notes" >&2; exit 1; }
import contextlib
import functools
import os

import jax.numpy as jnp

with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # it names what else could be installed
    from brax.envs.base import Env, State
    from brax.training.agents.ppo import networks, train

LIMIT, DISCOUNT = 10, 0.9
make_networks = functools.partial(
    networks.make_ppo_networks, policy_hidden_layer_sizes=(8,), value_hidden_layer_sizes=(32,)
)


class Patrol(Env):
    """One state, where each step is paid 1; a timeout every LIMIT steps."""

    observation_size, action_size, backend = 1, 1, "none"

    def reset(self, rng):
        zero = jnp.zeros(())
        return State(None, jnp.ones(1), zero, zero, {}, {"time_out": zero, "clock": zero})

    def step(self, state, action):
        clock = state.info["clock"] + 1
        cut = (clock >= LIMIT).astype(float)
        info = {**state.info, "time_out": cut, "clock": clock * (1 - cut)}
        return state.replace(reward=jnp.ones(()), done=cut, info=info)


def value_learned(scale):
    _, (normalizer, _, value_parameters), _ = train.train(
        Patrol(),
        num_timesteps=60_000,
        episode_length=1000,
        num_envs=16,
        batch_size=16,
        num_minibatches=2,
        unroll_length=10,
        num_updates_per_batch=4,
        learning_rate=3e-3,
        discounting=DISCOUNT,
        reward_scaling=scale,
        bootstrap_on_timeout=True,
        network_factory=make_networks,
        run_evals=False,
    )
    values = make_networks(1, 1).value_network.apply(normalizer, value_parameters, jnp.ones((1, 1)))
    return float(values[0]) / scale


found = {}
for scale in (1.0, 0.1, 10.0):
    found[scale] = value_learned(scale)
    shown = f"{found[scale]:.1f}" if found[scale] < 100 else f"{found[scale]:.0f}"
    print(f"bootstrap_on_timeout, reward_scaling {scale}: value learned, divided by the scale, {shown}", flush=True)
assert abs(found[1.0] - 1 / (1 - DISCOUNT)) < 0.5
assert found[0.1] < 6 and found[10.0] > 20, "the behaviour has changed"
PYTHON
