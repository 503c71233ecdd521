#!/usr/bin/env bash
# Under stable-baselines3's VecNormalize, hindsight goals far from the environment's own all look alike.
#
# Versions: stable-baselines3 2.9.2, gymnasium 1.4.0, gymnasium-robotics 1.4.2, mujoco 3.3.0, torch 2.13.0
# (CPU build), NumPy 2.4.6, Python 3.11.
# Who is hit: HerReplayBuffer with VecNormalize, wherever the environment's goals vary less than the places
# that an agent reaches: a goal region, a table's height.
# Guess: both work together, as the buffer takes the normaliser and normalises what it relabels. A
# relabelled goal shows the agent where it has to go, and a goal that is reached looks like what was achieved.
# Behaviour: each entry of the observation has statistics of its own. Those of desired_goal are of the goals
# that the environment gave, and never of those that hindsight puts in. Few centimetres of spread divide
# metres of distance, the result is cut at 10, and all goals beyond are one number. achieved_goal
# has another mean and scale, so that a goal reached differs from its achievement. Rewards stay right:
# they are computed before; so the agent is paid differently for what it cannot tell apart.
# Output seen, a point in a corridor of MuJoCo's PointMaze, start and goal 5 m apart, 3000 random steps:
#   desired_goal: mean 3.0 m, deviation 0.14 m; achieved_goal: mean -2.9 m, deviation 0.34 m
#   hindsight goals from -3.4 to -1.6 m along the corridor: all are -10.0 to the agent
#   the place 3.0 m: 0.1 as a goal, 10.0 as an achievement
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check torch==2.13.0 \
    numpy==2.4.6 gymnasium==1.4.0 gymnasium-robotics==1.4.2 mujoco==3.3.0 stable-baselines3==2.9.2
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON' 2>"$folder/notes" || { cat "$folder/notes" >&2; exit 1; }
import gymnasium
import gymnasium_robotics
import numpy as np
from stable_baselines3 import SAC, HerReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

gymnasium.register_envs(gymnasium_robotics)
CORRIDOR = [[1] * 9, [1, "r", 0, 0, 0, 0, 0, "g", 1], [1] * 9]
STEPS = 3000


def make():
    return gymnasium.make(
        "PointMaze_UMaze-v3", maze_map=CORRIDOR, max_episode_steps=100, continuing_task=False
    )


def relabelled(agent, normaliser):
    """Return the goals of a batch along the corridor; the same batch whatever normaliser is given."""
    np.random.seed(0)
    return agent.replay_buffer.sample(2000, env=normaliser).observations["desired_goal"][:, 0].numpy()


vector = VecNormalize(DummyVecEnv([make]), norm_reward=False)
vector.seed(0)
agent = SAC("MultiInputPolicy", vector, replay_buffer_class=HerReplayBuffer, learning_starts=STEPS, seed=0)
agent.learn(STEPS)

given, reached = (vector.obs_rms[name] for name in ("desired_goal", "achieved_goal"))
print(f"desired_goal: mean {given.mean[0]:.1f} m, deviation {given.var[0] ** 0.5:.2f} m;", end=" ")
print(f"achieved_goal: mean {reached.mean[0]:.1f} m, deviation {reached.var[0] ** 0.5:.2f} m")

places, shown = relabelled(agent, None), relabelled(agent, vector)
hindsight = places < 1
low, high = places[hindsight].min(), places[hindsight].max()
print(f"hindsight goals from {low:.1f} to {high:.1f} m along the corridor:", end=" ")
print(f"all are {shown[hindsight].max():.1f} to the agent")
assert high - low > 1 and hindsight.mean() > 0.7
assert np.all(shown[hindsight] == -10), "the behaviour has changed"

place = np.array([[3.0, 0.0]])
both = {"observation": np.zeros((1, 4)), "achieved_goal": place, "desired_goal": place}
seen = vector.normalize_obs(both)
goal, achievement = seen["desired_goal"][0, 0], seen["achieved_goal"][0, 0]
print(f"the place {place[0, 0]:.1f} m: {goal:.1f} as a goal, {achievement:.1f} as an achievement")
assert abs(goal) < 1 and achievement == 10, "the behaviour has changed"
PYTHON
