"""Claims about acting and adapting: shapes, likelihoods, seeds, and what adapting may change."""

from __future__ import annotations

import math

import torch

from metarl.meta_learner import Inputs, MetaLearner
from metarl.plugins.agent_probe import (
    EPISODES,
    TASKS,
    AgentProbe,
    BrokenPromise,
    OpenQuestion,
    apart,
    expect,
    is_close,
    likely,
    same_state,
    take_tasks,
    watched_generators,
)

DRAWS = 16384  # actions that likelihoods are compared with


def actions_have_the_shapes_of_the_protocol(probe: AgentProbe) -> None:
    """Actions are [M, K, A] and their log densities [M, K], of finite numbers and without a graph."""
    actor = probe.build().initial_actor(TASKS, probe.rng())
    probe.act(actor, torch.Generator().manual_seed(0), probe.random_inputs(0))


def acting_draws_from_the_generator_alone(probe: AgentProbe) -> None:
    """Actions are the same for the same generator, others for another, and no global one is drawn from."""
    actor = probe.build().initial_actor(TASKS, probe.rng())
    with watched_generators() as drawn:
        one, again, other = (
            probe.act(actor, torch.Generator().manual_seed(seed)).actions for seed in (1, 1, 2)
        )
    expect(not drawn, f"acting drew from the global generator of {' and '.join(drawn)}")
    expect(torch.equal(one, again), f"the same generator gave other actions, {apart(one, again)}")
    expect(not torch.equal(one, other), "another generator gave the same actions, so nothing is explored")


def acting_without_a_generator_has_no_noise(probe: AgentProbe) -> None:
    """Without a generator, the same inputs give the same actions each time."""
    actor = probe.build().initial_actor(TASKS, probe.rng())
    one, again = (probe.likeliest(actor) for _ in range(2))
    expect(torch.equal(one, again), f"they differ, {apart(one, again)}")


def acting_never_changes_the_agent(probe: AgentProbe) -> None:
    """Acting leaves the agent's state as it was."""
    agent = probe.build()
    before = agent.state()
    probe.act(agent.initial_actor(TASKS, probe.rng()), torch.Generator().manual_seed(0))
    seen = "it is another one afterwards; only update may learn, running scales too"
    expect(same_state(agent.state(), before), seen)


def likelihoods_are_those_of_the_actions(probe: AgentProbe) -> None:
    """The log densities are those of the very actions that they come with.

    For any density q, the mean of q(a) / p(a) over actions drawn from p is 1. Of several choices, this holds
    for each one, with q(a) = 1 for it and 0 for the others.
    """
    actor = probe.build().initial_actor(1, probe.rng())
    state = Inputs(*(part[:, :1].expand(1, DRAWS, *part.shape[2:]) for part in probe.random_inputs(3, 1)))
    action = probe.act(actor, torch.Generator().manual_seed(5), state)
    drawn, density = action.actions[0].double(), action.log_probs[0].double().exp()
    if bool((drawn == drawn[:1]).all()):
        raise OpenQuestion("all actions that were drawn in one state are the same")
    one_hot = bool(((drawn == 0) | (drawn == 1)).all() and (drawn.sum(dim=-1) == 1).all())
    # of each choice that was made: 1 / p(a) where it was made and 0 elsewhere
    chosen = [choice / density for choice in drawn.T if choice.any()]
    for ratios in chosen if one_hot else [_density_ratios(drawn, density)]:
        mean, error = float(ratios.mean()), float(ratios.std()) / math.sqrt(DRAWS)
        seen = f"their densities add up to {1 / mean:.3g} instead of 1, in one state and {DRAWS} draws"
        expect(abs(mean - 1) <= 0.02 + 5 * error, seen)


def agent_is_a_function_of_its_seed(probe: AgentProbe) -> None:
    """The same seed builds the same agent, and another seed another one."""
    with watched_generators() as drawn:
        one, again, other = (
            probe.likeliest(probe.build(seed).initial_actor(TASKS, probe.rng())) for seed in (1, 1, 2)
        )
    expect(not drawn, f"building drew from the global generator of {' and '.join(drawn)}")
    expect(torch.equal(one, again), f"two agents of one seed act differently, {apart(one, again)}")
    expect(not torch.equal(one, other), "agents of different seeds act alike")


def experience_changes_the_policy(probe: AgentProbe) -> None:
    """Experience of a task changes the policy in it: by adapting, or by memory."""
    # a head may begin constant, with weights of zero: then the first update makes experience count
    if _experience_counts(probe, probe.build()) or _experience_counts(probe, agent := probe.trained()):
        return
    parallel = "the adapted policy acts as it did before"
    sequential = "neither adapting nor the memory of an episode changes what is done"
    raise BrokenPromise(sequential if agent.trial == "sequential" else parallel)


def _experience_counts(probe: AgentProbe, agent: MetaLearner) -> bool:
    """Return whether an agent acts otherwise after a rollout, adapted or remembering."""
    actor, rollout = agent.initial_actor(TASKS, probe.rng()), probe.rollouts[0]
    if not torch.equal(probe.adapted(agent, rollout), probe.likeliest(actor)):
        return True
    inputs = probe.random_inputs(0)
    blank, _ = actor.act(inputs, actor.initial_memory(EPISODES), None)
    remembering, _ = actor.act(inputs, rollout.final_memory, None)
    return agent.trial == "sequential" and not torch.equal(likely(blank), likely(remembering))


def adapting_never_changes_the_agent(probe: AgentProbe) -> None:
    """Adapting leaves the agent's state, and what its new actors do, as they were."""
    agent = probe.build()
    before, unadapted = agent.state(), probe.likeliest(agent.initial_actor(TASKS, probe.rng()))
    probe.adapted(agent, probe.rollouts[0])
    expect(same_state(agent.state(), before), "its state is another one afterwards")
    after = probe.likeliest(agent.initial_actor(TASKS, probe.rng()))
    expect(torch.equal(after, unadapted), f"new actors act differently, {apart(after, unadapted)}")


def adapting_leaves_the_actor_it_started_from(probe: AgentProbe) -> None:
    """Adapting returns another policy and does not change the one that it is given."""
    agent = probe.build()
    actor = agent.initial_actor(TASKS, probe.rng())
    before = probe.likeliest(actor)
    agent.adapt(actor, probe.rollouts[0], probe.rng())
    after = probe.likeliest(actor)
    expect(torch.equal(after, before), f"that one acts differently afterwards, {apart(after, before)}")


def adapting_leaves_the_rollout_alone(probe: AgentProbe) -> None:
    """Adapting does not change the rollout that it is given, which the update gets too."""
    agent, rollout = probe.build(), probe.rollouts[0]
    before = rollout.map(torch.Tensor.clone).tensors()
    agent.adapt(agent.initial_actor(TASKS, probe.rng()), rollout, probe.rng())
    for name, value in rollout.tensors().items():
        expect(torch.equal(value, before[name]), f"{name} was changed in place")


def adapting_draws_from_the_generator_alone(probe: AgentProbe) -> None:
    """Adapting gives the same policies for the same generator, and draws from no global one."""
    agent, rollout = probe.build(), probe.rollouts[0]
    with watched_generators() as drawn:
        one, again = (probe.adapted(agent, rollout) for _ in range(2))
    expect(not drawn, f"adapting drew from the global generator of {' and '.join(drawn)}")
    expect(torch.equal(one, again), f"the same experience gave other policies, {apart(one, again)}")


def permuting_tasks_permutes_adapted_policies(probe: AgentProbe) -> None:
    """Tasks in another order give the same policies in that order."""
    agent, order = _adapts_without_noise(probe), [2, 0, 1]
    rollout = probe.rollouts[0]
    permuted = probe.adapted(agent, take_tasks(rollout, order))
    expected = probe.adapted(agent, rollout)[order]
    expect(is_close(permuted, expected), f"they differ, {apart(permuted, expected)}")


def a_task_adapts_alone_as_among_others(probe: AgentProbe) -> None:
    """A task's policy depends on its episodes alone."""
    agent, rollout = _adapts_without_noise(probe), probe.rollouts[0]
    together = probe.adapted(agent, rollout)
    for task in range(TASKS):
        alone = probe.adapted(agent, take_tasks(rollout, [task]))[0]
        close = is_close(alone, together[task])
        expect(close, f"task {task} alone adapts differently, {apart(alone, together[task])}")


def _density_ratios(drawn: torch.Tensor, density: torch.Tensor) -> torch.Tensor:
    """Return q(a) / p(a), ``[N]``, for a narrower Gaussian q that is cut off where no action was drawn."""
    mean, std = drawn.mean(dim=0), 0.7 * drawn.std(dim=0)
    gaussian = torch.distributions.Normal(mean, std.clamp(min=1e-12))
    inside = gaussian.cdf(drawn.amax(dim=0)) - gaussian.cdf(drawn.amin(dim=0))
    log_q = gaussian.log_prob(drawn) - inside.log()
    ratios: torch.Tensor = log_q.sum(dim=-1).exp() / density
    return ratios


def _adapts_without_noise(probe: AgentProbe) -> MetaLearner:
    agent, rollout = probe.build(), probe.rollouts[0]
    if not torch.equal(*(probe.adapted(agent, rollout, seed) for seed in (0, 1))):
        raise OpenQuestion("adapting draws random numbers, which other tasks change")
    return agent
