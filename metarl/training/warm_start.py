"""Training that starts from what another run learned."""

from __future__ import annotations

import logging
from pathlib import Path

from metarl.config import AgentConfig
from metarl.errors import MetarlError
from metarl.meta_learner import MetaLearner
from metarl.sb3.weights import start_from_ppo
from metarl.storage.checkpoints import Checkpoint, load, load_newest
from metarl.storage.run_folder import CHECKPOINTS

_log = logging.getLogger(__name__)


def start_from(agent: MetaLearner, config: AgentConfig, path: Path) -> None:
    """Start an untrained agent from a run's folder, one of its checkpoints, or a PPO file.

    From a run it takes all that the agent had learned, its running scales and optimiser's memory among it.

    Raises:
        MetarlError: if the file or checkpoint is missing or damaged, or of another agent.
    """
    if not path.is_dir():
        start_from_ppo(agent, path)
        return
    learned = _checkpoint(path)
    stored = learned.config.get("agent")
    kind = stored.get("kind") if isinstance(stored, dict) else None
    if kind != config.kind:
        raise MetarlError(f"Expected a run of {config.kind} to start from, got {path}, which is of {kind}.")
    if learned.agent.segments:
        raise MetarlError(
            f"Expected an agent that keeps no transitions to start from, got {path}, whose {kind} has "
            "those of its own tasks; --resume goes on with it."
        )
    try:
        agent.load_state(learned.agent)
    except MetarlError as error:
        raise MetarlError(f"The run {path} does not fit these settings: {error}") from error


def _checkpoint(path: Path) -> Checkpoint:
    if path.absolute().parent.name == CHECKPOINTS:
        return load(path, with_segments=False)
    return load_newest(path / CHECKPOINTS, _log.warning, with_segments=False)
