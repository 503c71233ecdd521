"""A user's environment and workspace, by file."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import cast

import gymnasium

from metarl.deploy.loop import Workspace
from metarl.errors import MetarlError
from metarl.plugins.user_files import Sums, UserFile, at_fault, is_place
from metarl.plugins.user_modules import register_envs
from metarl.types import Json


def make_env(place: str, recorded: Json = None) -> object:
    """Build the environment of ``my_robot.py:make_env``, or one by its Gymnasium id.

    Args:
        place: a function or class without arguments, or an environment, in a file.
        recorded: what :func:`record_of` said when the session was started; changes are logged.

    Raises:
        MetarlError: if there is none, or it fails.
    """
    if not is_place(place):
        register_envs()
        try:
            return gymnasium.make(place)
        except gymnasium.error.Error as error:
            raise MetarlError(
                f"Expected my_robot.py:make_env or an environment's id, got {place!r} ({error})."
            ) from error
        except (Exception, SystemExit) as error:
            raise at_fault(error, f"The environment {place} cannot be built") from error
    return _file(place, "environment", recorded).find(lambda found: _built(found, place))


def workspace_at(place: str, recorded: Json = None) -> Workspace | None:
    """Return the predicate of ``my_robot.py:is_inside``, if any.

    Raises:
        MetarlError: if it is no function.
    """
    if not place:
        return None
    found = _file(place, "workspace", recorded).find(lambda each: each)
    if not callable(found):
        raise MetarlError(
            f"Expected {place} to be a function of an observation, got a {type(found).__name__}."
        )
    return cast("Workspace", found)


def record_of(place: str, part: str) -> dict[str, Json]:
    """Return a thing's place and its files' sums."""
    if not is_place(place):
        return {"place": place}
    file = UserFile.at(place, part)
    sums = file.sums()
    return {"place": file.place, "sha256": sums.sha256, "modules": list(sums.modules)}


def _file(place: str, part: str, recorded: Json) -> UserFile:
    """Return the file of a place; changes since it was recorded are logged."""
    file = UserFile.at(place, part)
    if isinstance(recorded, Mapping):
        modules = recorded.get("modules")
        names = tuple(map(str, modules)) if isinstance(modules, list) else ()
        file.tell_changes(Sums(str(recorded.get("sha256", "")), names))
    return file


def _built(found: object, place: str) -> object:
    if not (inspect.isroutine(found) or inspect.isclass(found)):
        return found
    try:
        return cast("Callable[[], object]", found)()
    except (Exception, SystemExit) as error:
        raise at_fault(error, f"The environment {place} cannot be built") from error
