"""A trained memory beside the best strategies for Bernoulli bandits.

    .venv/bin/python -m benchmarks.learning.bandits runs/A-seed0 runs/A-seed1 --output results/bandits-rl2/A

Duan et al. 2016 (arXiv 1611.02779), section 3.1. All play the same held-out bandits with the same luck: the
n-th pull of an episode pays if one uniform number is below the arm's probability. Every reference is computed
here; where dynamic programming is feasible, the Bayes-optimal strategy is among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
import tyro
from annotated_types import Ge
from rich.table import Table

from benchmarks.learning import bandits_figure
from benchmarks.program import run
from benchmarks.workloads import wide_console
from metarl.api.runs import Run, load
from metarl.envs.toy.bandit_optimum import BayesOptimal, finite_horizon_indices, gittins_indices, is_solvable
from metarl.envs.toy.bandit_strategies import (
    UCB1,
    FiniteHorizonGittins,
    Gittins,
    Greedy,
    Optimal,
    Random,
    Strategy,
    Thompson,
)
from metarl.envs.toy.bandits import BanditsConfig, BanditTasks
from metarl.errors import require
from metarl.evaluation.statistics import Interval, Values, confidence_interval
from metarl.functional.random_streams import Purpose, make_rng
from metarl.meta_learner import Action, Actor, Inputs
from metarl.reporting.csv_files import interval_columns, write_csv
from metarl.rollouts.collect import collect
from metarl.settings import Seed
from metarl.types import Params, Task

DISCOUNTS = (0.9, 0.95, 0.99)
"""Discounts of the Gittins indices."""
WIDTHS = (0.1, 0.2, 0.3)
"""Widths of UCB1, beside the published one."""
OPTIMAL = "Bayes-optimal"
SLOTS = 2000
"""Episodes played at once."""


@dataclass(frozen=True)
class StrategyActor:
    """A strategy as a policy with a memory of each arm's wins and losses."""

    strategy: Strategy
    num_tasks: int
    arms: int

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def initial_memory(self, episodes: int) -> Params:
        """Return counts of zero, ``[M, K, k]``."""
        nothing = torch.zeros(self.num_tasks, episodes, self.arms)
        return {"wins": nothing, "losses": nothing}

    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        """Count the last pull and choose the next."""
        paid = inputs.previous_rewards.unsqueeze(-1)
        counts = {
            "wins": memory["wins"] + inputs.previous_actions * paid,
            "losses": memory["losses"] + inputs.previous_actions * (1 - paid),
        }
        wins, losses = (counts[name].flatten(0, 1).long().numpy() for name in ("wins", "losses"))
        seed = int(torch.randint(2**62, (), generator=generator))
        chosen = torch.from_numpy(self.strategy.choose(wins, losses, np.random.default_rng(seed)))
        actions = torch.nn.functional.one_hot(chosen, self.arms).float()
        shape = inputs.previous_rewards.shape
        return Action(actions.view(*shape, self.arms), torch.zeros(shape)), counts


class Contender(NamedTuple):
    """A player: one actor for each of its training seeds, or one alone."""

    name: str
    makers: tuple[Callable[[int], Actor], ...]
    """Functions that return an actor for a number of tasks."""
    deterministic: bool = False


def main(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = (),
    *,
    arms: int = 5,
    pulls: int = 10,
    tasks: Annotated[int, Ge(0)] = 0,
    episodes: Annotated[int, Ge(1)] = 10,
    seed: Seed = 0,
    output: Path | None = None,
) -> None:
    """Play bandits with every strategy and with trained runs.

    Args:
        runs: folders of runs that differ in their seed alone; their bandits are played.
        arms: arms of a bandit, where there are no runs.
        pulls: pulls of an episode, likewise.
        tasks: bandits drawn afresh, for narrower intervals; 0 takes the 400 held-out ones.
        episodes: episodes of each bandit.
        seed: of the episodes.
        output: folder for ``strategies.csv``, ``pulls.csv`` and ``pulls.png``.
    """
    trained = [load(folder) for folder in runs]
    config = bandits_of(trained) if trained else BanditsConfig(arms=arms, horizon=pulls)
    suite = config.build()
    played = (
        suite.sample(tasks, make_rng(seed, Purpose.EVALUATION, "tasks")) if tasks else suite.tasks("test")
    )
    best, *others = references(suite)
    players = (best, *others, *learned(trained))
    rewards = {player.name: play(player, suite, played, episodes, seed) for player in players}
    rows = [row(name, paid, rewards[best.name]) for name, paid in rewards.items()]
    rows.sort(key=lambda each: float(each["return"]), reverse=True)
    console = wide_console()
    console.print(table(rows, suite, best.name))
    if is_solvable(suite.arms, suite.horizon):
        value = BayesOptimal(suite.arms, suite.horizon).value
        console.print(f"Over all bandits the Bayes-optimal strategy returns {value:.4f}.")
    if output is not None:
        by_pull = {name: paid.mean(axis=(0, 1, 2)) for name, paid in rewards.items()}
        write_csv(output / "strategies.csv", rows)
        write_csv(output / "pulls.csv", pull_rows(by_pull))
        kind = trained[0].config.agent.kind if trained else ""
        bandits_figure.draw(by_pull, suite, played, (kind, len(trained)), output / "pulls.png")


def bandits_of(runs: Sequence[Run]) -> BanditsConfig:
    """Return the bandits that runs were trained on.

    Raises:
        MetarlError: if they were trained on others, or differ.
    """
    suites = [run.config.suite for run in runs]
    first = suites[0]
    require(
        all(run.agent.trial == "sequential" and run.agent.adaptation_steps == 0 for run in runs),
        "Expected agents with a memory and trials of one episode (--agent.trial-episodes 1)",
        [run.config.agent.kind for run in runs],
    )
    if not isinstance(first, BanditsConfig) or any(other != first for other in suites):
        require(False, "Expected runs of one bandits suite", [suite.label for suite in suites])
    assert isinstance(first, BanditsConfig)
    return first


def references(suite: BanditTasks) -> list[Contender]:
    """Return the strategies, first the one that others are compared to.

    Where the optimum cannot be computed, it is the finite-horizon Gittins index.
    """
    arms, pulls = suite.arms, suite.horizon
    strategies: dict[str, Strategy] = {
        "finite-horizon Gittins": FiniteHorizonGittins(finite_horizon_indices(pulls)),
        **{f"Gittins, discount {each}": Gittins(gittins_indices(each, pulls)) for each in DISCOUNTS},
        "Thompson sampling": Thompson(),
        "UCB1": UCB1(),
        **{f"UCB1, width {each}": UCB1(each) for each in WIDTHS},
        "greedy": Greedy(),
        "random": Random(),
    }
    if is_solvable(arms, pulls):
        strategies = {OPTIMAL: Optimal(BayesOptimal(arms, pulls)), **strategies}

    def maker(strategy: Strategy) -> Callable[[int], Actor]:
        return lambda num_tasks: StrategyActor(strategy, num_tasks, arms)

    return [Contender(name, (maker(strategy),)) for name, strategy in strategies.items()]


def learned(runs: Sequence[Run]) -> list[Contender]:
    """Return the trained agents, with actions drawn as in training and with the most likely ones."""
    if not runs:
        return []
    name = runs[0].config.agent.kind

    def maker(run: Run) -> Callable[[int], Actor]:
        return lambda num_tasks: run.agent.initial_actor(num_tasks, np.random.default_rng(0))

    makers = tuple(maker(run) for run in runs)
    return [Contender(name, makers), Contender(f"{name}, most likely arm", makers, deterministic=True)]


def play(player: Contender, suite: BanditTasks, tasks: Sequence[Task], episodes: int, seed: int) -> Values:
    """Return the reward of each pull, ``[S, M, K, T]``, with the same luck for all."""
    at_once = max(1, SLOTS // episodes)
    env = suite.make_vector_env(at_once * episodes)
    played = []
    for make in player.makers:
        rng, parts = make_rng(seed, Purpose.EVALUATION), []
        for start in range(0, len(tasks), at_once):
            chunk = tasks[start : start + at_once]
            rollout = collect(
                env,
                chunk,
                make(len(chunk)),
                episodes=episodes,
                horizon=suite.horizon,
                rng=rng,
                deterministic=player.deterministic,
            )
            parts.append(rollout.rewards.double().numpy())
        played.append(np.concatenate(parts))
    env.close()
    return np.stack(played)


def pull_rows(by_pull: Mapping[str, Values]) -> list[dict[str, float]]:
    """Return a row for each pull: its number, and each strategy's mean reward."""
    pulls = zip(*by_pull.values(), strict=True)
    return [
        {"pull": float(number), **dict(zip(by_pull, map(float, paid), strict=True))}
        for number, paid in enumerate(pulls, start=1)
    ]


def row(name: str, paid: Values, best: Values) -> dict[str, str | float]:
    """Return a row of the table: returns, and the difference to the best on the same bandits."""
    rng = np.random.default_rng(0)
    returns, reference = (each.sum(axis=3).mean(axis=2) for each in (paid, best))
    behind = confidence_interval(returns - reference, rng)
    found = float(reference.mean())
    share = Interval(*(1 + end / found for end in behind))
    return {
        "strategy": name,
        "seeds": float(len(paid)),
        **interval_columns("return", confidence_interval(returns, rng)),
        **interval_columns("difference", behind),
        **interval_columns("share", share),
    }


def table(rows: Sequence[Mapping[str, str | float]], suite: BanditTasks, best: str) -> Table:
    """Return the rows as a table."""
    shown = Table("strategy", "return", f"of {best}", title=f"{suite.arms} arms, {suite.horizon} pulls")
    for each in rows:
        mean, low, high = (float(each[f"return{end}"]) for end in ("", "_low", "_high"))
        shares = [100 * float(each[f"share{end}"]) for end in ("", "_low", "_high")]
        shown.add_row(
            str(each["strategy"]),
            f"{mean:.2f} [{low:.2f}, {high:.2f}]",
            "{:.1f} % [{:.1f}, {:.1f}]".format(*shares),
        )
    return shown


if __name__ == "__main__":
    run(main)
