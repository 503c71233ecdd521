#!/usr/bin/env bash
# Meta-World's lever-pull-v3 pays a step that fails nearly twice what the steps pay that solve the task.
#
# Versions: metaworld 3.1.1, mujoco 3.3.0, gymnasium 1.4.0, NumPy 2.4.6, packaging 25.0, Python 3.11.
# Guess: a shaped reward of 0 to 10 is highest where the task is solved, so a policy of high return is one of high success.
# Behaviour: under the package's own scripted policy, on 10 goals and 250 steps, the steps with info["success"] true pay
# 5.1 on average, and the best step with it false pays 10.0. A policy that maximises the return holds the lever where it
# does not count. In reach-v3 the two are equal to two digits: the reward grows smoothly through the radius that counts.
# Output seen:
#   lever-pull-v3: solved 10 of 10, mean reward of solving steps 5.12, best of the others 9.99
#   reach-v3: solved 9 of 10, mean reward of solving steps 10.00, best of the others 10.00
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check metaworld==3.1.1 mujoco==3.3.0 \
    "gymnasium[mujoco]==1.4.0" numpy==2.4.6 packaging==25.0
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import metaworld
import numpy as np
from metaworld.policies import ENV_POLICY_MAP

warnings.simplefilter("ignore")  # the scripts ask for more than an action can be


def rewards(name):
    benchmark = metaworld.ML1(name, seed=0)
    env, policy = benchmark.train_classes[name](), ENV_POLICY_MAP[name]()
    solving, failing, solved = [], [], 0
    for task in benchmark.train_tasks[:10]:
        env.set_task(task)
        env._partially_observable = False  # the script reads the goal
        observation, _ = env.reset()
        any_success = False
        for _ in range(250):
            action = np.clip(policy.get_action(observation), -1, 1)
            observation, reward, _, _, info = env.step(action)
            (solving if info["success"] else failing).append(float(reward))
            any_success |= bool(info["success"])
        solved += any_success
    mean, best = float(np.mean(solving)), max(failing)
    print(f"{name}: solved {solved} of 10, mean reward of solving steps {mean:.2f}, best of the others {best:.2f}")
    return mean, best


lever, reach = rewards("lever-pull-v3"), rewards("reach-v3")
assert lever[1] > 1.8 * lever[0], "the behaviour has changed"
assert abs(reach[0] - reach[1]) < 0.05, "the behaviour has changed"
PYTHON
