#!/usr/bin/env bash
# In a vector that resets in the same step, FrankaKitchen's list of completed tasks is empty at the end of every episode.
#
# Versions: gymnasium-robotics 1.4.2, gymnasium 1.4.0, mujoco 3.3.0, NumPy 2.4.6, Python 3.11.
# Who is hit: whoever trains on Gymnasium's vectors with AutoresetMode.SAME_STEP, or keeps infos until an episode is over, and
# measures by info["episode_task_completions"], as the benchmark does: a policy that solves the task is reported to solve none.
# Guess: what step() returned does not change any more, and final_info is the info of the episode's last step.
# Behaviour: the list in info is the environment's own. A later completion is entered into the infos of earlier steps, and
# reset() clears it in all of them, which a vector in this mode calls before it hands final_info out, in its own process as in
# others. step_task_completions is a copy, and the reward and "terminated" are right; counting those gives the right number.
# Issue 336 of the project reports the list that changes.
# Output seen, a microwave that is opened in the third step, which ends the episode:
#   one environment: reward 1, completed after each step [0, 0, 1], the same infos at the end [1, 1, 1], after reset() [0, 0, 0]
#   SyncVectorEnv, NextStep: rewards [1, 1], terminated [True, True], completed tasks [1, 1], in this step [1, 1]
#   SyncVectorEnv, SameStep: rewards [1, 1], terminated [True, True], completed tasks [0, 0], in this step [1, 1]
#   AsyncVectorEnv, SameStep: rewards [1, 1], terminated [True, True], completed tasks [0, 0], in this step [1, 1]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check gymnasium-robotics==1.4.2 \
    gymnasium==1.4.0 mujoco==3.3.0 numpy==2.4.6
cat >"$folder/program.py" <<'PYTHON'
import warnings

import gymnasium
import gymnasium_robotics
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

MICROWAVE, OPEN, STEPS = 22, -0.75, 3  # the door's index in qpos, the angle that the task asks for
KEY = "episode_task_completions"


class OpenedDoor(gymnasium.Wrapper):
    """A kitchen where the microwave is opened in the third step."""

    def reset(self, **kwargs):
        self.steps = 0
        return self.env.reset(**kwargs)

    def step(self, action):
        self.steps += 1
        if self.steps == STEPS:
            self.env.unwrapped.data.qpos[MICROWAVE] = OPEN
        return self.env.step(action)


def kitchen():
    return OpenedDoor(gymnasium.make("FrankaKitchen-v1", tasks_to_complete=["microwave"]))


def counts(infos):
    return [len(info[KEY]) for info in infos]


def single():
    env, infos, then = kitchen(), [], []
    env.reset(seed=0)
    for _ in range(STEPS):
        _, reward, terminated, _, info = env.step(np.zeros(9))
        infos.append(info)
        then.append(len(info[KEY]))
    at_the_end = counts(infos)
    env.reset()
    print(
        f"one environment: reward {reward:.0f}, completed after each step {then}, the same infos at the end {at_the_end},"
        f" after reset() {counts(infos)}",
        flush=True,
    )
    assert reward == 1.0 and terminated and then == [0, 0, 1]
    assert at_the_end == [1, 1, 1] and counts(infos) == [0, 0, 0], "the behaviour has changed"


def vectorised(vector_class, mode):
    env = vector_class([kitchen] * 2, autoreset_mode=mode)
    env.reset(seed=0)
    for _ in range(STEPS):
        _, rewards, terminated, _, info = env.step(np.zeros((2, 9)))
    info = info.get("final_info", info)
    completed, now = ([len(tasks) for tasks in info[key]] for key in (KEY, "step_task_completions"))
    print(
        f"{vector_class.__name__}, {mode.value}: rewards {rewards.astype(int).tolist()}, terminated {terminated.tolist()},"
        f" completed tasks {completed}, in this step {now}",
        flush=True,
    )
    env.close()
    assert rewards.tolist() == [1.0, 1.0] and terminated.all() and now == [1, 1]
    return completed


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    gymnasium.register_envs(gymnasium_robotics)
    single()
    assert vectorised(SyncVectorEnv, AutoresetMode.NEXT_STEP) == [1, 1]
    assert vectorised(SyncVectorEnv, AutoresetMode.SAME_STEP) == [0, 0], "the behaviour has changed"
    assert vectorised(AsyncVectorEnv, AutoresetMode.SAME_STEP) == [0, 0], "the behaviour has changed"
PYTHON
"$folder/venv/bin/python" "$folder/program.py" 2>"$folder/notes" || { cat "$folder/notes" >&2; exit 1; }
