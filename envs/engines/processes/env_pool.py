"""Environments that workers run: what one must do, and a pool of those that no slot needs."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Never, Protocol, SupportsFloat, TypeAlias, runtime_checkable

from metarl.errors import EngineError, MetarlError
from metarl.types import Task
from metarl.vector_env import Array, Picture

logger = logging.getLogger(__name__)

_TAKEN = {errno.EADDRINUSE, errno.EAGAIN, errno.EEXIST, errno.EBUSY}
_IN_USE = (
    " There is an environment for each slot, several in a process and several processes at once: let each "
    "take a port, a lock or a file of its own."
)  # hint for errors about resources in use, as a rule by the environment of another slot
_LONGEST = 500  # characters of an exception's text


class TaskEnv(Protocol):
    """A :class:`gymnasium.Env` that can be given tasks.

    It truncates itself at the horizon and says in ``info["success"]`` of ``step``, where it knows, whether
    the task is solved. An episode must be a function of (task, seed, actions) alone: whatever the
    environment did before ``set_task`` and ``reset`` leaves no trace, and no global generator is used.
    """

    def set_task(self, task: Task) -> None:
        """Run ``task`` from the next reset on."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[Array, Mapping[str, object]]:
        """Start an episode, as Gymnasium defines it."""

    def step(self, action: Never) -> tuple[Array, SupportsFloat, bool, bool, Mapping[str, object]]:
        """Take one step, as Gymnasium defines it; with ``Never``, any type of action will do."""

    def close(self) -> None:
        """Free what the environment holds."""


@runtime_checkable
class Drawable(Protocol):
    """A :class:`TaskEnv` that draws from any camera, whatever its render mode."""

    def draw(self, *, camera: str | None, width: int, height: int) -> Picture:
        """Return a picture, ``[height, width, 3]``; see :class:`metarl.vector_env.Renderable`."""


@runtime_checkable
class Rendering(Protocol):
    """A :class:`TaskEnv` that renders as Gymnasium does."""

    def render(self) -> object:
        """Return what the environment's render mode says."""


# builds an environment for a family; a MetarlError that it raises reaches the user as it is
EnvFactory: TypeAlias = Callable[[str], TaskEnv]


class EnvPool:
    """Environments by family, built when none is idle; beyond ``max_idle`` the oldest are closed."""

    def __init__(self, factory: EnvFactory, max_idle: int) -> None:
        self._factory = factory
        self._max_idle = max_idle
        self._idle: list[tuple[str, TaskEnv]] = []
        self._warned: set[str] = set()  # each sentence is logged once

    def take(self, family: str) -> TaskEnv:
        """Return the family's environment that was given back last, or a new one.

        A MetarlError of the factory stays as it is; any other exception becomes an EngineError.
        """
        # the last one given back comes first
        for index in reversed(range(len(self._idle))):
            if self._idle[index][0] == family:
                return self._idle.pop(index)[1]
        try:
            return self._factory(family)
        except MetarlError:
            raise
        except BaseException as error:  # SystemExit too: the engine's end reaches a worker in no exception
            hint = _IN_USE if isinstance(error, OSError) and error.errno in _TAKEN else ""
            raise EngineError(
                f"No environment of family {family!r} can be built: {exception_text(error)}.{hint}"
            ) from error

    def give_back(self, family: str, env: TaskEnv) -> None:
        """Keep an environment that no slot needs now."""
        self._idle.append((family, env))

    def trim(self) -> None:
        """Close what is idle beyond the limit."""
        surplus = max(0, len(self._idle) - self._max_idle)
        self._close(self._idle[:surplus])
        self._idle = self._idle[surplus:]

    def close(self) -> None:
        """Close what is idle."""
        self._close(self._idle)
        self._idle = []

    def _close(self, envs: Sequence[tuple[str, TaskEnv]]) -> None:
        for family, env in envs:
            try:
                env.close()
            except BaseException as error:  # noqa: BLE001 - what it has done is done, so nothing is lost
                warning = f"The environment of family {family!r} failed when it was closed"
                if warning not in self._warned:
                    self._warned.add(warning)
                    logger.warning("%s: %s.", warning, exception_text(error))


def exception_text(error: BaseException) -> str:
    """Return an exception's type and text on one line, without a full stop."""
    try:
        text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(" .:")
    except Exception:  # noqa: BLE001 - its text is the environment's code too
        return type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
