"""Calls of a user's environment in this process; each exception becomes a sentence."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from metarl.envs.engines.processes.env_pool import exception_text
from metarl.errors import EngineError, MetarlError

logger = logging.getLogger(__name__)


class Closable(Protocol):
    """An environment, of one slot or several."""

    def close(self) -> None:
        """Free what the environment holds."""


@contextmanager
def user_errors(name: str, what: str = "cannot be built") -> Iterator[None]:
    """Turn an environment's exceptions, even ``sys.exit``, into an EngineError that names it.

    ``what`` says what it cannot do, or where it failed. A MetarlError and Ctrl-C stay as they are.
    """
    try:
        yield
    except MetarlError:
        raise
    except (Exception, SystemExit) as error:
        raise EngineError(f"The environment {name!r} {what}: {exception_text(error)}.") from error


def close(env: Closable, name: str) -> None:
    """Close an environment; warn if that fails, as nothing is lost."""
    try:
        env.close()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, there is nothing to be done
        logger.warning("The environment %r failed when it was closed: %s.", name, exception_text(error))
