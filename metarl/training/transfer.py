"""A trained agent on another suite than its own: what must be equal, and what differs."""

from __future__ import annotations

from dataclasses import replace

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from metarl.action_map import describe_actions
from metarl.config import SuiteConfig
from metarl.errors import MetarlError
from metarl.settings import setting_names
from metarl.spaces import action_size, observation_size, one_line
from metarl.success_bonus import with_success_bonus
from metarl.tasks import TaskDistribution
from metarl.training.experiment import Experiment


def check_spaces(
    observations: gymnasium.Space[object], actions: gymnasium.Space[object], suite: TaskDistribution
) -> None:
    """Check that an agent of a suite fits other spaces.

    Raises:
        MetarlError: if observations or actions have another size or kind than the suite's.
    """
    shown, trained = observation_size(observations), observation_size(suite.observation_space)
    if shown != trained:
        raise MetarlError(
            f"Expected observations of {trained} numbers, as {suite.name} has, "
            f"got {shown} from {one_line(observations)}."
        )
    same_kind = isinstance(actions, Discrete) == isinstance(suite.action_space, Discrete)
    if not same_kind or action_size(actions) != action_size(suite.action_space):
        raise MetarlError(
            f"Expected actions as {suite.name} has, {one_line(suite.action_space)}, got {one_line(actions)}."
        )


def transfer(experiment: Experiment, config: SuiteConfig) -> list[str]:
    """Measure a trained agent on another suite.

    The agent stays as its own suite made it. The suite steps with its fastest engine.

    Returns:
        A sentence for each thing that differs from the training.

    Raises:
        MetarlError: if the spaces do not fit.
    """
    trained = experiment.suite
    other = with_success_bonus(config.build(), experiment.config.success_bonus)
    check_spaces(other.observation_space, other.action_space, trained)
    experiment.suite = other
    sampling = replace(experiment.config.sampling, engine="auto")
    experiment.config = replace(experiment.config, suite=config, sampling=sampling)
    return differences(trained, other)


def with_setting(config: SuiteConfig, name: str, value: object) -> SuiteConfig:
    """Return a suite's config with another value of a setting.

    Raises:
        MetarlError: if the suite has no such setting, or the value is out of its range.
    """
    if name not in setting_names(config):
        raise MetarlError(f"Expected a suite with a setting {name}, got {config.label}, which has none.")
    return replace(config, **{name: value})


def differences(trained: TaskDistribution, other: TaskDistribution) -> list[str]:
    """Return a sentence for each thing in which a suite differs from that of the training."""
    pairs = {
        "suite": (trained.name, other.name),
        "horizon": (trained.horizon, other.horizon),
        "bounds of observations": (_bounds(trained.observation_space), _bounds(other.observation_space)),
        "way of actions": (
            describe_actions(trained.action_space, trained),
            describe_actions(other.action_space, other),
        ),
        "report of success": (trained.reports_success, other.reports_success),
    }
    return [
        f"The {name} differs: {before} in training, {now} here."
        for name, (before, now) in pairs.items()
        if before != now
    ]


def _bounds(space: Box) -> str:
    low, high = np.unique(space.low), np.unique(space.high)
    return f"{_few(low)} to {_few(high)}"


def _few(values: np.ndarray) -> str:
    """Return some numbers, or their range if there are many."""
    if len(values) <= 3:
        return "/".join(f"{value:g}" for value in values)
    return f"{values.min():g}..{values.max():g}"
