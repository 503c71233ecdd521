"""The control loop: one episode in real time, written down step by step."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from metarl.deploy.clock import Clock, Pacer, Spread, spread_of
from metarl.deploy.environment import CheckedEnv, Seen
from metarl.deploy.episodes import UNSAFE, End, Ended, Journal, Step
from metarl.deploy.policy import Acting, Vector
from metarl.deploy.settings import SafetySettings
from metarl.errors import MetarlError, Stopped, require
from metarl.meta_learner import never
from metarl.plugins.user_files import at_fault
from metarl.step_values import TRUTH, UnfitValue, truth

logger = logging.getLogger("metarl.deploy")

Workspace = Callable[[Vector], bool]  # whether an observation ``[O]`` is inside the workspace


@dataclass
class Timing:
    """How a loop kept its time, in seconds."""

    periods: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)  # of the policy
    missed: int = 0  # deadlines
    dropped: int = 0  # observations that were missing

    @property
    def period(self) -> Spread | None:
        """From each step to the next."""
        return spread_of(self.periods)

    @property
    def latency(self) -> Spread | None:
        """Of the policy."""
        return spread_of(self.latencies)


@dataclass(frozen=True)
class Loop:
    """An environment, the clock that it runs on, and what must hold."""

    env: CheckedEnv
    clock: Clock
    frequency: float  # steps a second; 0 leaves the pace to the environment
    safety: SafetySettings
    workspace: Workspace | None = None
    should_stop: Callable[[], bool] = never
    timing: Timing = field(default_factory=Timing)  # of all episodes so far

    def run(self, acting: Acting, journal: Journal, horizon: int) -> End:
        """Run an episode to its end.

        An environment that can hold still does so whenever the episode ends: while the agent learns, nothing
        controls it.

        Raises:
            Stopped: if ``should_stop`` says so before the reset or a step.
            MetarlError: if the environment fails, or the policy's first action is not finite.
        """
        if self.should_stop():
            raise Stopped
        pacer = Pacer(self.clock, self.frequency)
        paces_itself = self.env.set_pace(pacer.wait)
        try:
            observation = self.env.reset()
            require(
                self._inside(observation), "The first observation must be inside the workspace", "outside"
            )
            pacer.start()
            ended = self._steps(acting, journal, horizon, observation, pacer, waits=not paces_itself)
        except BaseException:
            try:
                self.env.halt()
            except MetarlError as error:  # the first error is the one that says what went wrong
                logger.error("%s", error)
            raise
        finally:
            self.timing.periods += pacer.periods
            self.timing.missed += pacer.missed
        try:
            self.env.halt()
        finally:
            journal.finish(*ended)
        return ended.end

    def _steps(
        self,
        acting: Acting,
        journal: Journal,
        horizon: int,
        observation: Vector,
        pacer: Pacer,
        *,
        waits: bool,
    ) -> Ended:
        """Take steps to their end."""
        total, missing, end, terminated = 0.0, 0, None, False
        while end is None:
            if self.should_stop():
                raise Stopped
            # choose
            begin = self.clock.now()
            action = acting.act(observation)
            drawn = action.actions.view(-1).cpu().numpy()
            latency = self.clock.now() - begin
            if journal.steps and not np.isfinite(drawn).all():  # at the first step, nothing could be learned
                return Ended(End.NOT_FINITE, observation, terminated=False)
            # send, and write down what came of it before anything else is done
            seen = self.env.send(drawn)
            log_prob = float(action.log_probs)
            journal.step(Step(observation, drawn, log_prob, seen.sent, seen.reward, seen.success, latency))
            acting.take(drawn, seen.reward)
            self.timing.latencies.append(latency)
            # a missing observation is replaced by the last one
            missing = 0 if seen.observation is not None else missing + 1
            self.timing.dropped += missing > 0
            observation = observation if seen.observation is None else seen.observation
            total, terminated = total + seen.reward, seen.terminated
            end = self._end(seen, observation, total, missing, pacer.missed)
            if end is None and journal.steps >= horizon:
                end = End.HORIZON
            # keep the pace, unless the robot is to hold still at once
            if waits and end not in UNSAFE:
                pacer.wait()
        return Ended(end, observation, terminated)

    def _end(self, seen: Seen, observation: Vector, total: float, missing: int, missed: int) -> End | None:
        """Return why the episode is over after a step, if it is; what safety says goes first."""
        safety = self.safety
        over = {
            End.ASKED: seen.asks_to_stop,
            End.WORKSPACE: not self._inside(observation),
            End.RETURN: safety.min_return is not None and total < safety.min_return,
            End.DEADLINES: missed > safety.max_missed,
            End.DROPPED: missing > safety.max_dropped,
            End.TERMINATED: seen.terminated,
            End.TRUNCATED: seen.truncated,
        }
        return next((end for end, holds in over.items() if holds), None)

    def _inside(self, observation: Vector) -> bool:
        if self.workspace is None:
            return True
        try:
            inside = self.workspace(observation.copy())  # it may write to it
        except (Exception, SystemExit) as error:
            raise at_fault(error, "The workspace cannot be judged") from error
        try:
            return truth(inside, "the workspace")
        except UnfitValue as error:
            raise MetarlError(f"Expected the workspace to return {TRUTH}, got {error.got}.") from error
