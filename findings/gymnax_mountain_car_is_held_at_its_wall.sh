#!/usr/bin/env bash
# In gymnax's MountainCarContinuous-v0 a car that hits the wall stays there as if it were still driving.
#
# Versions: gymnax 1.0.1, jax 0.10.2, gymnasium 1.3.0 (which gymnax 1.0.1 takes), NumPy 2.4.6, Python 3.11.
# Who is hit: returns, steps to the goal and learning curves of this environment, where they stand beside
# those of Gymnasium, and policies that move from one to the other. Whoever swings far enough to the left is
# hit.
# Guess: the JAX version of Gymnasium's environment steps as Gymnasium does, as its CartPole, Acrobot,
# Pendulum and the discrete MountainCar do: at the left wall the velocity becomes 0.
# Behaviour: the line that stops the car tests the goal in place of the wall. At the wall the place is
# clipped and the velocity goes on: the car is observed at -1.2 with a speed to the left, and must brake
# that speed against the wall, for as many steps as it would have driven on. A policy that pushes the way
# the car moves holds it there meanwhile.
# Output seen, means of 20 starts, where the car is always pushed the way it moves:
#   one step into the wall at -0.05: Gymnasium's velocity 0.0000, gymnax's -0.0492
#   MountainCarContinuous-v0: steps to the goal 107 in Gymnasium, 171 in gymnax; returns 89.3 and 82.9
#   MountainCar-v0: steps to the goal 119 in Gymnasium, 119 in gymnax; returns -119.3 and -119.3
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    numpy==2.4.6 jax==0.10.2 jaxlib==0.10.2 gymnasium==1.3.0 gymnax==1.0.1 \
    six==1.17.0
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium
import gymnax
import jax
import jax.numpy as jnp
import numpy as np

STARTS = np.linspace(-0.6, -0.4, 20)


def pushes(name):
    """Return the actions for a push to the left and to the right."""
    return (0, 2) if name == "MountainCar-v0" else (np.float32([-1]), np.float32([1]))


def theirs(name, start):
    """Play an episode in Gymnasium, which always pushes the way the car moves."""
    environment = gymnasium.make(name).unwrapped
    environment.reset(seed=0)
    environment.state = np.array([start, 0.0])
    steps = paid = 0
    terminated = False
    while not terminated:
        action = pushes(name)[int(environment.state[1] >= 0)]
        _, reward, terminated, _, _ = environment.step(action)
        steps, paid = steps + 1, paid + reward
    return steps, paid


def ours(name):
    """Return a function that plays the same episode in gymnax."""
    environment, parameters = gymnax.make(name)
    left, right = (jnp.asarray(push) for push in pushes(name))
    _, reset = environment.reset_env(jax.random.key(0), parameters)

    def step(carried):
        state, steps, paid, _ = carried
        action = jnp.where(state.velocity >= 0, right, left)
        _, state, reward, terminated, _ = environment.step_env(jax.random.key(0), state, action, parameters)
        return state, steps + 1, paid + reward, terminated

    @jax.jit
    def play(start):
        first = reset.replace(position=start, velocity=jnp.zeros(()), time=jnp.zeros((), jnp.int32))
        return jax.lax.while_loop(lambda carried: ~carried[3], step, (first, 0, 0.0, False))[1:3]

    return play


name = "MountainCarContinuous-v0"
environment, parameters = gymnax.make(name)
_, state = environment.reset_env(jax.random.key(0), parameters)
state = state.replace(position=jnp.float32(-1.19), velocity=jnp.float32(-0.05))
(_, velocity), *_ = environment.step_env(jax.random.key(0), state, jnp.float32([-1]), parameters)
reference = gymnasium.make(name).unwrapped
reference.reset(seed=0)
reference.state = np.array([-1.19, -0.05])
(_, right_velocity), *_ = reference.step(np.float32([-1]))
print(f"one step into the wall at -0.05: Gymnasium's velocity {right_velocity:.4f}, gymnax's {velocity:.4f}")
assert right_velocity == 0 and velocity < -0.04, "the behaviour has changed"

for name in ("MountainCarContinuous-v0", "MountainCar-v0"):
    play = ours(name)
    here = np.mean([play(jnp.float32(start)) for start in STARTS], axis=0)
    there = np.mean([theirs(name, start) for start in STARTS], axis=0)
    print(f"{name}: steps to the goal {there[0]:.0f} in Gymnasium, {here[0]:.0f} in gymnax;", end=" ")
    print(f"returns {there[1]:.1f} and {here[1]:.1f}")
    if name == "MountainCar-v0":
        assert abs(here[0] - there[0]) < 1, "the behaviour has changed"
    else:
        assert here[0] > 1.4 * there[0] and here[1] < there[1] - 4, "the behaviour has changed"
PYTHON
