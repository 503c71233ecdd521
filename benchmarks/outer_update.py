"""Time of MAML-TRPO's adaptation and outer step, in parts, against a plain pass over the same data.

20 tasks × 10 episodes × 500 steps, before and after the inner step; 39 numbers observed, 4 acted; 64 × 64.
The plain pass is forward and backward of ``-log pi(a|s) * A`` with one set of parameters for all tasks.
Observations are random; the actions are the policy's own, so that likelihood ratios are what they are in a
run, and the rewards depend on the task and on the actions, so that there is something to learn.
"""

from __future__ import annotations

import dataclasses
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import torch
import tyro
from rich.table import Table

from metarl.adaptation import Batch, Policy, adapt, estimate_advantages, make_batch
from metarl.agents.gradient_based import AdaptedPolicy
from metarl.agents.maml_trpo import MAMLTRPO, meta_objective
from metarl.distributions import Gaussian, log_prob
from metarl.params import detach, gradient, requires_grad, stack
from metarl.policies import GaussianMLPPolicy
from metarl.types import Params, Rollout
from workloads import AGENT, in_turn, machine, ratios, spread, wide_console

OBSERVATION_SIZE, ACTION_SIZE = 39, 4
BAR = 15.0
FEW_CG_ITERS = 2


def main(*, tasks: int = 20, episodes: int = 10, horizon: int = 500, repeats: int = 7) -> None:
    """Time adaptation plus outer step.

    Args:
        tasks: tasks of the meta-batch.
        episodes: of each task, before the inner step and after it.
        horizon: steps of an episode.
        repeats: measurements of each part, after one for warming up.
    """
    console = wide_console()
    console.print(machine())
    agent = build_agent()
    rollouts = synthetic_rollouts(agent, (tasks, episodes, horizon))
    memory = peak_memory()
    actions = parts(agent, rollouts)
    in_turn(actions, 1)
    theta, metrics = agent.state(), agent.update(rollouts)
    agent.load_state(theta)
    seconds = in_turn({name: timed(action) for name, action in actions.items()}, repeats)
    console.print(table_of(seconds, 2 * tasks * episodes * horizon))
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
    policy = GaussianMLPPolicy(
        observation_size=OBSERVATION_SIZE,
        action_size=ACTION_SIZE,
        hidden_sizes=AGENT.hidden_sizes,
        activation=AGENT.activation,
    )
    return MAMLTRPO(AGENT, policy, policy.initial_params(torch.Generator().manual_seed(0)))


def synthetic_rollouts(agent: MAMLTRPO, shape: tuple[int, int, int]) -> list[Rollout]:
    """Return rollouts before and after the inner step; ``shape`` is (M, K, T)."""
    generator = torch.Generator().manual_seed(1)
    wanted = torch.randn(shape[0], 1, 1, ACTION_SIZE, generator=generator)
    before = agent.initial_actor(shape[0])
    first = synthetic_rollout(before, wanted, shape, generator)
    return [first, synthetic_rollout(agent.adapt(before, first), wanted, shape, generator)]


def synthetic_rollout(
    actor: AdaptedPolicy, wanted: torch.Tensor, shape: tuple[int, int, int], generator: torch.Generator
) -> Rollout:
    """Let an actor act on random observations; rewards fall with the distance to the wanted actions."""
    num_tasks, episodes, horizon = shape
    observations = 0.5 * torch.randn(*shape, OBSERVATION_SIZE, generator=generator)
    chosen = actor.act(observations.flatten(1, 2), generator)
    actions = chosen.actions.unflatten(1, (episodes, horizon))
    noise = torch.randn(shape, generator=generator)
    never, last = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    last[..., -1] = True
    return Rollout(
        observations=observations,
        actions=actions,
        log_probs=chosen.log_probs.unflatten(1, (episodes, horizon)),
        rewards=noise - (actions - wanted).square().sum(dim=-1),
        mask=torch.ones(shape, dtype=torch.bool),
        terminated=never,
        truncated=last,
        final_observations=torch.randn(num_tasks, episodes, OBSERVATION_SIZE, generator=generator),
    )


def parts(agent: MAMLTRPO, rollouts: Sequence[Rollout]) -> dict[str, Callable[[], object]]:
    """Return what is timed: the two public calls, pieces of them done apart, and the plain passes."""
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


def advantages_of(rollout: Rollout) -> torch.Tensor:
    """Fit the baseline and return the advantages, as the agent does."""
    return estimate_advantages(
        rollout, discount=AGENT.discount, gae_lambda=AGENT.gae_lambda, norm=AGENT.advantage_norm
    )


def meta_gradient(policy: Policy, theta: Params, inner: Batch, outer: Batch) -> Params:
    """Differentiate the meta-objective through the adaptation."""
    leaves = requires_grad(theta)
    adapted = adapt(
        policy, stack(leaves, len(outer.weights)), [inner], inner_lr=AGENT.inner_lr, first_order=False
    )
    gaussian = policy(adapted, outer.observations)
    old = Gaussian(gaussian.mean.detach(), gaussian.log_std.detach())
    return gradient(meta_objective(gaussian, old, outer).loss, leaves)


def line_search_trial(policy: Policy, theta: Params, inner: Batch, outer: Batch) -> torch.Tensor:
    """Adapt a candidate and judge it, without a graph of the outer step."""
    leaves = requires_grad(stack(theta, len(outer.weights)))
    adapted = detach(adapt(policy, leaves, [inner], inner_lr=AGENT.inner_lr, first_order=True))
    with torch.no_grad():
        gaussian = policy(adapted, outer.observations)
        return meta_objective(gaussian, gaussian, outer).loss


def plain_pass(policy: Policy, theta: Params, batches: Sequence[Batch]) -> Params:
    """Take a policy gradient with one set of parameters over all transitions."""
    leaves = requires_grad(theta)
    loss = torch.zeros(())
    for batch in batches:
        gaussian = policy(stack(leaves, 1), batch.observations.flatten(0, 1).unsqueeze(0))
        densities = log_prob(gaussian, batch.actions.flatten(0, 1).unsqueeze(0))
        loss = loss - (densities * batch.advantages.flatten()).mean()
    return gradient(loss, leaves)


def timed(action: Callable[[], object]) -> Callable[[], float]:
    """Return what does the same and says how long it took."""

    def run() -> float:
        start = time.perf_counter()
        action()
        return time.perf_counter() - start

    return run


def table_of(seconds: dict[str, list[float]], steps: int) -> Table:
    """Return milliseconds and multiples of the plain pass over both rollouts, a row for each part."""
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


def peak_memory() -> float:
    """Return the largest resident memory of this process so far, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


if __name__ == "__main__":
    tyro.cli(main)
