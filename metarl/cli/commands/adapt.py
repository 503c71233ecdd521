"""``metarl adapt``: adapt a trained agent on an environment that is not a suite, such as a robot."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from types import FrameType
from typing import Annotated

import gymnasium
import tyro
from annotated_types import Ge, Le

from metarl.cli.console import say
from metarl.deploy.running import Outcome, adapt, go_on
from metarl.deploy.session import EPISODES, open_session
from metarl.deploy.settings import DeploySettings
from metarl.deploy.user_env import make_env, record_of, workspace_at
from metarl.errors import MetarlError, Stopped, require
from metarl.plugins.user_files import at_fault
from metarl.settings import Settings
from metarl.storage.files import check_writable
from metarl.storage.run_checkpoints import split_checkpoint
from metarl.system.signals import handled
from metarl.system.threads import one_thread
from metarl.types import Json

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AdaptArguments(DeploySettings):
    """Adapt a trained agent on one environment, in real time, and keep what it experienced and became.

    metarl adapt --resume FOLDER [--episodes N] continues a session that was stopped, or for longer.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run, checkpoint or trained result.
    Of a run its newest whole checkpoint is taken."""
    env: str
    """Environment: my_robot.py:make_env, or a Gymnasium id."""
    workspace: str = ""
    """Function of an observation that says whether it is where the robot may be, as my_robot.py:is_inside; an
    episode ends outside."""
    output: Path | None = None
    """Folder of the session.
    By default the run's with the environment's name behind it."""


@dataclass(frozen=True, kw_only=True)
class GoOnArguments(Settings):
    """Go on with a session that was stopped, or for more episodes."""

    resume: Path
    """Folder of the session."""
    episodes: Annotated[int, Ge(1), Le(100_000)] | None = None
    """Episodes of the session, by default as before."""


def adapt_command(arguments: list[str]) -> None:
    """Adapt a trained agent on an environment of yours, such as a robot."""
    if any(word.partition("=")[0] == "--resume" for word in arguments):
        options = tyro.cli(GoOnArguments, args=arguments, prog="metarl adapt")
        about = open_session(options.resume).about
        place = _place(about, "environment")
        workspace = workspace_at(_place(about, "workspace"), about.get("workspace"))
        run_on(
            make_env(place, about.get("environment")),
            options.resume,
            lambda env, should_stop: go_on(
                options.resume, env, episodes=options.episodes, workspace=workspace, should_stop=should_stop
            ),
        )
    else:
        start(tyro.cli(AdaptArguments, args=arguments, prog="metarl adapt"))


def start(options: AdaptArguments) -> None:
    """Start a session."""
    require(options.run.exists(), f"There must be a run {options.run}", "not there")
    folder = options.output or default_folder(options.run, options.env)
    if folder.exists():
        raise MetarlError(f"{folder} exists already; choose another --output, or go on: --resume {folder}")
    check_writable(folder, folder=True)
    settings = DeploySettings(**{item.name: getattr(options, item.name) for item in fields(DeploySettings)})
    workspace = workspace_at(options.workspace)
    about: dict[str, Json] = {
        "run": str(options.run.resolve()),
        "environment": record_of(options.env, "environment"),
    }
    if options.workspace:
        about["workspace"] = record_of(options.workspace, "workspace")
    say(f"Adapting {options.run} on {options.env}; the session is kept in {folder}.")
    run_on(
        make_env(options.env),
        folder,
        lambda env, should_stop: adapt(
            options.run, env, folder, settings, workspace=workspace, about=about, should_stop=should_stop
        ),
    )


def default_folder(run: Path, env: str) -> Path:
    """Return the session's folder, beside the run's."""
    folder, _ = split_checkpoint(run)
    name = env.rpartition(":")[2].replace("/", "-")
    return folder.resolve().parent / f"{folder.resolve().name}-{name}"


@one_thread()
def run_on(env: object, folder: Path, work: Callable[[object, Callable[[], bool]], Outcome]) -> None:
    """Run a session on an environment, which is closed at the end, and print what came of it."""
    stopper = Stopper()
    try:
        with handled(ends_by(), stopper.handle):
            outcome = work(env, stopper.is_asked)
    except (Stopped, KeyboardInterrupt) as stop:  # the latter is a second signal's, or the environment's own
        if not (folder / EPISODES).is_dir():
            raise
        say(f"Stopped; resume with: metarl adapt --resume {folder}")
        raise Stopped from stop
    except (MetarlError, OSError):
        if (folder / EPISODES).is_dir():
            say(f"What was experienced is kept; resume with: metarl adapt --resume {folder}")
        raise
    finally:
        close(env)
    if outcome.stopped:
        say(f"Stopped: {outcome.stopped}; resume with: metarl adapt --resume {folder}")
    timing = outcome.timing
    for name, spread in (("step", timing.period), ("policy", timing.latency)):
        if spread is not None:
            say(f"Time of a {name}, median / 99 % / worst: {spread.describe()}.")
    if timing.missed or timing.dropped:
        say(f"Missed deadlines: {timing.missed}; missing observations: {timing.dropped}.")
    say(outcome.summary())
    say(f"Wrote {folder}, which metarl watch, export, evaluate and metarl.load open.")


def close(env: object) -> None:
    """Close an environment; a fault is logged, as the session is over."""
    try:
        if isinstance(env, gymnasium.Env):
            env.close()
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever the user's code raises
        logger.warning("%s", at_fault(error, "The environment fails when it is closed"))


def ends_by() -> list[signal.Signals]:
    """Return the signals that end a session: a lost terminal's too, unless nohup has it ignored."""
    lost = [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *lost]


class Stopper:
    """Stops before the next step on a first signal, at once on a second one."""

    def __init__(self) -> None:
        self._asked = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Remember that somebody asks to stop; raise KeyboardInterrupt, which halts the robot, if again."""
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def is_asked(self) -> bool:
        """Return whether somebody asked."""
        return self._asked


def _place(about: object, part: str) -> str:
    """Return a place that the session's start wrote down; empty if there is none."""
    found = about.get(part) if isinstance(about, dict) else None
    return str(found.get("place", "")) if isinstance(found, dict) else ""
