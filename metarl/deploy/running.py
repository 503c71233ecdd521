"""Run a session: episodes one by one, each written down, learned from and judged."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

from metarl.deploy.adaptation import Adaptation, Decision, Plan
from metarl.deploy.clock import Clock, WallClock
from metarl.deploy.environment import CheckedEnv
from metarl.deploy.episodes import (
    STOPS_SESSION,
    UNSAFE,
    Episode,
    Journal,
    episode_file,
    read_episode,
    read_episodes,
    set_aside,
)
from metarl.deploy.loop import Loop, Timing, Workspace
from metarl.deploy.session import Session, open_session, start_session
from metarl.deploy.settings import DeploySettings
from metarl.errors import MetarlError
from metarl.evaluation.physics import Physics, physics_differences
from metarl.meta_learner import MetaLearner, never, steps_to_adapt
from metarl.spaces import action_size
from metarl.storage.locks import locked
from metarl.storage.run_checkpoints import open_checkpoint
from metarl.storage.run_folder import ADAPTATION
from metarl.success_bonus import BonusTasks
from metarl.system.threads import one_thread
from metarl.text import count
from metarl.training import runs
from metarl.training.adapted_agent import AdaptedAgent
from metarl.training.divergence import naming_agent
from metarl.training.experiment import Experiment
from metarl.types import Json

logger = logging.getLogger("metarl.deploy")

Trained = str | os.PathLike[str]  # folder of a run, or one checkpoint's
NOTHING: Mapping[str, Json] = MappingProxyType({})


@dataclass(frozen=True)
class Outcome:
    """Results of a session."""

    folder: Path
    agent: MetaLearner  # as it was trained
    episodes: tuple[Episode, ...]  # all whole ones, those before a stop too
    adaptation: Adaptation
    timing: Timing  # of the episodes since the session's last start
    stopped: str = ""  # why it ended before its last episode; empty if it did not

    @property
    def decisions(self) -> list[Decision]:
        """Decisions on each policy: kept or rolled back."""
        return self.adaptation.decisions

    @property
    def adapted(self) -> AdaptedAgent:
        """The agent with the kept policy; the session's folder opens as the same."""
        return AdaptedAgent(self.agent, self.adaptation.kept_path)

    def summary(self) -> str:
        """Describe the change of returns and undone adaptations."""
        returns, decisions = self.adaptation.returns, self.decisions
        tried, undone = len(decisions), sum(decision.outcome != "kept" for decision in decisions)
        said = f"{count(len(self.episodes), 'episode')}, {count(tried, 'adaptation')}, {undone} undone"
        if self.adaptation.on_trial:
            said += ", another not yet judged: more episodes decide"
        if not returns[0]:
            return f"{said}."
        unadapted = sum(returns[0]) / len(returns[0])
        if len(returns) == 1 or not returns[-1]:
            return f"{said}; return {unadapted:.2f}, unadapted."
        adapted = sum(returns[-1]) / len(returns[-1])
        how = f"{abs(adapted - unadapted):.2f} {'better' if adapted >= unadapted else 'worse'}"
        return f"{said}; return {unadapted:.2f} unadapted, {adapted:.2f} adapted, {how}."


def adapt(
    trained: Trained,
    env: object,
    folder: str | os.PathLike[str],
    settings: DeploySettings | None = None,
    *,
    workspace: Workspace | None = None,
    clock: Clock | None = None,
    about: Mapping[str, Json] = NOTHING,
    should_stop: Callable[[], bool] = never,
) -> Outcome:
    """Adapt a trained agent on one environment.

    Args:
        trained: folder of a run, or one checkpoint's.
        env: a ``gymnasium.Env`` with the sizes of the training's spaces; it stays open.
        folder: of the new session.
        settings: how to adapt, what is safe, what is rolled back.
        workspace: whether an observation is where the robot may be; an episode ends outside.
        clock: real time by default.
        about: is written to the folder.
        should_stop: is asked before each step.

    Raises:
        Stopped: after ``should_stop``; :func:`go_on` goes on.
        MetarlError: if the spaces differ, the folder exists, or the environment fails; what was experienced
            is in the folder.
    """
    settings, path = settings or DeploySettings(), Path(trained)
    if (path / ADAPTATION).is_file():
        raise MetarlError(
            f"Expected a run, got a session, {path}; resume it with: metarl adapt --resume {path}"
        )
    experiment = runs.open_trained(path, logger.warning)
    CheckedEnv(env, experiment.suite, settings.safety, settings.actions)  # refuses before a folder is made
    settings = _completed(settings, experiment)
    checkpoint = open_checkpoint(path, lambda _: None)  # said above
    physics: dict[str, Json] = {"trained": runs.trained_under(checkpoint), "evaluated": _physics_of(env)}
    for sentence in physics_differences(physics):
        logger.warning(sentence)
    session = start_session(Path(folder), checkpoint, settings, {**about, "physics": physics})
    return _run(session, experiment, env, workspace, clock or WallClock(), should_stop)


def _physics_of(env: object) -> Physics:
    """Return the physics of an environment; nothing of a robot, or where it is unknown."""
    model: object = getattr(getattr(env, "unwrapped", env), "model", None)
    if type(model).__name__ != "MjModel":
        return {}
    return {"engine": "mujoco", "mujoco": metadata.version("mujoco")}


def go_on(
    folder: str | os.PathLike[str],
    env: object,
    *,
    episodes: int | None = None,
    workspace: Workspace | None = None,
    clock: Clock | None = None,
    should_stop: Callable[[], bool] = never,
) -> Outcome:
    """Go on with a session that was stopped, or for more episodes.

    Args:
        env: as for :func:`adapt`.
        episodes: of the whole session, if not as many as before.
        workspace: as for :func:`adapt`.
        clock: real time by default.
        should_stop: is asked before each step.

    Raises:
        MetarlError: as :func:`adapt`, or if the folder is no session.
    """
    session = open_session(Path(folder), episodes)
    # as it was trained: the episodes lead to the adapted one again
    experiment = runs.open_trained(session.folder, logger.warning, adapted=False)
    return _run(session, experiment, env, workspace, clock or WallClock(), should_stop)


def _completed(settings: DeploySettings, experiment: Experiment) -> DeploySettings:
    """Return the settings, with a run's defaults."""
    agent, measured = experiment.agent, experiment.config.evaluation
    steps = steps_to_adapt(agent) if settings.adaptation_steps is None else settings.adaptation_steps
    each = 1 if agent.trial == "sequential" else settings.adaptation_episodes or measured.adaptation_episodes
    return replace(
        settings,
        adaptation_steps=steps,
        adaptation_episodes=each,
        episodes=settings.episodes or (steps + 1) * each,
        horizon=settings.horizon or experiment.suite.horizon,
    )


def _run(
    session: Session,
    experiment: Experiment,
    env: object,
    workspace: Workspace | None,
    clock: Clock,
    should_stop: Callable[[], bool],
) -> Outcome:
    settings = session.settings
    checked = CheckedEnv(env, experiment.suite, settings.safety, settings.actions)
    if isinstance(experiment.suite, BonusTasks):
        logger.info("A step with success is paid %g more, as in training.", experiment.suite.bonus)
    loop = Loop(checked, clock, settings.frequency, settings.safety, workspace, should_stop)
    assert settings.horizon and settings.adaptation_episodes and settings.adaptation_steps is not None
    plan = Plan(
        steps=settings.adaptation_steps,
        episodes=settings.adaptation_episodes,
        horizon=settings.horizon,
        action_size=action_size(experiment.suite.action_space),
        deterministic=settings.deterministic,
        seed=settings.seed,
        guard=settings.guard,
    )
    with locked(session.folder), naming_agent(experiment.config.agent):
        session.write_changes()
        adaptation = Adaptation(experiment.agent, plan)
        going = _Going(session, adaptation, loop)
        stopped = going.to_the_end()
    return Outcome(session.folder, experiment.agent, tuple(going.episodes), adaptation, loop.timing, stopped)


@dataclass
class _Going:
    """A session that goes on episode by episode."""

    session: Session
    adaptation: Adaptation
    loop: Loop
    episodes: list[Episode] = field(default_factory=list)

    def to_the_end(self) -> str:
        """Run all episodes that are left; return why it stopped early, if it did."""
        # what is on disk leads to the policy that acts next
        for episode in read_episodes(self.session.episodes):
            self.adaptation.take(len(self.episodes), episode)
            self.episodes.append(episode)
        if self.episodes:
            logger.info("Went on after %s.", count(len(self.episodes), "episode"))
        stopped = ""
        while not stopped and len(self.episodes) < self.session.settings.episodes:
            episode = self._experience(len(self.episodes))
            self._tell(episode)
            for decision in self._take(episode):
                logger.log(
                    logging.INFO if decision.outcome == "kept" else logging.WARNING, "%s", decision.sentence()
                )
            if len(self.episodes) < self.session.settings.episodes:
                stopped = self._reason_to_stop()
        self.session.write(self.adaptation.decisions, self.adaptation.kept_path)
        return stopped

    @one_thread()
    def _experience(self, number: int) -> Episode:
        """Run an episode; return its record."""
        path = episode_file(self.session.episodes, number)
        if path.exists():
            aside = set_aside(path)
            if aside is not None:
                logger.warning(
                    "Episode %d was interrupted; what was experienced is in %s.", number + 1, aside.name
                )
        journal = Journal(path)
        try:
            self.loop.run(self.adaptation.acting(number), journal, self.session.settings.horizon or 1)
        finally:
            journal.close()
        episode = read_episode(path)
        assert episode is not None  # it has just been finished
        return episode

    def _take(self, episode: Episode) -> list[Decision]:
        """Learn from an episode; record the decision."""
        decided = self.adaptation.take(len(self.episodes), episode)
        self.episodes.append(episode)
        if decided:
            self.session.write(self.adaptation.decisions, self.adaptation.kept_path)
        return decided

    def _tell(self, episode: Episode) -> None:
        """Log an episode's outcome, and every limit that acted in it."""
        env, steps = self.loop.env, len(episode.rewards)
        success = {None: "", True: ", solved", False: ", not solved"}[episode.solved]
        limits = {"range": env.clipped, "rate of change": env.slowed}
        limited = "".join(f", {limit} limited in {acted}" for limit, acted in limits.items() if acted)
        logger.info(
            "Episode %d of %d (%s): return %.2f%s, %s%s.",
            len(self.episodes) + 1,
            self.session.settings.episodes,
            self.adaptation.label,
            episode.total,
            success,
            count(steps, "step"),
            limited,
        )
        if episode.end in UNSAFE:
            logger.warning("Safety ended the episode: %s.", episode.end)

    def _reason_to_stop(self) -> str:
        """Return why no further episode may begin, if there is a reason."""
        end = self.episodes[-1].end
        if end in STOPS_SESSION:
            return str(end)
        most = self.session.settings.safety.max_stopped
        if len(self.episodes) >= most and all(episode.end in UNSAFE for episode in self.episodes[-most:]):
            return f"safety ended {count(most, 'episode')} in a row"
        return ""
