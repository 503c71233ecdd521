"""Settings of a session on a robot: how it adapts, what is safe, when adapting is undone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from metarl.config import construct
from metarl.errors import MetarlError, require
from metarl.settings import Episodes, Horizon, Seed, Settings
from metarl.types import Json


@dataclass(frozen=True, kw_only=True)
class SafetySettings(Settings):
    """Limits that hold whatever the policy does."""

    low: tuple[float, ...] = ()
    """Least value of each action, in environment units.
    One value stands for all, and none takes the bounds of the action space."""
    high: tuple[float, ...] = ()
    """Greatest value, likewise."""
    max_change: tuple[Annotated[float, Gt(0)], ...] = ()
    """Largest change of each action per step, likewise.
    None sets no limit."""
    start: tuple[float, ...] = ()
    """Action that holds when an episode starts.
    Such as 0 of a robot that stands still; the first action differs from it by at most max-change. None
    leaves the first action of an episode free."""
    min_return: Annotated[float, Lt(math.inf)] | None = None
    """Episodes end where their return falls below this."""
    max_stopped: Annotated[int, Ge(1)] = 3
    """The session stops after this many episodes in a row that safety ended."""
    max_missed: Annotated[int, Ge(0)] = 20
    """The session stops when control has missed more deadlines than this in an episode."""
    max_dropped: Annotated[int, Ge(0)] = 5
    """The session stops when more observations than this are missing in a row; the last one stands in."""

    def __post_init__(self) -> None:
        """Check that lower limits are below upper ones."""
        super().__post_init__()
        for low, high in zip(self.low, self.high, strict=False):
            require(low <= high, f"Every lower limit of actions must be at most the upper one, {high}", low)


@dataclass(frozen=True, kw_only=True)
class GuardSettings(Settings):
    """When a policy that has adapted is rolled back to the one before."""

    enabled: bool = True
    """Judge each adapted policy; otherwise all are kept."""
    max_kl: Annotated[float, Gt(0)] = 100.0
    """Most KL divergence from the policy before, in nats an action, on the states that it has met. A policy
    beyond it never acts."""
    episodes: Annotated[int, Ge(1)] = 3
    """Most episodes that a new policy is judged by, one after another; not more than one step learns from."""
    deviations: Annotated[float, Ge(0)] = 2.0
    """The mean return of its first n episodes may be below the mean before by this many standard deviations
    of it, divided by the root of n…"""
    max_drop: Annotated[float, Ge(0)] = 0.1
    """…or by this share of its absolute value, whichever is more."""


@dataclass(frozen=True, kw_only=True)
class DeploySettings(Settings):
    """How an agent adapts on one environment."""

    episodes: Annotated[int, Ge(0), Le(100_000)] = 0
    """Episodes of the session.
    0 takes those that the adaptation steps need, and as many once more as one step does."""
    adaptation_steps: Annotated[int, Ge(0), Le(1000)] | None = None
    """Times that the policy may adapt.
    By default as many as in training, but one at least; of an agent with a memory, episodes that it
    remembers."""
    adaptation_episodes: Episodes | None = None
    """Episodes that one step learns from.
    By default as many as in the run's evaluation. An agent with a memory takes one."""
    horizon: Horizon | None = None
    """Steps of an episode, by default the training's."""
    frequency: Annotated[float, Ge(0), Le(100_000)] = 0.0
    """Steps a second; 0 for the environment's pace."""
    actions: Literal["as-trained", "rescale", "clip"] = "as-trained"
    """How the policy's actions become the environment's.
    They are rescaled from -1..1 to its bounds, or passed on clipped; as trained, they are rescaled where the
    suite rescales them."""
    deterministic: bool = False
    """Take the most likely actions, not drawn ones."""
    seed: Seed = 0
    """Seeds the policy's noise, not the environment."""
    safety: SafetySettings = field(default_factory=SafetySettings)
    """Limits that hold whatever the policy does."""
    guard: GuardSettings = field(default_factory=GuardSettings)
    """When an adapted policy is rolled back."""


def settings_to_json(settings: DeploySettings) -> dict[str, Json]:
    """Return the settings as plain JSON."""
    data: dict[str, Json] = dataclasses.asdict(settings)
    return data


def settings_from_json(data: Json) -> DeploySettings:
    """Return the settings that :func:`settings_to_json` wrote.

    Raises:
        MetarlError: if there is a setting that is not known, or a value out of range.
    """
    if not isinstance(data, Mapping):
        raise MetarlError(f"Expected the settings of a session, got {data!r}.")
    sections = {"safety": SafetySettings, "guard": GuardSettings}
    parts: dict[str, object] = dict(data)
    for name, section in sections.items():
        values = data.get(name)
        parts[name] = construct(section, values if isinstance(values, Mapping) else {})
    return construct(DeploySettings, parts)
