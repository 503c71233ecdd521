"""Adapting under guard: a new policy stays only if it is near the old one and no worse than a bound.

This is a function of the episodes alone. Going on after a stop takes the episodes on disk once more, and so
comes to the same policy.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np
import torch

from metarl.deploy.episodes import UNSAFE, Episode
from metarl.deploy.policy import Acting, Policy, Slot, divergence
from metarl.deploy.settings import GuardSettings
from metarl.functional.random_streams import Purpose, make_rng
from metarl.meta_learner import MetaLearner, inputs_at_start
from metarl.rollouts.collect import join_episodes
from metarl.system.threads import one_thread
from metarl.text import count
from metarl.training.divergence import acts_finitely
from metarl.types import Json, Rollout


@dataclass(frozen=True)
class Plan:
    """How often a policy adapts, and from what."""

    steps: int  # adaptations that are tried
    episodes: int  # episodes that each learns from
    horizon: int
    action_size: int
    deterministic: bool
    seed: int
    guard: GuardSettings


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Decision on an adapted policy, and its reason."""

    attempt: int  # counted from 1
    # refused policies never acted; those rolled back did in few episodes
    outcome: Literal["kept", "rolled back", "refused"]
    reason: str
    # from the policy before, in nats an action; None where the agent shows no distribution, or has several
    kl: float | None
    before: float  # mean return of the policy before
    episodes_before: int  # number of its episodes
    after: float | None  # mean return of the new policy's episodes on trial; None of a refused one
    episodes_after: int  # number of them
    bound: float  # least mean return with which the policy is kept

    def sentence(self) -> str:
        """Describe the decision, and how much better or worse adapting made things."""
        moved = "" if self.kl is None else f", KL {self.kl:.3g}"
        mean = f"{self.before:.2f} in {count(self.episodes_before, 'episode')} before"
        if self.after is None:
            return f"Adaptation {self.attempt} refused: {self.reason}; return {mean}{moved}."
        change = self.after - self.before
        how = f"{abs(change):.2f} {'better' if change >= 0 else 'worse'}"
        said = f"return {self.after:.2f} in {count(self.episodes_after, 'episode')}, {how} than {mean}{moved}"
        return f"Adaptation {self.attempt} {self.outcome}: {self.reason}; {said}."

    def to_json(self) -> dict[str, Json]:
        """Return the decision as plain JSON."""
        data = asdict(self)
        return {**data, "kl": None if self.kl is None or math.isinf(self.kl) else self.kl}


class Adaptation:
    """The policy of a session, as its episodes have made it."""

    def __init__(self, agent: MetaLearner, plan: Plan) -> None:
        self._agent, self._plan = agent, plan
        self.policy = Policy(agent.initial_actor(1, self._rng("start", 0)))  # which acts in the next episode
        self.path: tuple[Rollout, ...] = ()  # the experience learned from, by step
        self.decisions: list[Decision] = []
        self.returns: list[list[float]] = [[]]
        """Returns of each policy that was kept, the unadapted one first."""
        self._pool: list[Rollout] = []
        self._attempts = 0
        self._trial: _Trial | None = None

    @property
    def on_trial(self) -> bool:
        """Whether the next episode decides about a policy."""
        return self._trial is not None

    @property
    def kept_path(self) -> tuple[Rollout, ...]:
        """The experience that the newest kept policy learned from, by step."""
        return self.path if self._trial is None else self._trial.path

    @property
    def label(self) -> str:
        """Name of the policy that acts; one on trial counts the step that is judged."""
        adapted = len(self.path)
        return f"after {count(adapted, 'adaptation')}" if adapted else "unadapted"

    def acting(self, episode: int) -> Acting:
        """Return the policy at the start of an episode, counted from 0."""
        generator = torch.Generator(self.policy.actor.device)
        generator.manual_seed(int(self._rng("episode", episode).integers(2**63)))
        plan = self._plan
        return Acting(
            self.policy,
            plan.action_size,
            generator,
            deterministic=plan.deterministic,
            slot=Slot(len(self._pool) % plan.episodes, plan.episodes),
        )

    @one_thread()
    def take(self, number: int, episode: Episode) -> list[Decision]:
        """Learn from the next episode; return the decision.

        Raises:
            MetarlError: if the agent cannot adapt from it.
        """
        decided = len(self.decisions)
        rollout = episode.rollout(self.acting(number), self._plan.horizon)
        self._pool.append(rollout)
        if self._trial is None:
            self.returns[-1].append(episode.total)
        else:
            self._judge(self._trial, episode)
        if not self.on_trial and self._attempts < self._plan.steps and len(self._pool) >= self._plan.episodes:
            self._attempt()
        return self.decisions[decided:]

    def _attempt(self) -> None:
        """Adapt, and put the new policy on trial unless it is too far away."""
        self._attempts += 1
        experience, self._pool = join_episodes(self._pool[-self._plan.episodes :]), []
        new = self.policy.adapted(self._agent, experience, self._rng("adapt", self._attempts))
        trial = _Trial(self.policy, self.path, divergence(self.policy, new, experience))
        guard = self._plan.guard
        states = inputs_at_start(experience.observations[experience.mask][None], self._plan.action_size)
        if not acts_finitely(new.actor, states):
            self._decide(trial, self._bound(1), "refused", "its actions are not finite")
        elif guard.enabled and trial.kl is not None and trial.kl > guard.max_kl:
            self._decide(trial, self._bound(1), "refused", f"it is more than {guard.max_kl:g} nats away")
        else:
            self.policy, self.path, self._trial = new, (*self.path, experience), trial

    def _judge(self, trial: _Trial, episode: Episode) -> None:
        """Keep the new policy or roll it back, or wait for another episode."""
        guard, returns = self._plan.guard, trial.returns
        returns.append(episode.total)
        bound = self._bound(len(returns))
        worse, unsafe = np.mean(returns) < bound, episode.end in UNSAFE
        if guard.enabled and (worse or unsafe):
            reason = str(episode.end) if unsafe else f"its return is below the bound {bound:.2f}"
            self._decide(trial, bound, "rolled back", reason)
            self.policy, self.path = trial.policy, trial.path
            self._pool, self._trial = [], None
        elif not guard.enabled or len(returns) >= min(guard.episodes, self._plan.episodes):
            reason = "its return is within the bound" if guard.enabled else "nothing guards it"
            self._decide(trial, bound, "kept", reason)
            self.returns.append(returns)
            self._trial = None

    def _decide(
        self, trial: _Trial, bound: float, outcome: Literal["kept", "rolled back", "refused"], reason: str
    ) -> None:
        before, after = self.returns[-1], trial.returns
        self.decisions.append(
            Decision(
                attempt=self._attempts,
                outcome=outcome,
                reason=reason,
                kl=trial.kl,
                before=float(np.mean(before)),
                episodes_before=len(before),
                after=float(np.mean(after)) if after else None,
                episodes_after=len(after),
                bound=bound,
            )
        )

    def _bound(self, episodes: int) -> float:
        """Return the least mean return that keeps a new policy.

        bound = mean - max(deviations * std / sqrt(episodes), max_drop * |mean|), over the episodes of the
        policy before.
        """
        returns, guard = np.asarray(self.returns[-1]), self._plan.guard
        mean, std = returns.mean(), returns.std(ddof=1) if len(returns) > 1 else 0.0
        return float(mean - max(guard.deviations * std / math.sqrt(episodes), guard.max_drop * abs(mean)))

    def _rng(self, purpose: str, number: int) -> np.random.Generator:
        return make_rng(self._plan.seed, Purpose.DEPLOYMENT, purpose, number)


@dataclass(frozen=True)
class _Trial:
    """A new policy's predecessor, and how it does."""

    policy: Policy
    path: tuple[Rollout, ...]
    kl: float | None
    returns: list[float] = field(default_factory=list)  # of the new policy
