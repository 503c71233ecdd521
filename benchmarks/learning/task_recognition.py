"""N-way k-shot recognition of Meta-World families from short trajectories.

    .venv/bin/python -m benchmarks.learning.task_recognition --output results/task-recognition

Encoders learn on ML45's training families and are tested on its five held-out ones, which the same exploring
policy visited. Two views: trajectories as they are, which show where objects stand, and their changes since
the first frame, which show only how the world reacts. Against them, the nearest raw trajectory.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import numpy as np
import torch
from annotated_types import Ge, Gt
from rich.console import Console
from torch import nn

from benchmarks.learning import task_recognition_figures
from benchmarks.learning.task_recognition_data import SEEN, STEPS, Standardize, WindowEncoder, explore
from benchmarks.program import run
from metarl.envs.metaworld.suite import ML45Config
from metarl.errors import require
from metarl.evaluation.statistics import RATE, Bootstrap, Values, confidence_interval
from metarl.few_shot.classification import (
    Classifier,
    accuracy,
    draw_episodes,
    matching_logits,
    nearest_neighbour_logits,
    prototypical_logits,
    train_encoder,
)
from metarl.few_shot.trajectories import changes
from metarl.reporting.csv_files import write_csv
from metarl.settings import Settings

Families: TypeAlias = "dict[str, torch.Tensor]"
Row: TypeAlias = "dict[str, str | float]"

console = Console()
ACCURACY = Bootstrap(bounds=RATE)

CLASSIFIERS: dict[str, Classifier] = {
    "prototypical": prototypical_logits,
    "matching": functools.partial(matching_logits, scale=10.0),
}


@dataclass(frozen=True, kw_only=True)
class RecognitionConfig(Settings):
    """Training encoders of trajectories, and the test."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the encoders' first weights and of the training episodes."""
    train_goals: Annotated[int, Ge(1)] = 20
    """Goals of each training family, with a trajectory each."""
    test_goals: Annotated[int, Ge(1)] = 20
    """Goals of each held-out family, with a trajectory each."""
    iterations: Annotated[int, Ge(1)] = 300
    """Training episodes of an encoder."""
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    """Step size of Adam."""
    train_ways: Annotated[int, Ge(1)] = 10
    """Families of a training episode."""
    train_shots: Annotated[int, Ge(1)] = 5
    """Labelled trajectories of each."""
    train_queries: Annotated[int, Ge(1)] = 5
    """Trajectories of each that are to be recognised."""
    test_ways: Annotated[int, Ge(1)] = 5
    """Families of a test episode: all that are held out."""
    test_shots: tuple[Annotated[int, Ge(1)], ...] = (1, 5)
    """Labelled trajectories of each family in a test episode."""
    test_queries: Annotated[int, Ge(1)] = 10
    """Trajectories of each that are to be recognised."""
    test_episodes: Annotated[int, Ge(1)] = 100
    """Test episodes for each seed."""

    def __post_init__(self) -> None:
        """Check that there is something to train and to test."""
        super().__post_init__()
        for name in ("seeds", "test_shots"):
            require(len(getattr(self, name)) > 0, f"{name} must have a value at least", "empty")


def collect_views(config: RecognitionConfig) -> dict[str, tuple[Families, Families]]:
    """Return the windows of training and of held-out families, as they are and as changes."""
    suite = ML45Config(horizon=STEPS).build()
    train = explore(suite, "train", config.train_goals, np.random.default_rng(0))
    test = explore(suite, "test", config.test_goals, np.random.default_rng(1))
    moved = (_changes(train), _changes(test))
    return {"as they are": (train, test), "changes": moved}


def _changes(families: Families) -> Families:
    return {family: changes(examples, SEEN) for family, examples in families.items()}


def learn(config: RecognitionConfig, train: Families, name: str, seed: int) -> tuple[nn.Module, list[float]]:
    """Return an encoder and its training losses."""
    torch.manual_seed(seed)
    losses: list[float] = []
    encoder = train_encoder(
        WindowEncoder(torch.cat(list(train.values()))),
        draw_episodes(
            list(train.values()),
            torch.Generator().manual_seed(1000 + seed),
            ways=config.train_ways,
            shots=config.train_shots,
            queries=config.train_queries,
        ),
        CLASSIFIERS[name],
        config.learning_rate,
        num_iterations=config.iterations,
        on_update=lambda _, loss: losses.append(loss),
    )
    return encoder, losses


@torch.no_grad()
def embeddings(encoder: nn.Module, families: Families) -> Families:
    """Return the embedding of every trajectory, ``[n, E]`` for each family."""
    return {family: encoder(examples) for family, examples in families.items()}


def raw(train: Families, test: Families) -> Families:
    """Return held-out trajectories as long vectors, standardised by the training families."""
    standardize = Standardize(torch.cat(list(train.values())).flatten(0, 1))
    return {family: standardize(examples).flatten(1) for family, examples in test.items()}


def measured(config: RecognitionConfig, classify: Classifier, embedded: Families, seed: int) -> Values:
    """Return the accuracy in every test episode, ``[numbers of shots, episodes]``."""
    found = []
    for shots in config.test_shots:
        episodes = draw_episodes(
            list(embedded.values()),
            torch.Generator().manual_seed(2000 + seed),
            ways=config.test_ways,
            shots=shots,
            queries=config.test_queries,
        )
        drawn = itertools.islice(episodes, config.test_episodes)
        found.append([accuracy(classify, episode) for episode in drawn])
    return np.array(found)


def compare(
    config: RecognitionConfig, views: Mapping[str, tuple[Families, Families]]
) -> tuple[list[Row], list[Row], dict[str, Families]]:
    """Return the table, the training curves, and the first seed's prototypical embeddings of each view."""
    rows, curves, shown = [], [], {}
    for view, (train, test) in views.items():
        raws = raw(train, test)
        found = [measured(config, nearest_neighbour_logits, raws, seed) for seed in config.seeds]
        rows += table_rows(config, view, "nearest raw trajectory", found)
        for name, classify in CLASSIFIERS.items():
            found = []
            for seed in config.seeds:
                encoder, losses = learn(config, train, name, seed)
                embedded = embeddings(encoder, test)
                found.append(measured(config, classify, embedded, seed))
                curves += curve_rows(view, name, seed, losses)
                if seed == config.seeds[0] and name == "prototypical":
                    shown[view] = embedded
            rows += table_rows(config, view, name, found)
            console.print(rows[-len(config.test_shots) :])
    return rows, curves, shown


def table_rows(config: RecognitionConfig, view: str, agent: str, found: list[Values]) -> list[Row]:
    """Return accuracies ``[shots, episodes]`` of each seed as means with 95 % intervals over both."""
    accuracies = np.stack(found)
    return [
        {
            "view": view,
            "agent": agent,
            "shots": shots,
            **confidence_interval(accuracies[:, index], np.random.default_rng(0), ACCURACY)._asdict(),
        }
        for index, shots in enumerate(config.test_shots)
    ]


def curve_rows(view: str, agent: str, seed: int, losses: list[float]) -> list[Row]:
    """Return the mean training loss of every 20 episodes."""
    return [
        {
            "view": view,
            "agent": agent,
            "seed": seed,
            "episode": end,
            "loss": float(np.mean(losses[end - 20 : end])),
        }
        for end in range(20, len(losses) + 1, 20)
    ]


def main(config: RecognitionConfig, output: Path) -> None:
    """Collect, train, test, and write config, curves, table and figure."""
    torch.set_num_threads(1)
    with console.status("collecting trajectories of 50 families"):
        views = collect_views(config)
    rows, curves, shown = compare(config, views)
    output.mkdir(parents=True, exist_ok=True)
    content = json.dumps(dataclasses.asdict(config), indent=2)
    (output / "config.json").write_text(content + "\n", encoding="utf-8")
    write_csv(output / "accuracy.csv", rows)
    write_csv(output / "curve.csv", curves)
    task_recognition_figures.accuracies(rows, len(config.seeds), config.test_ways, output / "accuracy.png")
    task_recognition_figures.projections(shown, output / "prototypes.png")


if __name__ == "__main__":
    run(main, "Stopped; nothing is written.")
