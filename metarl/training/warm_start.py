"""Training that starts from what another run learned."""

from __future__ import annotations

import logging
from pathlib import Path

from metarl.config import AgentConfig
from metarl.errors import MetarlError
from metarl.learning.gradient_descent import is_count
from metarl.meta_learner import MetaLearner
from metarl.sb3.weights import start_from_ppo
from metarl.storage.run_checkpoints import open_checkpoint

_log = logging.getLogger(__name__)


def start_from(agent: MetaLearner, config: AgentConfig, path: Path) -> None:
    """Start an untrained agent from a run's folder, one of its checkpoints, a result, or a PPO file.

    From a run it takes all that the agent had learned, its running scales and optimiser's memory among it. A
    schedule of the learning rate starts anew, and scales learn on for as many iterations as in any run; that
    of the returns starts anew if learning counts another power of the reward.

    Raises:
        MetarlError: if the file or checkpoint is missing or damaged, or of another agent.
    """
    if path.is_file() or path.suffix == ".zip":
        start_from_ppo(agent, path)
        return
    learned = open_checkpoint(path, _log.warning)
    stored = learned.config.get("agent")
    settings = stored if isinstance(stored, dict) else {}
    kind = settings.get("kind")
    if kind != config.kind:
        raise MetarlError(f"Expected a run of {config.kind} to start from, got {path}, which is of {kind}.")
    if learned.agent.segments:
        raise MetarlError(
            f"Expected an agent that keeps no transitions to start from, got {path}, whose {kind} has "
            "those of its own tasks; --resume continues it."
        )
    fresh = agent.state()
    tensors = {name: value for name, value in learned.agent.tensors.items() if not is_count(name)}
    tensors |= {name: value for name, value in fresh.tensors.items() if is_count(name)}
    if settings.get("reward_power", 1.0) != getattr(config, "reward_power", 1.0):
        tensors |= {name: value for name, value in fresh.tensors.items() if "scale.returns." in name}
    values = {**learned.agent.values, **{name: fresh.values[name] for name in fresh.values if is_count(name)}}
    try:
        agent.load_state(learned.agent._replace(tensors=tensors, values=values))
    except MetarlError as error:
        raise MetarlError(f"The run {path} does not fit these settings: {error}") from error
