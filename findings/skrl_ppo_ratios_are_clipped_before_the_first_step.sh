#!/usr/bin/env bash
# With skrl's observation scaler, PPO clips a policy that has not changed yet, as if it had moved far.
#
# Versions: skrl 2.1.1, gymnasium 1.4.0, torch 2.13.0 (CPU build), NumPy 2.4.6, Python 3.11.
# Guess: PPO's first gradient after a rollout is the plain policy gradient: old and new policy are the same, every ratio
# of probabilities is 1, nothing is clipped, and the divergence that an adaptive learning rate or kl_threshold looks at
# is 0. A running normalisation of observations changes between rollouts, or its state is stored with the actions.
# Behaviour: RunningStandardScaler, which skrl's own examples pass, learns from each mini-batch of the first epoch just
# before the new log-probabilities are computed with it; the old ones were computed with the scale of the rollout. So
# the ratio measures how far the scale moved. In the first update, where it jumps from none to the right one, four in
# ten samples lie beyond the clip of 0.2 with all weights as they were, and the divergence is over four times the 0.016
# above which KLAdaptiveLR lowers the learning rate by default. It fades as the scaler's count grows, and is back with
# every new scaler, as in fine-tuning on another robot.
# Output seen, learning rate 0, observations of mean (1, 0.5) and deviation 0.1, 256 samples an update:
#   no scaler: update 1: ratios 1.00 to 1.00, beyond the clip 0%, divergence 0.000
#   scaler: update 1: ratios 0.14 to 4.37, beyond the clip 41%, divergence 0.075
#   scaler: update 2: ratios 0.89 to 1.08, beyond the clip 0%, divergence 0.000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check torch==2.13.0 numpy==2.4.6 \
    gymnasium==1.4.0 skrl==2.1.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON' 2>"$folder/notes" || { cat "$folder/notes" >&2; exit 1; }
import gymnasium
import numpy as np
import torch
from skrl.agents.torch.ppo import PPO, PPO_CFG
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import DeterministicMixin, GaussianMixin, Model
from skrl.resources.preprocessors.torch import RunningStandardScaler
from skrl.trainers.torch import SequentialTrainer
from skrl.utils import set_seed

STEPS, UPDATES, CLIP = 64, 8, 0.2


class Noise(gymnasium.Env):
    """Observations drawn around a fixed point; any action earns 1."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def look(self):
        return self.np_random.normal((1.0, 0.5), 0.1).astype(np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.look(), {}

    def step(self, action):
        return self.look(), 1.0, False, False, {}


class Policy(GaussianMixin, Model):
    def __init__(self, env, memory):
        Model.__init__(self, observation_space=env.observation_space, action_space=env.action_space, device="cpu")
        GaussianMixin.__init__(self)
        self.net = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.Tanh(), torch.nn.Linear(32, 2))
        self.log_std = torch.nn.Parameter(torch.zeros(2))
        self.memory, self.ratios = memory, []

    def compute(self, inputs, role):
        return self.net(inputs["observations"]), {"log_std": self.log_std}

    def act(self, inputs, *, role=""):
        actions, outputs = super().act(inputs, role=role)
        if "taken_actions" in inputs:  # the update's question, not the rollout's
            old = self.memory.get_tensor_by_name("log_prob").flatten()[self.memory.get_sampling_indexes()]
            self.ratios.append((outputs["log_prob"].detach().flatten() - old).exp())
        return actions, outputs


class Value(DeterministicMixin, Model):
    def __init__(self, env):
        Model.__init__(self, observation_space=env.observation_space, action_space=env.action_space, device="cpu")
        DeterministicMixin.__init__(self)
        self.net = torch.nn.Linear(2, 1)

    def compute(self, inputs, role):
        return self.net(inputs["observations"]), {}


def train(name, scaler):
    """Collect and update with a learning rate of 0; return the first share of clipped samples, and divergence."""
    set_seed(0)
    env = wrap_env(gymnasium.make_vec("Noise-v0", num_envs=4, vectorization_mode="sync"), verbose=False)
    memory = RandomMemory(memory_size=STEPS, num_envs=4, device="cpu")
    policy = Policy(env, memory)
    config = PPO_CFG(rollouts=STEPS, learning_epochs=1, mini_batches=1, learning_rate=0.0, ratio_clip=CLIP)
    if scaler:
        config.observation_preprocessor = RunningStandardScaler
        config.observation_preprocessor_kwargs = {"size": env.observation_space, "device": "cpu"}
    config.experiment.write_interval = config.experiment.checkpoint_interval = 0
    weights = [parameter.detach().clone() for parameter in policy.parameters()]
    agent = PPO(
        models={"policy": policy, "value": Value(env)},
        memory=memory,
        observation_space=env.observation_space,
        action_space=env.action_space,
        device="cpu",
        cfg=config,
    )
    trainer = {"timesteps": STEPS * UPDATES, "disable_progressbar": True, "headless": True}
    SequentialTrainer(env=env, agents=agent, cfg=trainer).train()
    assert all(map(torch.equal, weights, policy.parameters()))
    shares = [((ratio - 1.0).abs() > CLIP).float().mean().item() for ratio in policy.ratios]
    divergences = [(ratio - 1.0 - ratio.log()).mean().item() for ratio in policy.ratios]
    assert len(shares) == UPDATES
    for update in (0, 1, UPDATES - 1):
        low, high = policy.ratios[update].min(), policy.ratios[update].max()
        print(
            f"{name}: update {update + 1}: ratios {low:.2f} to {high:.2f}, beyond the clip {shares[update]:.0%},"
            f" divergence {divergences[update]:.3f}",
            flush=True,
        )
    return shares[0], divergences[0]


gymnasium.register("Noise-v0", Noise)
without, scaled = train("no scaler", False), train("scaler", True)
assert without == (0.0, 0.0)
assert scaled[0] > 0.2 and scaled[1] > 0.03, "the behaviour has changed"
PYTHON
