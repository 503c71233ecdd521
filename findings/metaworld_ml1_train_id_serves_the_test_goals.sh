#!/usr/bin/env bash
# gymnasium.make_vec("Meta-World/ML1-train") serves the test goals, and not one of the training goals.
#
# Versions: metaworld 3.1.1, mujoco 3.3.0, gymnasium 1.4.0, NumPy 2.4.6, packaging 25.0, Python 3.11.
# Guess: the ids "Meta-World/ML1-train" and "Meta-World/ML1-test" name the two splits of the benchmark, so an agent that
# trains on one and is measured on the other is measured on goals that it has never seen.
# Behaviour: both ids are registered in a loop, by functions that read the loop's variable when they are called: it is
# "test" by then. Whoever trains by the id trains on the goals of the test and reports memory as generalisation. The
# constructors make_ml_envs_train and make_ml_envs_test take the split as an argument and serve the right goals.
# Output seen, reach-v3 with seed 0:
#   Meta-World/ML1-train: 50 goals, of them 0 training goals and 50 test goals
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check metaworld==3.1.1 mujoco==3.3.0 \
    "gymnasium[mujoco]==1.4.0" numpy==2.4.6 packaging==25.0
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import gymnasium
import metaworld

warnings.simplefilter("ignore")
benchmark = metaworld.ML1("reach-v3", seed=0)
train, test = ({task.data for task in tasks} for tasks in (benchmark.train_tasks, benchmark.test_tasks))
assert len(train) == len(test) == 50 and not train & test
envs = gymnasium.make_vec("Meta-World/ML1-train", env_name="reach-v3", seed=0, meta_batch_size=1)
served = {task.data for tasks in envs.get_attr("tasks") for task in tasks}
found = len(served & train), len(served & test)
print(f"Meta-World/ML1-train: {len(served)} goals, of them {found[0]} training goals and {found[1]} test goals")
assert found == (0, 50), "the behaviour has changed"
PYTHON
