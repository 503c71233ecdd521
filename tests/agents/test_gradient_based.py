"""The agents with a gradient inner loop: their meta-gradients in float64, recomputed by a loop over tasks.

What an agent's meta-gradient is shows in its update: with plain descent of step size one, and a single step,
it is what theta lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from metarl.agents.cavia import CAVIAConfig
from metarl.agents.dice_maml import DiCEMAML, DiCEMAMLConfig
from metarl.agents.e_maml import EMAML, EMAMLConfig
from metarl.agents.gradient_based import GradientBasedAgent, GradientBasedConfig
from metarl.agents.lvc import LVC, LVCConfig
from metarl.agents.maml_ppo import MAMLPPO, MAMLPPOConfig
from metarl.agents.maml_vpg import MAMLVPG, MAMLVPGConfig
from metarl.agents.promp import ProMP, ProMPConfig
from metarl.config import SamplingConfig
from metarl.envs.toy.point import PointTasks
from metarl.errors import MetarlError
from metarl.functional.params import detach, flatten, gradient, requires_grad, unflatten
from metarl.learning.advantages import estimate_advantages
from metarl.meta_learner import inputs_at_start
from metarl.networks.context_policies import CONTEXT
from metarl.rollouts.collect import collect
from metarl.types import Params, Rollout
from support import tiny

LR, CREDIT, INNER_KL = 0.4, 0.3, 0.7
CPU = torch.device("cpu")
Agent: TypeAlias = GradientBasedAgent[GradientBasedConfig]

ONCE = {"inner_lr": LR, "outer_optimizer": "sgd", "outer_lr": 1.0}
AGENTS: dict[str, Callable[..., Agent]] = {
    "maml-vpg": lambda **more: MAMLVPG(MAMLVPGConfig(**ONCE, **more), tiny.POLICY, tiny.tiny_params()),
    "maml-ppo": lambda **more: MAMLPPO(
        MAMLPPOConfig(**ONCE, outer_steps=1, **more), tiny.POLICY, tiny.tiny_params()
    ),
    "e-maml": lambda **more: EMAML(
        EMAMLConfig(**ONCE, credit_weight=CREDIT, **more), tiny.POLICY, tiny.tiny_params()
    ),
    "dice-maml": lambda **more: DiCEMAML(DiCEMAMLConfig(**ONCE, **more), tiny.POLICY, tiny.tiny_params()),
    "lvc": lambda **more: LVC(LVCConfig(**ONCE, **more), tiny.POLICY, tiny.tiny_params()),
    "promp": lambda **more: ProMP(
        ProMPConfig(**ONCE, outer_steps=1, inner_kl_weight=INNER_KL, **more), tiny.POLICY, tiny.tiny_params()
    ),
}
NAMES = pytest.mark.parametrize("name", list(AGENTS))


def rollouts_of(steps: int) -> list[Rollout]:
    return [tiny.random_rollout(seed, episodes=3, steps=4) for seed in range(steps + 1)]


def meta_gradient(agent: Agent, rollouts: Sequence[Rollout]) -> torch.Tensor:
    agent.update(rollouts)
    return flatten(tiny.tiny_params()) - flatten(agent.params)


# The reference: one task after another, live steps only, torch's own distributions and function transforms,
# and, in place of what is held fixed, the policies at other meta-parameters.

Episode: TypeAlias = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def reference_policy(params: Params, observations: torch.Tensor) -> Independent:
    hidden = torch.tanh(observations @ params["layer_0.weight"] + params["layer_0.bias"])
    hidden = torch.tanh(hidden @ params["layer_1.weight"] + params["layer_1.bias"])
    mean = hidden @ params["layer_2.weight"] + params["layer_2.bias"]
    return Independent(Normal(mean, params["log_std"].exp().expand_as(mean)), 1)


def episodes_of(rollout: Rollout, task: int) -> list[Episode]:
    """Return observations, actions and advantages of each episode's live steps."""
    advantages = estimate_advantages(rollout, discount=0.99, gae_lambda=1.0, norm="std")
    parts = []
    for index, length in enumerate(rollout.mask[task].sum(dim=-1).tolist()):
        seen, taken = rollout.observations[task, index, :length], rollout.actions[task, index, :length]
        parts.append((seen, taken, advantages[task, index, :length]))
    return parts


def joined(episodes: Sequence[Episode]) -> Episode:
    observations, actions, advantages = zip(*episodes, strict=True)
    return torch.cat(observations), torch.cat(actions), torch.cat(advantages)


def reference_inner_loss(name: str, params: Params, old: Params, episodes: Sequence[Episode]) -> torch.Tensor:
    observations, actions, advantages = joined(episodes)
    log_probs = reference_policy(params, observations).log_prob(actions)
    if name in ("maml-vpg", "maml-ppo", "e-maml"):
        return -(advantages * log_probs).mean()
    ratios = (log_probs - reference_policy(old, observations).log_prob(actions)).exp()
    if name in ("lvc", "promp"):
        return -(advantages * ratios).mean()
    terms = []
    for part in ratios.split([len(worth) for _, _, worth in episodes]):
        for step in range(len(part)):  # the magic box with the step's ratio, minus the one without it
            terms.append(part[: step + 1].prod() - part[:step].prod())
    return -(advantages * torch.stack(terms)).mean()


def reference_stages(
    name: str, theta: Params, old: Params, inner: Sequence[Rollout], task: int, *, first_order: bool
) -> list[tuple[Params, Params]]:
    """Return the parameters at theta and at the old theta before every inner step and after the last."""
    stages = [(theta, old)]
    for rollout in inner:
        episodes = episodes_of(rollout, task)
        now, then = stages[-1]
        moved = []
        for params in (now, then):
            anchor = detach(then)
            slopes = torch.func.grad(
                lambda some, fixed=anchor, those=episodes: reference_inner_loss(name, some, fixed, those)
            )(params)
            slopes = detach(slopes) if first_order else slopes
            moved.append({key: value - LR * slopes[key] for key, value in params.items()})
        stages.append((moved[0], moved[1]))
    return stages


def reference_loss(
    name: str, theta: Params, old: Params, rollouts: Sequence[Rollout], *, first_order: bool = False
) -> torch.Tensor:
    """Return an agent's meta-loss at theta when the policies at the old theta collected the episodes."""
    returns = torch.stack(
        [torch.stack([rollouts[-1].rewards[task, k].sum() for k in range(3)]).mean() / 4 for task in range(3)]
    )
    credits = torch.stack([returns[m] - (returns.sum() - returns[m]) / 2 for m in range(3)])
    credits = credits / credits.std(correction=0)
    losses = []
    for task in range(3):
        stages = reference_stages(name, theta, old, rollouts[:-1], task, first_order=first_order)
        observations, actions, advantages = joined(episodes_of(rollouts[-1], task))
        now, then = (reference_policy(params, observations).log_prob(actions) for params in stages[-1])
        if name in ("maml-ppo", "promp"):
            ratio, clip = (now - then).exp(), {"maml-ppo": 0.2, "promp": 0.3}[name]
            gains = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
            loss = -gains.mean()
        else:
            loss = -(advantages * now).mean()
        for (before, anchor), rollout in zip(stages, rollouts[:-1], strict=False):
            seen, taken, _ = joined(episodes_of(rollout, task))
            policy = reference_policy(before, seen)
            if name == "promp":
                loss = loss + INNER_KL * kl_divergence(reference_policy(anchor, seen), policy).mean()
            if name == "e-maml":
                loss = loss - CREDIT * credits[task] * policy.log_prob(taken).sum()
        losses.append(loss)
    return torch.stack(losses).mean()


@NAMES
@pytest.mark.parametrize(("steps", "first_order"), [(1, False), (2, False), (2, True)])
def test_batched_meta_gradient_is_that_of_a_loop_over_tasks(name: str, steps: int, first_order: bool) -> None:
    rollouts, theta = rollouts_of(steps), requires_grad(tiny.tiny_params())
    loss = reference_loss(name, theta, tiny.tiny_params(), rollouts, first_order=first_order)
    expected = flatten(gradient(loss, theta))
    agent = AGENTS[name](adaptation_steps=steps, first_order=first_order)
    found = meta_gradient(agent, rollouts)
    assert float((found - expected).norm() / expected.norm()) < 1e-10


@NAMES
def test_meta_gradient_is_that_of_central_differences_of_the_surrogate(name: str) -> None:
    rollouts, theta = rollouts_of(1), tiny.tiny_params()
    found, point = meta_gradient(AGENTS[name](), rollouts), flatten(theta)
    generator, h = torch.Generator().manual_seed(0), 1e-3

    def loss(vector: torch.Tensor) -> float:
        return float(reference_loss(name, unflatten(vector, theta), theta, rollouts))

    for _ in range(5):
        way = torch.randn(point.shape, generator=generator, dtype=torch.float64)
        near, far = (loss(point + n * h * way) - loss(point - n * h * way) for n in (1, 2))
        assert float(found @ way) == pytest.approx((8 * near - far) / (12 * h), rel=1e-6)


@pytest.mark.parametrize("name", ["maml-ppo", "promp"])
def test_ratios_are_one_at_the_first_outer_step(name: str) -> None:
    rollouts = rollouts_of(2)
    metrics = AGENTS[name](adaptation_steps=2).update(rollouts)
    expected = [-joined(episodes_of(rollouts[-1], task))[2].mean() for task in range(3)]
    assert metrics["surrogate_before"] == pytest.approx(float(torch.stack(expected).mean()), abs=1e-15)
    weightless = AGENTS[name](adaptation_steps=2)
    weightless.config = replace(weightless.config, outer_lr=1e-300)
    assert weightless.update(rollouts)["kl"] == 0.0


@NAMES
def test_inner_step_is_the_policy_gradient_whatever_the_surrogate(name: str) -> None:
    (rollout, _), agent, usual = rollouts_of(1), AGENTS[name](), AGENTS["maml-vpg"]()
    actor = agent.initial_actor(3)
    drawn = tiny.act(actor, rollout.observations.flatten(1, 2), torch.Generator().manual_seed(0))
    own = replace(
        rollout,
        actions=drawn.actions.unflatten(1, (3, 4)),
        log_probs=drawn.log_probs.unflatten(1, (3, 4)),
    )
    found, expected = agent.adapt(actor, own), usual.adapt(usual.initial_actor(3), own)
    for key, value in expected.params.items():
        torch.testing.assert_close(found.params[key], value, rtol=1e-10, atol=1e-12)


@NAMES
def test_update_keeps_no_graph(name: str) -> None:
    agent = AGENTS[name]()
    agent.update(rollouts_of(1))
    assert not any(value.requires_grad for value in agent.state().tensors.values())


@NAMES
def test_several_inner_steps_change_the_outcome(name: str) -> None:
    rollouts = rollouts_of(2)
    one = meta_gradient(AGENTS[name](), [rollouts[0], rollouts[-1]])
    two = meta_gradient(AGENTS[name](adaptation_steps=2), rollouts)
    assert float((one - two).norm() / one.norm()) > 0.01


@pytest.mark.parametrize("own", [1, 3])
def test_actor_of_other_tasks_is_refused_in_one_sentence(own: int) -> None:
    actor = AGENTS["maml-vpg"]().initial_actor(own, np.random.default_rng(0))
    suite = PointTasks(horizon=2)
    with pytest.raises(MetarlError, match=rf"Expected observations of the actor's {own} tasks?, got 2\."):
        collect(
            suite.make_vector_env(2),
            suite.tasks("train")[:2],
            actor,
            episodes=1,
            horizon=2,
            rng=np.random.default_rng(0),
        )


def test_memory_under_the_name_of_a_parameter_is_refused() -> None:
    class Forgetful(MAMLVPG):
        def initial_outer_state(self) -> Params:
            return {**super().initial_outer_state(), "log_std": torch.zeros(2)}

    with pytest.raises(MetarlError, match="different names, got log_std twice"):
        Forgetful(MAMLVPGConfig(), tiny.POLICY, tiny.tiny_params())


@NAMES
def test_observations_are_read_on_the_scale_of_all_earlier_meta_batches(name: str) -> None:
    scaled, plain = AGENTS[name](observation_scale=True), AGENTS[name]()
    first, second = (
        [tiny.random_rollout(seed + number, episodes=3, steps=4) for number in (0, 1)] for seed in (0, 10)
    )
    for agent in (scaled, plain):
        agent.update(first)
    assert flatten(scaled.params).equal(flatten(plain.params))  # nothing was seen before
    seen = np.concatenate([rollout.observations[rollout.mask].numpy() for rollout in first])
    mean, deviation = torch.tensor(seen.mean(axis=0)), torch.tensor(seen.std(axis=0))
    plain.policy = tiny.POLICY.scaled(lambda observations: (observations - mean) / deviation)
    for agent in (scaled, plain):
        agent.update(second)
    torch.testing.assert_close(flatten(scaled.params), flatten(plain.params), rtol=1e-4, atol=1e-6)


@NAMES
def test_an_agent_that_has_seen_nothing_is_loaded_as_it_was(name: str) -> None:
    agent, loaded = (AGENTS[name](observation_scale=True) for _ in range(2))
    unseen = agent.state()
    loaded.update([tiny.random_rollout(number, episodes=3, steps=4) for number in (0, 1)])
    loaded.load_state(unseen)
    # also beyond the ten deviations that a scale lets through
    inputs = inputs_at_start(torch.full((1, 1, 3), 50.0, dtype=torch.float64), 2)
    shown = (one.initial_actor(1).distribution(inputs, {}) for one in (agent, loaded))
    for own, other in zip(*shown, strict=True):
        assert torch.equal(own, other)


def test_context_is_on_no_scale() -> None:
    suite = PointTasks(horizon=4)
    agent = CAVIAConfig(hidden_sizes=(4,)).build(suite, seed=0, device=CPU, sampling=SamplingConfig())
    params = agent.policy.initial_params(torch.Generator().manual_seed(0))
    stacked = {name: value.unsqueeze(0) for name, value in params.items()} | {CONTEXT: torch.ones(1, 5)}
    observations = torch.ones(1, 1, 2)
    halved = agent.policy.scaled(lambda observations: observations / 2)
    expected = agent.policy(stacked, observations / 2)
    torch.testing.assert_close(halved(stacked, observations)[0], expected[0], rtol=0, atol=0)
