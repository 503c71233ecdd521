"""Time and memory of gradient-based agents' adaptation and outer step, against a plain pass.

20 tasks × 10 episodes × 500 steps, before and after the inner step; 39 numbers observed, 4 acted; 64 × 64.
The plain pass is forward and backward of ``-log pi(a|s) * A`` with one set of parameters for all tasks.
The parts of MAML-TRPO's step are timed too.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.program import run
from benchmarks.speed.agent_costs import MAML, Work, costs_table, measure_apart, memory_table, peak_memory
from benchmarks.speed.synthetic import advantages_of, plain_pass, plain_policy, synthetic_rollouts, timed
from benchmarks.workloads import AGENT, in_turn, machine, ratios, spread, wide_console
from metarl.agents.gradient_based import GradientBasedConfig, frozen
from metarl.agents.maml_trpo import MAMLTRPO, meta_objective
from metarl.errors import require
from metarl.functional.params import detach, gradient, requires_grad, stack
from metarl.learning.adaptation import Policy, adapt
from metarl.learning.advantages import Batch, make_batch
from metarl.plugins import registry
from metarl.plugins.entry_points import AGENTS, names
from metarl.types import Params, Rollout

BAR = 15.0
FEW_CG_ITERS = 2
GROWING = (MAML, "meta-lstm", "reptile")


def main(
    *,
    tasks: int = 20,
    episodes: int = 10,
    horizon: int = 500,
    repeats: int = 7,
    agents: tuple[str, ...] = (),
    inner_steps: tuple[int, ...] = (1, 2, 4),
) -> None:
    """Time adaptation plus outer step.

    Args:
        tasks: tasks of the meta-batch.
        episodes: episodes of each task, before the inner step and after it.
        horizon: steps of an episode.
        repeats: measurements of each part, after one for warming up.
        agents: agents to measure; all that adapt by gradient by default.
        inner_steps: numbers of inner steps for which memory is measured, of three agents; none leaves it.
    """
    require(repeats >= 1, "repeats must be 1 or more", repeats)
    console = wide_console()
    console.print(machine())
    shape = (tasks, episodes, horizon)
    in_parts(console, shape, repeats)
    chosen = agents or gradient_based()
    console.print(costs_table({name: measure_apart(Work(name, shape), repeats) for name in chosen}))
    growing = [name for name in GROWING if name in chosen] if inner_steps else []
    grown = {
        name: {steps: measure_apart(Work(name, shape, steps), 0) for steps in inner_steps} for name in growing
    }
    if grown:
        console.print(memory_table(grown))


def gradient_based() -> tuple[str, ...]:
    """Return the agents that adapt by gradient; the others learn from other data than a meta-batch."""
    return tuple(name for name in names(AGENTS) if issubclass(registry.agent(name), GradientBasedConfig))


def in_parts(console: Console, shape: tuple[int, int, int], repeats: int) -> None:
    """Time MAML-TRPO's step and its parts."""
    agent = build_agent()
    rollouts = synthetic_rollouts(agent, shape)
    memory = peak_memory()
    actions = parts(agent, rollouts)
    in_turn(actions, 1)
    theta, metrics = agent.state(), agent.update(rollouts)
    agent.load_state(theta)
    seconds = in_turn({name: timed(action) for name, action in actions.items()}, repeats)
    console.print(table_of(seconds, sum(rollout.num_steps for rollout in rollouts)))
    whole = [sum(pair) for pair in zip(seconds["adapt"], seconds["update"], strict=True)]
    both, one = (statistics.median(ratios(whole, seconds[name])) for name in ("plain, both", "plain, one"))
    console.print(
        f"adapt + update = {both:.1f} plain passes over both rollouts (bar: at most {BAR:.0f}), "
        f"{one:.1f} over one of them"
    )
    console.print(f"trials of the line search: {metrics['line_search_trials']:.0f}, KL {metrics['kl']:.4f}")
    console.print(f"peak memory {peak_memory():.0f} MiB, of it {memory:.0f} MiB before the first update")


def build_agent() -> MAMLTRPO:
    """Return an agent for Meta-World's sizes."""
    policy = plain_policy()
    return MAMLTRPO(AGENT, policy, policy.initial_params(torch.Generator().manual_seed(0)))


def parts(agent: MAMLTRPO, rollouts: Sequence[Rollout]) -> dict[str, Callable[[], object]]:
    """Return the timed functions: both public calls, their pieces apart, and the plain passes."""
    actor, theta = agent.initial_actor(len(rollouts[0].mask)), agent.state()
    inner, outer = batches = [make_batch(rollout, advantages_of(rollout)) for rollout in rollouts]
    impatient = MAMLTRPO(dataclasses.replace(AGENT, cg_iters=FEW_CG_ITERS), agent.policy, agent.params)

    def update(learner: MAMLTRPO) -> dict[str, float]:
        learner.load_state(theta)
        return learner.update(rollouts)

    return {
        "adapt": lambda: agent.adapt(actor, rollouts[0]),
        "update": lambda: update(agent),
        "update, few CG": lambda: update(impatient),
        "advantages": lambda: [advantages_of(rollout) for rollout in rollouts],
        "gradient": lambda: meta_gradient(agent.policy, theta.tensors, inner, outer),
        "trial": lambda: line_search_trial(agent.policy, theta.tensors, inner, outer),
        "plain, both": lambda: plain_pass(agent.policy, theta.tensors, batches),
        "plain, one": lambda: plain_pass(agent.policy, theta.tensors, [outer]),
    }


def meta_gradient(policy: Policy, theta: Params, inner: Batch, outer: Batch) -> Params:
    """Differentiate the meta-objective through the adaptation."""
    leaves = requires_grad(theta)
    adapted = adapt(
        policy, stack(leaves, len(outer.weights)), [inner], inner_lr=AGENT.inner_lr, first_order=False
    )
    gaussian = policy(adapted, outer.observations)
    old = frozen(gaussian)
    return gradient(meta_objective(gaussian, old, outer).loss, leaves)


def line_search_trial(policy: Policy, theta: Params, inner: Batch, outer: Batch) -> torch.Tensor:
    """Adapt a candidate and evaluate it, without a graph of the outer step."""
    leaves = requires_grad(stack(theta, len(outer.weights)))
    adapted = detach(adapt(policy, leaves, [inner], inner_lr=AGENT.inner_lr, first_order=True))
    with torch.no_grad():
        gaussian = policy(adapted, outer.observations)
        return meta_objective(gaussian, gaussian, outer).loss


def table_of(seconds: dict[str, list[float]], steps: int) -> Table:
    """Return milliseconds and multiples of the plain pass over both rollouts, by part."""
    plain = seconds["plain, both"]
    fisher = [
        (AGENT.cg_iters + 1) * (many - few) / (AGENT.cg_iters - FEW_CG_ITERS)
        for many, few in zip(seconds["update"], seconds["update, few CG"], strict=True)
    ]
    known = (seconds["advantages"], seconds["gradient"], fisher, seconds["trial"])
    rest = [whole - sum(pieces) for whole, *pieces in zip(seconds["update"], *known, strict=True)]
    rows = {
        "adapt": seconds["adapt"],
        "update": seconds["update"],
        "  baseline and advantages, both rollouts": seconds["advantages"],
        "  meta-gradient": seconds["gradient"],
        f"  {AGENT.cg_iters + 1} Fisher products": fisher,
        "  one trial of the line search": seconds["trial"],
        "  rest: batches, graph of the products, more trials": rest,
        "plain pass over both rollouts": plain,
        "plain pass over one": seconds["plain, one"],
    }
    table = Table(
        title=f"adaptation and outer step on {steps:,} steps, median [least, greatest] of {len(plain)}",
        caption="the indented parts are timed apart from the update, by equal calls; "
        f"the products by updates with {FEW_CG_ITERS} and {AGENT.cg_iters} CG steps",
    )
    table.add_column("")
    table.add_column("ms", justify="right")
    table.add_column("plain passes over both rollouts", justify="right")
    for name, values in rows.items():
        milliseconds = [1000 * value for value in values]
        table.add_row(name, spread(milliseconds, ".0f"), spread(ratios(values, plain), ".2f"))
    return table


if __name__ == "__main__":
    run(main)
