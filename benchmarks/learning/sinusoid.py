"""Sinusoid regression as in figure 2 of MAML (Finn et al. 2017, arXiv 1703.03400), against pretraining.

    .venv/bin/python -m benchmarks.learning.sinusoid --output results/sinusoid

Two networks of the same shape see the same number of tasks and points: one is meta-trained by MAML, the
other is trained on all tasks at once (the paper's "pretrained"). Both then take the same gradient steps on
new tasks; the pretrained one with the step size that is best for it on tasks that are not the test's.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Gt
from rich.console import Console
from torch import nn
from torch.nn import functional

from benchmarks.learning import sinusoid_figures
from benchmarks.program import run
from metarl.errors import require
from metarl.evaluation.statistics import Bootstrap, Values, confidence_interval
from metarl.few_shot import adaptation_losses, maml
from metarl.few_shot.sinusoids import sinusoids
from metarl.few_shot.tasks import Task, stack_tasks
from metarl.reporting.csv_files import write_csv
from metarl.settings import Settings

console = Console()


@dataclass(frozen=True, kw_only=True)
class SinusoidConfig(Settings):
    """Meta-training on sinusoids, and the test."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the networks' first weights and of the training tasks."""
    iterations: Annotated[int, Ge(1)] = 3_000
    """Outer steps, and steps of the pretrained network."""
    meta_batch_size: Annotated[int, Ge(1)] = 25
    """Tasks of each."""
    shots: Annotated[int, Ge(1)] = 10
    """Points of a training task to adapt to."""
    queries: Annotated[int, Ge(1)] = 10
    """Points of a training task to test the adapted network."""
    inner_lr: Annotated[float, Gt(0)] = 0.01
    """Step size of adapting."""
    num_inner_steps: Annotated[int, Ge(1)] = 1
    """Gradient steps of adapting in meta-training."""
    outer_lr: Annotated[float, Gt(0)] = 1e-3
    """Step size of Adam, in both trainings."""
    test_shots: tuple[Annotated[int, Ge(1)], ...] = (5, 10)
    """Points of a test task to adapt to."""
    test_steps: Annotated[int, Ge(1)] = 10
    """Gradient steps on a test task."""
    test_tasks: Annotated[int, Ge(1)] = 600
    """Test tasks for each number of points, the same for every seed."""
    tuning_tasks: Annotated[int, Ge(1)] = 200
    """Tasks on which the pretrained network's step size is chosen."""
    step_sizes: tuple[Annotated[float, Gt(0)], ...] = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
    """Step sizes it is chosen from, separately for each seed, number of points and number of steps."""

    def __post_init__(self) -> None:
        """Check that there is something to train, to test and to choose from."""
        super().__post_init__()
        for name in ("seeds", "test_shots", "step_sizes"):
            require(len(getattr(self, name)) > 0, f"{name} must have a value at least", "empty")


class Trained(NamedTuple):
    """Networks and learning curve of one seed."""

    maml: nn.Module
    pretrained: nn.Module
    curve: list[dict[str, float]]


def network() -> nn.Module:
    """Return the paper's network, 40 and 40 units, with weights from torch's global generator."""
    return nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1))


def draw(config: SinusoidConfig, seed: int, shots: int, count: int) -> list[Task]:
    """Return test tasks."""
    generator = torch.Generator().manual_seed(seed)
    return list(itertools.islice(sinusoids(generator, shots=shots, queries=100), count))


def train(config: SinusoidConfig, seed: int) -> Trained:
    """Train both networks from the same first weights."""
    torch.manual_seed(seed)
    start = network()
    losses: list[float] = []
    meta_trained = maml(
        start,
        sinusoids(torch.Generator().manual_seed(1000 + seed), shots=config.shots, queries=config.queries),
        config.inner_lr,
        config.outer_lr,
        config.num_inner_steps,
        meta_batch_size=config.meta_batch_size,
        num_iterations=config.iterations,
        on_update=lambda _, loss: losses.append(loss),
    )
    pretrained, errors = pretrain(config, start, 1000 + seed)
    width = max(1, config.iterations // 100)
    curve = [
        {
            "seed": seed,
            "iteration": end,
            "maml_query_loss": float(np.mean(losses[end - width : end])),
            "pretrained_loss": float(np.mean(errors[end - width : end])),
        }
        for end in range(width, config.iterations + 1, width)
    ]
    return Trained(meta_trained, pretrained, curve)


def pretrain(config: SinusoidConfig, start: nn.Module, seed: int) -> tuple[nn.Module, list[float]]:
    """Train one network on the points of all tasks, as many as MAML sees."""
    points = config.shots + config.queries
    source = sinusoids(torch.Generator().manual_seed(seed), shots=points, queries=0)
    # without inner steps, meta-training on a task is plain training
    batches = (_pooled(list(itertools.islice(source, config.meta_batch_size))) for _ in itertools.count())
    errors: list[float] = []
    model = maml(
        start,
        batches,
        config.inner_lr,
        config.outer_lr,
        0,
        meta_batch_size=1,
        loss=functional.mse_loss,
        num_iterations=config.iterations,
        on_update=lambda _, loss: errors.append(loss),
    )
    return model, errors


def _pooled(tasks: Sequence[Task]) -> Task:
    ((_, stacked),) = stack_tasks(tasks)
    inputs, targets = stacked.support
    pooled = (inputs.flatten(0, 1), targets.flatten(0, 1))
    return Task(pooled, pooled)


def tuned_losses(config: SinusoidConfig, model: nn.Module, shots: int) -> tuple[torch.Tensor, list[float]]:
    """Return test losses ``[tasks, steps + 1]``, with the best step size for each number of steps."""
    tuning = draw(config, 1, shots, config.tuning_tasks)
    found = [
        adaptation_losses(model, tuning, size, config.test_steps).mean(dim=0) for size in config.step_sizes
    ]
    best = torch.stack(found).nan_to_num(nan=torch.inf).argmin(dim=0).tolist()
    test = draw(config, 2, shots, config.test_tasks)
    each = {
        index: adaptation_losses(model, test, config.step_sizes[index], config.test_steps)
        for index in set(best)
    }
    columns = [each[index][:, step] for step, index in enumerate(best)]
    return torch.stack(columns, dim=1), [config.step_sizes[index] for index in best]


def test_losses(config: SinusoidConfig, models: Sequence[Trained], shots: int) -> dict[str, Values]:
    """Return the test losses of every agent, ``[seeds, tasks, steps + 1]``."""
    tasks = draw(config, 2, shots, config.test_tasks)
    ours = [adaptation_losses(one.maml, tasks, config.inner_lr, config.test_steps) for one in models]
    theirs = [tuned_losses(config, one.pretrained, shots) for one in models]
    for seed, (_, sizes) in zip(config.seeds, theirs, strict=True):
        console.print(f"K = {shots}, seed {seed}: step sizes of the pretrained network {sizes[1:]}")
    return {
        "MAML": torch.stack(ours).double().numpy(),
        "pretrained": torch.stack([losses for losses, _ in theirs]).double().numpy(),
    }


def table(losses: dict[int, dict[str, Values]]) -> list[dict[str, str | float]]:
    """Return mean squared errors with 95 % intervals over seeds and tasks, by number of steps."""
    rng, how = np.random.default_rng(0), Bootstrap(bounds=(0.0, np.inf))
    rows: list[dict[str, str | float]] = []
    for shots, agents in losses.items():
        for agent, values in agents.items():
            for step in range(values.shape[-1]):
                interval = confidence_interval(values[..., step], rng, how)
                rows.append({"shots": shots, "agent": agent, "steps": step, **interval._asdict()})
    return rows


def main(config: SinusoidConfig, output: Path) -> None:
    """Train, test, and write config, curve, table and figures."""
    torch.set_num_threads(1)
    models = []
    for seed in config.seeds:
        with console.status(f"seed {seed}"):
            models.append(train(config, seed))
        console.print(f"seed {seed}: {models[-1].curve[-1]}")
    losses = {shots: test_losses(config, models, shots) for shots in config.test_shots}
    rows = table(losses)
    output.mkdir(parents=True, exist_ok=True)
    (output / "config.json").write_text(
        json.dumps(dataclasses.asdict(config), indent=2) + "\n", encoding="utf-8"
    )
    write_csv(output / "curve.csv", [row for one in models for row in one.curve])
    write_csv(output / "errors.csv", rows)
    agents = {
        "MAML": (models[0].maml, config.inner_lr),
        "pretrained": (models[0].pretrained, config.inner_lr),
    }
    sinusoid_figures.fits(agents, config.test_shots, output / "fits.png")
    sinusoid_figures.errors(rows, len(config.seeds), output / "errors.png")
    for row in rows:
        if row["steps"] in (0, 1, 5, 10):
            console.print(row)


if __name__ == "__main__":
    run(main, "Stopped; nothing is written.")
