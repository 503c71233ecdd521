"""Inputs of a policy with a memory: changes by hand, and step by step as over whole trials."""

from __future__ import annotations

import pytest
import torch

from metarl.learning.recurrent_inputs import (
    ChangeScales,
    Features,
    blank_last_step,
    changes_in_trials,
    changes_since,
    remembered_step,
)
from metarl.learning.running_scale import no_moments, with_batch
from metarl.meta_learner import Inputs

START = [True, False, False, True, False, False]
REWARDS = [0.0, 1.0, 3.0, 6.0, 10.0, 15.0]  # of the step before
OBSERVATIONS = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]


def two_episodes() -> Inputs:
    """One trial of two episodes with three steps each, ``[1, 1, 6, ...]``."""
    return Inputs(
        torch.tensor(OBSERVATIONS).view(1, 1, 6, 1),
        torch.zeros(1, 1, 6, 1),
        torch.tensor(REWARDS).view(1, 1, 6),
        torch.tensor(START).view(1, 1, 6),
        torch.ones(1, 1, 6, dtype=torch.bool),
    )


def test_changes_start_anew_with_each_episode() -> None:
    changes = changes_in_trials(two_episodes())
    assert changes.observations.flatten().tolist() == [0, 1, 2, 0, 8, 16]
    # an episode's first step has no reward before it, so none has changed by its second
    assert changes.rewards.flatten().tolist() == [0, 0, 2, 0, 0, 5]


def test_changes_step_by_step_are_those_of_the_whole_trial() -> None:
    inputs = two_episodes()
    whole, memory = changes_in_trials(inputs), blank_last_step(1, 1, 1, torch.device("cpu"))
    for step in range(6):
        now = Inputs(*(part[:, :, step] for part in inputs))
        changes = changes_since(memory, now)
        assert torch.equal(changes.observations, whole.observations[:, :, step])
        assert torch.equal(changes.rewards, whole.rewards[:, :, step])
        memory = remembered_step(now)


def test_features_are_scaled_by_hand() -> None:
    inputs = two_episodes()
    observations = with_batch(no_moments(1), torch.tensor([[1.0], [3.0]]))  # mean 2, deviation 1
    rewards = with_batch(no_moments(), torch.tensor([0.0, 4.0]))  # deviation 2
    changes = ChangeScales(
        with_batch(no_moments(1), torch.tensor([[4.0], [12.0]])),  # mean 8, deviation 4
        with_batch(no_moments(), torch.tensor([0.0, 1.0])),  # deviation 0.5
    )
    features = Features.by(observations.scale, rewards, changes, 1)(inputs, changes_in_trials(inputs))
    assert features.shape == (1, 1, 6, 6)
    assert features[0, 0, 5].tolist() == pytest.approx([10.0, 0.0, 7.5, 0.0, 2.0, 10.0])  # 30 and 10 at most
    assert features[0, 0, 3].tolist() == pytest.approx([6.0, 0.0, 3.0, 1.0, -2.0, 0.0])


def test_features_without_changes_are_the_plain_inputs() -> None:
    inputs = two_episodes()
    inputs = inputs._replace(previous_actions=inputs.previous_actions - 50.0)
    plain = Features.by(no_moments(1).scale, no_moments(), None, 1)(inputs)
    assert plain.shape == (1, 1, 6, 4)
    assert plain[0, 0, 2].tolist() == [4.0, -50.0, 3.0, 0.0]  # an action is neither scaled nor bounded


def test_unread_entries_are_zero_and_the_others_bounded() -> None:
    inputs = two_episodes()
    both = torch.cat([inputs.observations, inputs.observations], dim=-1)
    inputs = inputs._replace(observations=both)
    changes = ChangeScales(no_moments(2), no_moments())
    features = Features.by(no_moments(2).scale, no_moments(), changes, 1, limit=3.0, unread=[0])
    read = features(inputs, changes_in_trials(inputs))[0, 0]
    assert read[:, 0].tolist() == read[:, 5].tolist() == [0] * 6
    assert read[:, 1].tolist() == [1, 2, 3, 3, 3, 3]
    assert read[:, 6].tolist() == [0, 1, 2, 0, 8, 10]  # changes keep their own bound
