#!/usr/bin/env bash
# Time limits of PettingZoo environments reach stable-baselines3 as true ends, when SuperSuit joins the two.
#
# Versions: supersuit 3.11.0, pettingzoo 1.27.0, stable-baselines3 2.9.2, gymnasium 1.4.0, torch 2.13.0 (CPU
# build), NumPy 2.4.6, Python 3.11.
# Who is hit: whoever trains PettingZoo agents with PPO as PettingZoo's tutorials do. Agents learn that what
# lies beyond a time limit is worth nothing, and the same task gets other values than in Gymnasium.
# Guess: the environment says "truncated", concat_vec_envs_v1(..., base_class="stable_baselines3") makes it an
# environment of that library, which continues the return past a time limit with the last observation's value.
# Behaviour: SuperSuit hands on the last observation, as "terminal_observation", but not
# "TimeLimit.truncated", by which stable-baselines3 tells the two endings apart. So a cut episode is a
# finished one: nothing is added to its last reward.
# Output seen, reward 1 for ever, cut every 10 steps, discount 0.9, so that each state is worth 10:
#   gymnasium: TimeLimit.truncated True; value learned 10.0
#   pettingzoo: TimeLimit.truncated None; value learned 4.3
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 numpy==2.4.6 gymnasium==1.4.0 pettingzoo==1.27.0 supersuit==3.11.0 stable-baselines3==2.9.2
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium
import numpy as np
import supersuit
import torch
from gymnasium import spaces
from pettingzoo import ParallelEnv
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

torch.set_num_threads(1)
LIMIT = 10
PLACE = np.ones(1, np.float32)
OBSERVATIONS, ACTIONS = spaces.Box(-1.0, 1.0, (1,), np.float32), spaces.Discrete(2)


class Patrol(ParallelEnv):
    """Two agents that are paid for being there, for at most LIMIT steps at a time."""

    metadata = {"name": "patrol", "is_parallelizable": True}
    render_mode = None
    possible_agents = ["left", "right"]

    def observation_space(self, agent):
        return OBSERVATIONS

    def action_space(self, agent):
        return ACTIONS

    def reset(self, seed=None, options=None):
        self.agents, self.steps = list(self.possible_agents), 0
        return {agent: PLACE for agent in self.agents}, {agent: {} for agent in self.agents}

    def step(self, actions):
        self.steps += 1
        cut = self.steps == LIMIT
        each = [dict.fromkeys(actions, what) for what in (PLACE, 1.0, False, cut)]
        if cut:
            self.agents = []
        return *each, {agent: {} for agent in actions}


class One(gymnasium.Env):
    """One of the agents as a Gymnasium environment; the time limit is Gymnasium's."""

    observation_space, action_space = OBSERVATIONS, ACTIONS

    def reset(self, *, seed=None, options=None):
        return PLACE, {}

    def step(self, action):
        return PLACE, 1.0, False, False, {}


def pettingzoo():
    vector = supersuit.pettingzoo_env_to_vec_env_v1(Patrol())
    return supersuit.concat_vec_envs_v1(vector, 1, base_class="stable_baselines3")


def alone():
    return DummyVecEnv([lambda: gymnasium.wrappers.TimeLimit(One(), LIMIT)] * 2)


values = {}
for name, make in (("gymnasium", alone), ("pettingzoo", pettingzoo)):
    env = make()
    env.reset()
    for _ in range(LIMIT):
        _, _, dones, infos = env.step(np.zeros(2, np.int64))
    assert dones.all() and "terminal_observation" in infos[0]
    told = infos[0].get("TimeLimit.truncated")
    np.random.seed(0)
    torch.manual_seed(0)
    settings = {"gamma": 0.9, "n_steps": 50, "batch_size": 100, "learning_rate": 0.01, "device": "cpu"}
    model = PPO("MlpPolicy", make(), **settings)
    model.learn(4000)
    values[name] = model.policy.predict_values(torch.ones(1, 1)).item()
    print(f"{name}: TimeLimit.truncated {told}; value learned {values[name]:.1f}", flush=True)
    assert told is (True if name == "gymnasium" else None), "the behaviour has changed"
assert values["gymnasium"] > 8.5 and values["pettingzoo"] < 6.5, "the behaviour has changed"
PYTHON
