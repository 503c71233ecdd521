"""The folder of a session: a run's agent, the settings, each episode, and the adapted agent.

config.json, checkpoints/   the trained agent, so that the folder opens as a run does
adaptation.json             settings, and where environment and agent come from
episodes/                   a file each, written as it happens
decisions.json              what was kept and what was rolled back
adapted.safetensors         what the kept policy learned from
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from metarl.deploy.adaptation import Decision
from metarl.deploy.episodes import read_episodes
from metarl.deploy.settings import DeploySettings, settings_from_json, settings_to_json
from metarl.errors import MetarlError, naming, require
from metarl.storage.checkpoint_files import Checkpoint
from metarl.storage.checkpoints import save
from metarl.storage.files import encode_json, write_folder, write_json
from metarl.storage.run_checkpoints import open_checkpoint
from metarl.storage.run_folder import ADAPTATION, CHECKPOINTS, CONFIG
from metarl.training.adapted_agent import write_path
from metarl.training.runs import has_checkpoints, trained_under
from metarl.types import Json, Rollout, State

DECISIONS, EPISODES = "decisions.json", "episodes"


@dataclass(frozen=True)
class Session:
    """A session's folder and how it was started."""

    folder: Path
    settings: DeploySettings
    about: Mapping[str, Json]  # whatever the one who started it wrote down, such as where the environment is
    is_changed: bool = False  # whether the settings are others than on disk

    @property
    def episodes(self) -> Path:
        """Folder of the episodes."""
        return self.folder / EPISODES

    def write_changes(self) -> None:
        """Write the settings if they have changed; whoever goes on holds the folder's lock."""
        if self.is_changed:
            data: dict[str, Json] = {"settings": settings_to_json(self.settings), "about": dict(self.about)}
            write_json(self.folder / ADAPTATION, data, 2)

    def write(self, decisions: Sequence[Decision], path: Sequence[Rollout]) -> None:
        """Write what was decided, and what the kept policy learned from."""
        write_path(self.folder, path)
        write_json(self.folder / DECISIONS, {"decisions": [decision.to_json() for decision in decisions]}, 2)


def start_session(
    folder: Path, checkpoint: Checkpoint, settings: DeploySettings, about: Mapping[str, Json]
) -> Session:
    """Make the folder of a new session.

    Raises:
        MetarlError: if it exists, or cannot be made.
    """
    if folder.exists():
        known = (folder / ADAPTATION).is_file()
        mend = f"resume it with: metarl adapt --resume {folder}" if known else "choose another --output"
        raise MetarlError(f"Expected a new folder for the session, got {folder}, which exists; {mend}.")
    started: dict[str, Json] = {"settings": settings_to_json(settings), "about": dict(about)}
    files = {CONFIG: encode_json(checkpoint.config, 2), ADAPTATION: encode_json(started, 2)}
    try:
        write_folder(folder, files)
    except OSError as error:
        raise MetarlError(f"The folder {folder} cannot be made: {error.strerror}.") from error
    agent = State(checkpoint.agent.tensors, checkpoint.agent.values)  # acting needs no replay buffer
    save(folder / CHECKPOINTS, replace(checkpoint, agent=agent, physics=trained_under(checkpoint)), keep=1)
    session = Session(folder, settings, dict(about))
    session.write([], [])
    return session


def open_session(folder: Path, episodes: int | None = None) -> Session:
    """Open a session to continue it, from now on for ``episodes`` if they are given.

    Raises:
        MetarlError: if it is none, it is damaged, or it was killed before its agent was there.
    """
    path = folder / ADAPTATION
    if not path.is_file():
        raise MetarlError(f"Expected the folder of metarl adapt, got {folder}, which has no {path.name}.")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        given, about = data["settings"], dict(data["about"])
    except (ValueError, KeyError, TypeError) as error:
        raise MetarlError(f"{path} is damaged; start another session.") from error
    if episodes is not None:
        done = len(read_episodes(folder / EPISODES))
        require(
            episodes >= done,
            f"The session has {done} episodes, so --episodes must be {done} or more",
            episodes,
        )
        given = {**given, "episodes": episodes}
    with naming(path):
        settings = settings_from_json(given)
    if not has_checkpoints(folder):
        raise MetarlError(f"{folder} was killed before its first episode; delete it and start again.")
    open_checkpoint(folder, lambda _: None)
    return Session(folder, settings, about, is_changed=episodes is not None)
