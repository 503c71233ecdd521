#!/usr/bin/env bash
# Restoring Meta-World's vector of meta-learning environments from its own checkpoint loses most of the training tasks.
#
# Versions: metaworld 3.1.1, mujoco 3.3.0, gymnasium 1.4.0, NumPy 2.4.6, packaging 25.0, Python 3.11.
# Guess: get_checkpoint and load_checkpoint, which each sub-environment has, save and restore its list of tasks, so a
# run that is resumed trains on the tasks that it was started with.
# Behaviour: make_ml_envs deals the goals of a family out to its slots, but every slot's checkpoint has the same name,
# "<class ...>_None", since only the multi-task constructors number them. Loading looks for its name and takes the first
# that fits: every slot of a family gets the first slot's goals, in silence. With ten slots a resumed run trains on 5
# goals instead of 50.
# Output seen, ML1 reach-v3 with five slots:
#   names in the checkpoint: 5, distinct: 1
#   goals before saving: 50, after loading: 10
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check metaworld==3.1.1 mujoco==3.3.0 \
    "gymnasium[mujoco]==1.4.0" numpy==2.4.6 packaging==25.0
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import metaworld

warnings.simplefilter("ignore")
envs = metaworld.make_ml_envs_train("reach-v3", seed=0, meta_batch_size=5)


def goals():
    return {task.data for tasks in envs.get_attr("tasks") for task in tasks}


before = goals()
checkpoints = list(envs.call("get_checkpoint"))
names = [name for name, _ in checkpoints]
print(f"names in the checkpoint: {len(names)}, distinct: {len(set(names))}")
envs.call("load_checkpoint", checkpoints)
after = goals()
print(f"goals before saving: {len(before)}, after loading: {len(after)}")
assert len(set(names)) == 1, "the behaviour has changed"
assert (len(before), len(after)) == (50, 10) and after < before, "the behaviour has changed"
PYTHON
