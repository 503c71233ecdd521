"""Settings of agents on presets, in one table; an agent keeps its defaults where it has no entry."""

from __future__ import annotations

from collections.abc import Mapping

from metarl.config import AgentConfig, SamplingConfig, construct
from metarl.plugins.registry import agent
from metarl.settings import setting_names

_HALF_CHEETAH: Mapping[str, object] = {"inner_lr": 1.0, "max_kl": 0.02}

SHARED: Mapping[str, Mapping[str, object]] = {
    "bandits": {"inner_lr": 1.0},  # with 0.1 a step from 20 episodes hardly moves the policy
    "cart-pole": {"gae_lambda": 0.97, "inner_lr": 0.5},
    "half-cheetah-dir": _HALF_CHEETAH,
    "half-cheetah-vel": _HALF_CHEETAH,
    # with smaller meta-batches than the published, learns twice as fast at first (docs/settings_tried.md)
    "ml45": {"max_kl": 0.03},
    # the reward shows at once how good a move was; the others were found by search (docs/settings_tried.md);
    # few steps of conjugate gradient keep to directions of which the curvature is well known
    "point": {"discount": 0.0, "min_std": 1.0, "inner_lr": 0.2, "cg_iters": 3},
}
"""By preset: for every agent that has such a setting."""

_GATED: Mapping[str, Mapping[str, object]] = {"meta-lstm": {"inner_lr": 0.5}}
"""Meta-LSTM's step is a gate, below 1."""

# what explores has to be paid for what it finds, and moves are 0.1 at most
_POINT_TRIALS: Mapping[str, object] = {
    "cell": "linear",
    "memory_size": 64,
    "initial_std": 0.2,
    "min_std": 0.01,
    "discount": 0.7,
    "gae_lambda": 0.9,
    "learning_rate": 1.5e-3,
}

_HALF_CHEETAH_SUITED: Mapping[str, Mapping[str, object]] = {
    **_GATED,
    "rl2": {  # results/half-cheetah-vel-rl2
        "cell": "linear",
        "initial_std": 0.7,
        "learning_rate": 2e-3,
        "max_kl": 0.03,
    },
    "varibad": {"state_weight": 0.0},  # all tasks have the same transitions
}

_CART_POLE: Mapping[str, object] = {
    # held-out returns of one run each, of at most 60: 60.0 with these and 20 tasks an iteration, 58.4 with
    # 100 tasks and a step of 2e-3, 56.2 with 100 tasks, 3e-3 and max_kl 0.05
    "cell": "linear",
    "memory_size": 64,
    "embedding_size": 64,
    "learning_rate": 3e-3,
}

_META_WORLD: Mapping[str, Mapping[str, object]] = {
    # "linear" learns as "gru" in less time, and reaching needs the changes: docs/settings_tried.md
    "rl2": {"cell": "linear", "changes": True},
}

ORIENTATIONS = tuple(18 * frame + entry for frame in (0, 1) for entry in (7, 8, 9, 10, 14, 15, 16, 17))
"""Entries of Meta-World's observation: quaternions of both objects, now and a step before."""

_EXPERTS: Mapping[str, Mapping[str, object]] = {
    **_META_WORLD,
    "policy-reuse": {
        **_META_WORLD["rl2"],
        "experts_per_family": 1,
        # what never moved in a family's training may move in a new one, or stand elsewhere and otherwise
        "least_deviation": 0.1,
        "input_limit": 3.0,
        "unread": ORIENTATIONS,
    },
}

OVERRIDES: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "cart-pole": {"rl2": _CART_POLE},
    "ml1": _META_WORLD,
    "ml10": _EXPERTS,
    "ml25": _EXPERTS,
    "ml45": _EXPERTS,
    "half-cheetah-dir": _HALF_CHEETAH_SUITED,
    "half-cheetah-vel": _HALF_CHEETAH_SUITED,
    "bandits": {  # an episode is a whole trial, and little is to be remembered
        **_GATED,
        "rl2": {
            "trial_episodes": 1,
            "memory_size": 64,
            "embedding_size": 32,
            "learning_rate": 3e-3,
            # the luck of a pull says little of those that follow (docs/settings_tried.md)
            "gae_lambda": 0.3,
        },
        # nothing is observed that could follow from anything
        "varibad": {"trial_episodes": 1, "memory_size": 64, "state_weight": 0.0},
    },
    "point": {  # by short runs: docs/agents/README.md
        "cavia": {"inner_lr": 1.0},
        "e-maml": {"outer_lr": 3e-3, "credit_weight": 1e-4},
        "lvc": {"outer_lr": 3e-3},
        "maml-ppo": {"outer_lr": 3e-3},
        "maml-vpg": {"outer_lr": 3e-3},
        # the simulator is cheaper than a gradient step; rewards differ by a tenth from action to action
        "pearl": {
            "latent_size": 8,
            "hidden_sizes": (64, 64),
            "kl_weight": 0.03,
            "reward_scale": 10.0,
            "learning_rate": 2e-3,
            "initial_temperature": 0.1,
            "tasks_per_step": 10,
            "batch_size": 32,
            "update_ratio": 0.005,
            "initial_iterations": 0,
        },
        "rl2": {**_POINT_TRIALS, "embedding_size": 64},
        "varibad": {
            **_POINT_TRIALS,
            "hidden_sizes": (64, 64),
            "state_weight": 0.0,  # all tasks have the same transitions
            "vae_updates": 30,
            "vae_learning_rate": 3e-3,
        },
    },
}
"""By preset and agent: on top of what is shared."""

FEW_TRIALS_A_TASK = ("rl2", "policy-reuse")
"""Agents that learn nothing from a task's other trials, so fresh tasks are worth more."""


FEW_TRIALS = SamplingConfig(meta_batch_size=50, episodes=2)  # meta-batch of these agents on many families

ONE_TRIAL = SamplingConfig(meta_batch_size=50, episodes=1)
"""On one family, where fewer steps suffice (docs/settings_tried.md)."""


def agent_config_for(preset: str, name: str) -> AgentConfig:
    """Return an agent's config for a preset; MetarlError if there is no such agent."""
    config = agent(name)
    known = setting_names(config)
    shared = {key: value for key, value in SHARED.get(preset, {}).items() if key in known}
    return construct(config, {**shared, **OVERRIDES.get(preset, {}).get(name, {})})


def equal_steps(iterations: int, agent: AgentConfig) -> int:
    """Return meta-iterations with the steps of ``iterations`` of an agent of one inner step."""
    rollouts = 1 + int(getattr(agent, "adaptation_steps", 1))
    return round(2 * iterations / rollouts)


def in_small_batches(
    agent: AgentConfig, iterations: int, sampling: SamplingConfig, small: SamplingConfig
) -> tuple[int, SamplingConfig]:
    """Return iterations and meta-batch of equal steps, ``small`` for agents of :data:`FEW_TRIALS_A_TASK`."""
    if agent.kind not in FEW_TRIALS_A_TASK:
        return iterations, sampling
    episodes = sampling.meta_batch_size * sampling.episodes
    return iterations * episodes // (small.meta_batch_size * small.episodes), small


def meta_batch(agent: AgentConfig, *, tasks: int, episodes: int) -> SamplingConfig:
    """Return ``tasks * episodes`` episodes, one a task for agents of :data:`FEW_TRIALS_A_TASK`."""
    if agent.kind in FEW_TRIALS_A_TASK:
        return SamplingConfig(meta_batch_size=tasks * episodes, episodes=1)
    return SamplingConfig(meta_batch_size=tasks, episodes=episodes)


def measured_steps(agent: AgentConfig, steps: int) -> int:
    """Return adaptation steps to measure: ``steps``, or a sequential agent's own trial."""
    return int(getattr(agent, "adaptation_steps", steps)) if agent.trial == "sequential" else steps
