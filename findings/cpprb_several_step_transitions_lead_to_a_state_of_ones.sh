#!/usr/bin/env bash
# cpprb's n-step transitions at the end of an episode lead to a state of ones, also where a time limit ended it.
#
# Versions: cpprb 11.0.0, NumPy 2.4.6, Python 3.11.
# Who is hit: agents with several-step returns on tasks with a time limit, which all continuous-control tasks
# have. With 4 steps, the last three transitions of each episode bootstrap from a state that nobody visited.
# Guess: on_episode_end closes the n-step window. Transitions that have fewer steps left lead to the last
# observation; done is 0 at a time limit, so that the target adds the value of that observation.
# Behaviour: returns, observations and done of these transitions are right, but their next observation is
# filled with ones. A true end multiplies the value by 0 and hides it. At a time limit the target
# is the value of a vector of ones. Observations of one-step buffers are right. Besides, a sample does not say
# how many steps its return has, so the value of the last observation, had it been there, would be
# discounted 4 times in place of 3, 2 or 1.
# Output seen, an episode of 7 steps in which observation t is (10 t, -10 t), rewards of 1, discount 0.9:
#   1 step, time limit: returns 1.00 1.00 1.00 1.00 1.00 1.00 1.00; next 10 20 30 40 50 60 70
#   4 steps, time limit: returns 3.44 3.44 3.44 3.44 2.71 1.90 1.00; next 40 50 60 70 1 1 1
#   4 steps, true end: returns 3.44 3.44 3.44 3.44 2.71 1.90 1.00; next 40 50 60 70 1 1 1
#   fitted values of a task that pays 1 for ever (10 at a discount of 0.9): 1 step 10.0, 4 steps 3.8
#     (the mean over the episode, where the state of ones, which is never trained, is worth 0)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    numpy==2.4.6 cpprb==11.0.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import numpy as np
from cpprb import ReplayBuffer

LENGTH, DISCOUNT = 7, 0.9


def record(steps, ended):
    """Return the transitions that a buffer makes of one episode, in order."""
    fields = {"obs": {"shape": 2}, "next_obs": {"shape": 2}, "rew": {}, "done": {}}
    several = {"size": steps, "gamma": DISCOUNT, "rew": "rew", "next": "next_obs"}
    buffer = ReplayBuffer(64, fields, **({"Nstep": several} if steps > 1 else {}))
    for time in range(LENGTH):
        now, later = (10 * np.array([moment, -moment]) for moment in (time, time + 1))
        buffer.add(obs=now, next_obs=later, rew=1.0, done=float(ended and time == LENGTH - 1))
    buffer.on_episode_end()
    return buffer.get_all_transitions()


def fitted(found, steps):
    """Iterate values by observation: those recorded learn their targets, all others stay at 0."""
    values = {}
    for _ in range(300):
        reached = [values.get(tuple(each), 0.0) for each in found["next_obs"]]
        # The observation of the time limit is a state like any other: it is worth as much as the first.
        last = tuple(float(each) for each in (10 * LENGTH, -10 * LENGTH))
        targets = found["rew"].ravel() + DISCOUNT**steps * (1 - found["done"].ravel()) * np.array(reached)
        values = dict(zip(map(tuple, found["obs"]), targets, strict=True))
        values[last] = targets[0]
    return float(targets.mean())


for steps, ended in ((1, False), (4, False), (4, True)):
    found = record(steps, ended)
    times, returns = found["next_obs"][:, 0], found["rew"].ravel()
    name = f"{steps} step{'s' * (steps > 1)}, {'true end' if ended else 'time limit'}"
    print(f"{name}: returns {' '.join(f'{each:.2f}' for each in returns)};", end=" ")
    print(f"next {' '.join(f'{each:.0f}' for each in times)}")
    left = np.minimum(LENGTH - np.arange(LENGTH), steps)
    assert np.allclose(returns, (1 - DISCOUNT**left) / (1 - DISCOUNT))
    right = np.minimum(np.arange(LENGTH) + steps, LENGTH) * 10
    whole = left == steps
    assert np.allclose(times[whole], right[whole])
    assert np.all(found["next_obs"][~whole] == 1), "the behaviour has changed"
    assert np.all(found["done"].ravel()[~whole] == ended)

one, four = (fitted(record(steps, False), steps) for steps in (1, 4))
print(f"fitted values of a task that pays 1 for ever (10 at a discount of 0.9): 1 step {one:.1f},", end=" ")
print(f"4 steps {four:.1f}")
assert np.isclose(one, 10, atol=0.01) and four < 8, "the behaviour has changed"
PYTHON
