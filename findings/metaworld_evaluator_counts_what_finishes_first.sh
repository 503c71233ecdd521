#!/usr/bin/env bash
# Meta-World's own evaluator reports 100 % for an agent that solves one of four goals and stands still on the others.
#
# Versions: metaworld 3.1.1, mujoco 3.3.0, gymnasium 1.4.0, NumPy 2.4.6, packaging 25.0, Python 3.11.
# Guess: metalearning_evaluation gives each held-out goal of the meta-batch the same number of episodes, so
# evaluation_episodes=3 on four goals, one of which is solved, reports 25 %.
# Behaviour: it counts, by the name of the task, the first three episodes to finish in any slot, and success ends an
# episode. The slot with the solved goal has finished three before another has reached its time limit once, and the loop
# ends. In its own setting for ML10, 20 slots for five tasks, each task has four goals: one solved goal each is 100 %.
# So a success rate by this protocol is nearer to the share of families with a goal that is solved than to that of goals.
# Output seen:
#   solved goals: 1 of 4
#   metalearning_evaluation: success rate 1.0
#   episodes that it counted, by goal: [3, 0, 0, 0]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check metaworld==3.1.1 mujoco==3.3.0 \
    "gymnasium[mujoco]==1.4.0" numpy==2.4.6 packaging==25.0
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import metaworld
import numpy as np
from metaworld.evaluation import metalearning_evaluation

GOALS, STEPS, EPISODES = 4, 200, 3
warnings.simplefilter("ignore")
envs = metaworld.make_ml_envs_test(
    "reach-v3", seed=0, meta_batch_size=GOALS, total_tasks_per_cls=GOALS, max_episode_steps=STEPS
)


class SolvesTheFirst:
    """Moves the hand to the goal in the first slot and stands still in the others."""

    def __init__(self):
        self.finished = np.zeros(GOALS, int)

    def init(self):
        pass

    def adapt(self):
        self.finished[:] = -1  # the evaluation begins with a reset of all slots

    def step(self, timestep):
        pass

    def reset(self, env_mask):
        self.finished += env_mask

    def eval_action(self, observations):
        actions = np.zeros((GOALS, 4))
        goal = envs.get_attr("_target_pos")[0]  # hidden in the observation
        actions[0, :3] = np.clip(10 * (goal - observations[0, :3]), -1, 1)
        return actions

    def adapt_action(self, observations):
        return self.eval_action(observations), {}


agent = SolvesTheFirst()
envs.call("sample_tasks")
envs.call("toggle_terminate_on_success", False)
observations, _ = envs.reset()
solved = np.zeros(GOALS, bool)
for _ in range(STEPS - 1):
    observations, _, _, _, infos = envs.step(agent.eval_action(observations))
    solved |= infos["success"] > 0
print(f"solved goals: {solved.sum()} of {GOALS}")
rate, _, _ = metalearning_evaluation(
    agent, envs, num_evals=1, adaptation_episodes=1, evaluation_episodes=EPISODES
)
print("metalearning_evaluation: success rate", rate)
print("episodes that it counted, by goal:", agent.finished.tolist())
assert solved.tolist() == [True, False, False, False]
assert rate == 1.0 and agent.finished.tolist() == [EPISODES, 0, 0, 0], "the behaviour has changed"
PYTHON
