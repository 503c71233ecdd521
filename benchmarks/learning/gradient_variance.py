"""Variance of the meta-gradient on ``point`` by estimator, on the same meta-batches.

A meta-batch gives every estimator a gradient. The scatter over many meta-batches is the trace of their
covariance, beside that of LVC, with 95 % bootstrap intervals over meta-batches; and, relative to the length
of their mean, ``sqrt(trace) / |mean|``. The horizon matters most: DiCE pairs every step with all that follow.
Measured at a freshly drawn theta, and after some updates by maml-vpg.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from annotated_types import Ge
from rich.table import Table

from benchmarks.program import run
from benchmarks.workloads import machine, wide_console
from metarl.agents.gradient_based import GradientBasedAgent, GradientBasedConfig
from metarl.agents.maml_vpg import MAMLVPGConfig
from metarl.config import SamplingConfig, construct
from metarl.envs.toy.point import PointTasks
from metarl.functional.params import flatten
from metarl.networks.policies import GaussianMLPPolicy
from metarl.plugins.registry import agent
from metarl.rollouts.collect import collect
from metarl.types import Params, Rollout
from metarl.vector_env import TaskVectorEnv

Vectors = npt.NDArray[np.float64]
ConfigT = TypeVar("ConfigT", bound=GradientBasedConfig)

ESTIMATORS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "FOMAML": ("maml-vpg", {"first_order": True}),
    "MAML": ("maml-vpg", {}),
    "LVC": ("lvc", {}),
    "ProMP, first step": ("promp", {"outer_steps": 1}),
    "DiCE": ("dice-maml", {}),
    "E-MAML, full credit": ("e-maml", {"credit_weight": 1.0}),
}
PLAIN: Mapping[str, object] = {"outer_optimizer": "sgd", "outer_lr": 1.0}
"""Settings with which an update subtracts the gradient from theta."""
REFERENCE = "LVC"
EPISODES = 10
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Scatter:
    """Scatter of one estimator's gradients."""

    mean: float
    """Length of the mean gradient, without the scatter's part in it; 0 where that leaves nothing."""
    variance: float
    """Trace of the covariance."""
    low: float
    """Lower bound of the variance over LVC's."""
    high: float
    """Upper bound."""

    @property
    def relative(self) -> float:
        """Root of the variance over the length of the mean; NaN where the length is 0."""
        return float(np.sqrt(self.variance) / self.mean) if self.mean > 0 else float("nan")


def main(
    *,
    horizons: tuple[int, ...] = (5, 20, 80),
    meta_batches: Annotated[int, Ge(2)] = 100,
    tasks: Annotated[int, Ge(1)] = 10,
    updates: Annotated[int, Ge(0)] = 30,
    output: Path = Path("results/gradient-variance"),
) -> None:
    """Measure and print the scatter of every estimator, and write it as CSV.

    Args:
        horizons: steps of an episode.
        meta_batches: gradients of each estimator.
        tasks: tasks of a meta-batch, each with 10 episodes before and after the inner step.
        updates: updates of theta before the second measurement.
        output: folder of the CSV.
    """
    console = wide_console()
    console.print(machine())
    rows = []
    for horizon in horizons:
        suite = PointTasks(horizon=horizon)
        env, rng = suite.make_vector_env(tasks * EPISODES), np.random.default_rng(0)
        theta = MAMLVPGConfig(outer_lr=0.01).build(suite, seed=0, device=CPU, sampling=SamplingConfig())
        for trained in (0, updates):
            for _ in range(trained):
                theta.update(meta_batch(theta, suite, env, tasks, rng))
            batches = [meta_batch(theta, suite, env, tasks, rng) for _ in range(meta_batches)]
            scatters = measure(theta, suite, batches, rng)
            console.print(table_of(scatters, f"horizon {horizon}, after {trained} updates"))
            rows += [row_of(horizon, trained, name, scatter) for name, scatter in scatters.items()]
    output.mkdir(parents=True, exist_ok=True)
    with (output / "variance.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def meta_batch(
    theta: GradientBasedAgent[ConfigT],
    suite: PointTasks,
    env: TaskVectorEnv,
    tasks: int,
    rng: np.random.Generator,
) -> list[Rollout]:
    """Collect before and after one inner step, which is the same for every estimator."""
    goals, actor = suite.sample(tasks, rng), theta.initial_actor(tasks)
    rollouts: list[Rollout] = []
    for _ in range(2):
        actor = theta.adapt(actor, rollouts[-1]) if rollouts else actor
        rollouts.append(collect(env, goals, actor, episodes=EPISODES, horizon=suite.horizon, rng=rng))
    return rollouts


def measure(
    theta: GradientBasedAgent[ConfigT],
    suite: PointTasks,
    batches: Sequence[Sequence[Rollout]],
    rng: np.random.Generator,
) -> dict[str, Scatter]:
    """Return the scatter of every estimator's gradients at theta."""
    products = {}
    for name, (kind, settings) in ESTIMATORS.items():
        learner = construct(agent(kind), {**PLAIN, **settings}).build(
            suite, seed=0, device=CPU, sampling=SamplingConfig()
        )
        assert isinstance(learner, GradientBasedAgent)
        learner = unbounded(learner)
        gradients = np.stack([gradient(learner, theta.params, batch) for batch in batches])
        products[name] = gradients @ gradients.T  # all that means and variances need
    count = len(batches)
    draws = rng.multinomial(count, np.full(count, 1 / count), size=1000).astype(np.float64)
    drawn = {name: variance(product, draws) for name, product in products.items()}
    return {name: scatter(product, drawn[name] / drawn[REFERENCE]) for name, product in products.items()}


class Unbounded(GaussianMLPPolicy):
    """A policy with deviations that a step takes anywhere: bounds would cut the gradient off."""

    def within_bounds(self, params: Params) -> Params:
        """Return the parameters as they are."""
        return params


def unbounded(learner: GradientBasedAgent[ConfigT]) -> GradientBasedAgent[ConfigT]:
    """Let a learner's outer steps leave the bounds of its deviations; return it."""
    assert isinstance(learner.policy, GaussianMLPPolicy)
    learner.policy = Unbounded(
        **{item.name: getattr(learner.policy, item.name) for item in fields(learner.policy)}
    )
    return learner


def gradient(learner: GradientBasedAgent[ConfigT], theta: Params, batch: Sequence[Rollout]) -> Vectors:
    """Return the meta-gradient of one meta-batch at theta, ``[P]``."""
    learner.params = theta
    learner.update(batch)
    vector: Vectors = (flatten(theta) - flatten(learner.params)).double().numpy()
    return vector


def scatter(products: Vectors, ratios: Vectors) -> Scatter:
    """Return the scatter of gradients from inner products ``[N, N]`` and bootstrapped ratios."""
    count = len(products)
    (trace,) = variance(products, np.ones((1, count)))
    # |mean of N gradients|^2 is on average |mean|^2 + trace / N
    squared = max(float(products.mean()) - float(trace) / count, 0.0)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Scatter(float(np.sqrt(squared)), float(trace), float(low), float(high))


def variance(products: Vectors, draws: Vectors) -> Vectors:
    """Return the trace of the covariance ``[D]`` of draws ``[D, N]``, which count each gradient."""
    count = draws.shape[1]
    mean = np.einsum("dn,nm,dm->d", draws, products, draws) / count**2
    traces: Vectors = (draws @ np.diag(products) / count - mean) * count / (count - 1)
    return traces


def table_of(scatters: Mapping[str, Scatter], title: str) -> Table:
    """Return a row for each estimator."""
    table = Table(title=title)
    table.add_column("")
    for column in ("length of the mean", "total variance", "times LVC's [95 %]", "relative deviation"):
        table.add_column(column, justify="right")
    for name, one in scatters.items():
        times = f"{one.variance / scatters[REFERENCE].variance:.2f} [{one.low:.2f}, {one.high:.2f}]"
        table.add_row(name, f"{one.mean:.3g}", f"{one.variance:.3g}", times, f"{one.relative:.2f}")
    return table


def row_of(horizon: int, updates: int, name: str, one: Scatter) -> dict[str, object]:
    """Return the same as a row of the CSV."""
    return {
        "horizon": horizon,
        "updates": updates,
        "estimator": name,
        "mean_length": one.mean,
        "total_variance": one.variance,
        "relative_deviation": one.relative,
        "times_lvc_low": one.low,
        "times_lvc_high": one.high,
    }


if __name__ == "__main__":
    run(main)
