"""Whole trials: gaps are closed, and each step comes with what the policy was given before it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from metarl.errors import MetarlError
from metarl.meta_learner import Action, Inputs
from metarl.rollouts.collect import collect, keep_idle
from metarl.rollouts.history import join_trials
from metarl.types import Params, Rollout
from support import tiny

TASKS = [tiny.climb(0.0, summit=3.0), tiny.climb(10.0)]


@dataclass
class Listener:
    """Remembers the sum of the rewards it was paid, acts on it, and keeps every input for the test."""

    heard: list[Inputs] = field(default_factory=list)
    device = torch.device("cpu")

    def initial_memory(self, episodes: int) -> Params:
        return {"paid": torch.zeros(len(TASKS), episodes)}

    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        self.heard.append(Inputs(*(part.clone() for part in inputs)))
        paid = memory["paid"] + inputs.previous_rewards
        actions = 1 + 0.1 * paid.unsqueeze(-1)
        return Action(actions, paid, {"value": 2 * paid}), {"paid": paid}


def trial(actor: Listener, episodes: int = 3) -> list[Rollout]:
    env, rng = tiny.ClimbEnv(4, horizon=4), np.random.default_rng(0)
    rollouts: list[Rollout] = []
    for _ in range(episodes):
        after = rollouts[-1] if rollouts else None
        rollouts.append(collect(env, TASKS, actor, episodes=2, horizon=4, rng=rng, after=after))
    return rollouts


def of_slot(heard: Sequence[Inputs], slot: tuple[int, int]) -> list[Inputs]:
    return [Inputs(*(part[slot] for part in step)) for step in heard if step.live[slot]]


def test_inputs_of_a_trial_are_those_that_the_policy_was_given() -> None:
    actor = Listener()
    trials = join_trials(trial(actor))
    for slot in ((0, 0), (0, 1), (1, 0), (1, 1)):
        given = of_slot(actor.heard, slot)
        live = int(trials.live[slot].sum())
        assert live == len(given)
        for name in Inputs._fields:
            found = getattr(trials.inputs, name)[slot][:live]
            torch.testing.assert_close(found, torch.stack([getattr(step, name) for step in given]))


def test_gaps_are_closed_and_what_follows_a_trial_is_zero() -> None:
    rollouts = trial(Listener())
    trials = join_trials(rollouts)
    lengths = torch.stack([rollout.mask.sum(dim=2) for rollout in rollouts]).sum(dim=0)
    assert lengths[0, 0] < lengths[1, 0]  # the first task's episodes end early
    assert trials.live.shape[2] == lengths.max()
    assert torch.equal(trials.live, torch.arange(int(lengths.max())) < lengths.unsqueeze(-1))
    for values in (*trials.inputs, trials.actions, trials.log_probs, trials.rewards, *trials.extras.values()):
        assert not values[~trials.live].any()
    assert torch.equal(trials.extras["value"], 2 * trials.log_probs)


def test_memory_lasts_over_the_episodes_of_a_trial() -> None:
    rollouts = trial(Listener())
    for before, after in itertools.pairwise(rollouts):
        assert torch.equal(after.initial_memory["paid"], before.final_memory["paid"])
    paid = sum(rollout.episode_returns for rollout in rollouts)
    last = rollouts[-1]
    ends = last.mask.sum(dim=2, keepdim=True) - 1
    owed = last.rewards.gather(2, ends).squeeze(2)  # the very last reward is not yet heard
    torch.testing.assert_close(last.final_memory["paid"], paid - owed)


def test_new_trials_start_with_a_blank_memory() -> None:
    actor = Listener()
    first, second = trial(actor, episodes=1)[0], trial(actor, episodes=1)[0]
    assert not second.initial_memory["paid"].any()
    assert torch.equal(first.actions, second.actions)


def test_memory_of_a_dead_slot_stays() -> None:
    old, new = {"a": torch.zeros(2, 1, 3)}, {"a": torch.ones(2, 1, 3)}
    kept = keep_idle(old, new, torch.tensor([[True], [False]]))
    assert kept["a"].tolist() == [[[1, 1, 1]], [[0, 0, 0]]]


def test_trial_without_episodes_is_refused() -> None:
    with pytest.raises(MetarlError, match="at least one episode"):
        join_trials([])
