"""The guard: what it keeps, what it refuses and rolls back, by hand and for harmful steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from scipy.stats._distn_infrastructure import rv_frozen

from metarl import deploy
from metarl.agents.maml_trpo import MAMLTRPOConfig
from metarl.agents.policy_reuse import PolicyReuseConfig
from metarl.config import SamplingConfig
from metarl.deploy.adaptation import Adaptation, Plan
from metarl.deploy.episodes import End, Episode
from metarl.deploy.policy import Policy, divergence
from metarl.deploy.settings import DeploySettings, GuardSettings
from metarl.envs.toy.point import PointConfig
from metarl.functional.distributions import Gaussian
from metarl.learning.adapted_policy import AdaptedPolicy
from metarl.learning.reusing_actor import EXPERT, ReusingActor
from metarl.meta_learner import inputs_at_start
from metarl.networks.policies import GaussianMLPPolicy
from metarl.networks.posterior_actor import LATENT
from metarl.training.adapted_agent import read_path
from support.robots import FAMILIES, HORIZON, Table, untrained_run
from support.tiny import StrideActor, StrideAgent, random_rollout

EXPERTS = PolicyReuseConfig(experts_per_family=4, memory_size=4, embedding_size=4)
PLAN = Plan(steps=3, episodes=2, horizon=1, action_size=1, deterministic=True, seed=0, guard=GuardSettings())


def episode(reward: float, end: End = End.HORIZON) -> Episode:
    """Return an episode of one step."""
    one = np.ones(1, np.float32)
    return Episode(one[None], one[None], 0 * one, reward * one, (None,), end, one)


def judged(rewards: Sequence[float | Episode], plan: Plan = PLAN) -> Adaptation:
    """Return what episodes make of an agent; its stride becomes half of the mean reward."""
    adaptation = Adaptation(StrideAgent(), plan)  # type: ignore[arg-type]  # rng has a default there
    for number, reward in enumerate(rewards):
        taken = reward if isinstance(reward, Episode) else episode(reward)
        adaptation.take(number, taken)
    return adaptation


def stride(adaptation: Adaptation) -> float:
    actor = adaptation.policy.actor
    assert isinstance(actor, StrideActor)
    return float(actor.strides)


def test_a_policy_adapts_from_as_many_episodes_as_the_plan_says() -> None:
    assert stride(judged([10.0])) == 1.0
    assert stride(judged([10.0, 14.0])) == 6.0
    assert judged([10.0, 14.0]).on_trial


def test_label_counts_the_adaptations_of_the_policy_that_acts() -> None:
    assert judged([10.0]).label == "unadapted"
    assert judged([10.0, 14.0]).label == "after 1 adaptation"  # on trial
    assert judged([10.0, 14.0, 20.0]).label == "after 1 adaptation"  # kept
    assert judged([10.0, 14.0, 20.0, 20.0]).label == "after 2 adaptations"
    assert judged([10.0, 14.0, 0.0]).label == "unadapted"  # rolled back


def outcomes(rewards: Sequence[float | Episode], **guard: int) -> list[str]:
    plan = replace(PLAN, guard=replace(PLAN.guard, **guard))  # type: ignore[arg-type]  # by name
    return [decision.outcome for decision in judged(rewards, plan).decisions]


def test_bound_is_two_deviations_of_a_mean_or_a_tenth_below_the_mean_before() -> None:
    # mean 12, deviation sqrt(8): 12 - 2 sqrt(8) = 6.34 for one episode, 12 - 2 sqrt(8 / 2) = 8 for two
    assert outcomes([10.0, 14.0, 6.3]) == ["rolled back"]
    assert outcomes([10.0, 14.0, 6.4]) == []
    assert outcomes([10.0, 14.0, 6.4, 9.5]) == ["rolled back"]
    assert outcomes([10.0, 14.0, 6.4, 9.7]) == ["kept"]
    # mean -100, deviation 0: -100 - 10
    assert outcomes([-100.0, -100.0, -109.9, -109.9]) == ["kept"]
    assert outcomes([-100.0, -100.0, -110.1]) == ["rolled back"]


def test_as_many_episodes_judge_as_the_setting_says_and_not_more_than_one_step_learns_from() -> None:
    assert outcomes([10.0, 14.0, 6.4], episodes=1) == ["kept"]
    assert outcomes([10.0, 14.0, 12.0, 12.0], episodes=9) == ["kept"]


def test_rolled_back_is_the_policy_before_and_its_next_episodes_are_learned_from_anew() -> None:
    adaptation = judged([10.0, 14.0, 0.0])
    assert stride(adaptation) == 1.0
    assert not adaptation.path
    adaptation.take(3, episode(20.0))
    assert stride(adaptation) == 1.0
    adaptation.take(4, episode(24.0))
    assert stride(adaptation) == 11.0  # of 20 and 24 alone
    for number in (5, 6):
        adaptation.take(number, episode(25.0))
    assert [decision.outcome for decision in adaptation.decisions] == ["rolled back", "kept"]
    # the unadapted policy was measured in four episodes
    assert (adaptation.decisions[1].before, adaptation.decisions[1].episodes_before) == (17.0, 4)


def test_episodes_on_trial_of_a_kept_policy_count_for_the_next_adaptation() -> None:
    adaptation = judged([10.0, 14.0, 16.0, 20.0])
    assert stride(adaptation) == 9.0
    assert len(adaptation.path) == 2
    assert len(adaptation.kept_path) == 1


@pytest.mark.parametrize("safe", [[], [100.0]])
def test_an_unsafe_episode_on_trial_is_rolled_back_however_high_its_return(safe: list[float]) -> None:
    adaptation = judged([10.0, 14.0, *safe, episode(100.0, End.WORKSPACE)])
    assert adaptation.decisions[0].outcome == "rolled back"
    assert "the workspace was left" in adaptation.decisions[0].sentence()


def test_without_a_guard_all_is_kept_and_how_much_worse_it_became_is_told() -> None:
    adaptation = judged([10.0, 14.0, 2.0], replace(PLAN, guard=GuardSettings(enabled=False)))
    assert adaptation.decisions[0].outcome == "kept"
    assert (
        "return 2.00 in 1 episode, 10.00 worse than 12.00 in 2 episodes before"
        in adaptation.decisions[0].sentence()
    )


def test_no_more_adaptations_are_tried_than_the_plan_has() -> None:
    adaptation = judged([10.0] * 20)
    assert len(adaptation.decisions) == 3
    # two episodes for each of three adaptations; the others are those of the last policy
    assert len(adaptation.returns[-1]) == 20 - 6


def integrated_divergence(p: rv_frozen, q: rv_frozen) -> float:
    """Return KL(p || q) by quadrature."""
    return float(quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), p.ppf(1e-9), p.ppf(1 - 1e-9))[0])


@pytest.mark.parametrize("family", ["pearl", "policy-reuse"])
def test_a_steps_episodes_begin_as_differently_as_slots_do(family: str) -> None:
    suite, config = PointConfig(horizon=3).build(), {**FAMILIES, "policy-reuse": EXPERTS}[family]
    agent = config.build(suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig())
    adaptation = Adaptation(agent, replace(PLAN, steps=1, episodes=4, horizon=3, action_size=2))
    slots = adaptation.policy.actor
    observed = inputs_at_start(torch.zeros(1, 4, 2), 2)
    expected = slots.act(observed, slots.initial_memory(4), None)[0].extras.get(EXPERT)
    latents = slots.initial_memory(4).get(LATENT)
    for number in range(4):
        acting = adaptation.acting(number)
        if latents is not None:
            assert torch.equal(acting.memory[LATENT][0, 0], latents[0, number])
        seen = np.zeros((1, 2), np.float32)
        extras = acting.act(seen[0]).extras
        if expected is not None:
            assert extras[EXPERT].item() == expected[0, number]
        one = np.full(1, number, np.float32)
        adaptation.take(number, Episode(seen, seen, 0 * one, one, (None,), End.HORIZON, seen[0]))
    # all experts were tried, each by its slot, and the one of the last episode earned most
    actor = adaptation.policy.actor
    if expected is not None:
        assert isinstance(actor, ReusingActor)
        assert actor.earned.episodes.tolist() == [[1, 1, 1, 1]]
        assert actor.kept.tolist() == [expected[0, 3]]


def test_an_expert_is_kept_however_far_the_others_are_from_it() -> None:
    suite, config = PointConfig(horizon=3).build(), replace(EXPERTS, initial_std=0.1)
    agent = config.build(suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig())
    for number, expert in enumerate(agent.experts):
        expert.params["policy.bias"] = torch.full((2,), 10.0 * number)
    adaptation = Adaptation(agent, replace(PLAN, steps=1, episodes=4, horizon=3, action_size=2))
    seen = np.zeros((1, 2), np.float32)
    for number in range(4):
        one = np.full(1, number, np.float32)
        adaptation.take(number, Episode(seen, seen, 0 * one, one, (None,), End.HORIZON, seen[0]))
    assert adaptation.on_trial
    assert not adaptation.decisions


def test_divergence_is_that_of_numerical_integration() -> None:
    suite = PointConfig().build()
    agent = FAMILIES["maml-trpo"].build(suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig())
    old = agent.initial_actor(1, np.random.default_rng(0))
    assert isinstance(old, AdaptedPolicy)
    new = old.with_params({name: value + 0.3 for name, value in old.params.items()})
    sizes = GaussianMLPPolicy(observation_size=2, action_size=2, hidden_sizes=(8,))
    rollout = random_rollout(0, tasks=1, episodes=2, steps=3, policy=sizes, dtype=torch.float32)
    found = divergence(Policy(old), Policy(new), rollout)
    expected = []
    for state in rollout.observations[rollout.mask]:
        total = 0.0
        one, other = (actor.policy(actor.params, state.view(1, 1, -1)) for actor in (old, new))
        assert isinstance(one, Gaussian)
        assert isinstance(other, Gaussian)
        for axis in range(2):
            p = norm(float(one.mean[0, 0, axis]), float(one.log_std.flatten()[axis].exp()))
            q = norm(float(other.mean[0, 0, axis]), float(other.log_std.flatten()[axis].exp()))
            total += integrated_divergence(p, q)
        expected.append(total)
    assert found == pytest.approx(np.mean(expected), rel=1e-4)


def test_an_agent_that_does_not_show_its_distributions_has_no_divergence() -> None:
    actor = StrideActor(torch.ones(1), 0.0)
    assert divergence(Policy(actor), Policy(actor), random_rollout(0, tasks=1)) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_policy_has_no_divergence_from_itself_and_some_from_another_memory(
    family: str, tmp_path: Path
) -> None:
    settings = DeploySettings(adaptation_steps=1, horizon=HORIZON, guard=GuardSettings(enabled=False))
    run = untrained_run(tmp_path / "run", FAMILIES[family])
    outcome = deploy.adapt(run, Table(), tmp_path / "session", settings)
    start = Policy(outcome.agent.initial_actor(1, np.random.default_rng(0)))
    (experience,) = outcome.adaptation.path
    assert divergence(start, start, experience) == pytest.approx(0.0, abs=1e-6)
    (decision,) = outcome.decisions
    assert decision.kl is not None
    assert decision.kl > 0


def test_no_policy_below_the_bound_stays_and_what_is_undone_leaves_no_trace(tmp_path: Path) -> None:
    """Inner steps a hundred times the default, from policies that know nothing: few are lucky."""
    reckless = MAMLTRPOConfig(hidden_sizes=(8,), inner_lr=100 * MAMLTRPOConfig().inner_lr)
    rng, undone = np.random.default_rng(0), 0
    for seed in range(20):
        angle = rng.uniform(0, 2 * np.pi)
        env = Table(mark=(0.4 * np.cos(angle), 0.4 * np.sin(angle)))
        settings = DeploySettings(
            adaptation_steps=1, adaptation_episodes=3, episodes=6, horizon=20, seed=seed
        )
        run = untrained_run(tmp_path / f"run{seed}", reckless, seed)
        outcome = deploy.adapt(run, env, tmp_path / f"session{seed}", settings)
        (decision,) = outcome.decisions
        if decision.outcome == "kept":
            assert decision.after is not None
            assert decision.after >= decision.bound
        else:
            assert not outcome.adapted.path
            assert not read_path(outcome.folder)
            undone += 1
        assert (np.abs(env.sent) <= 0.1).all()
        told = json.loads((outcome.folder / "decisions.json").read_text())["decisions"]
        assert [one["outcome"] for one in told] == [decision.outcome]
    assert undone >= 12
