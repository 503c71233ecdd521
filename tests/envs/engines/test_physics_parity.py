"""The batched physics against Meta-World's own environments, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator

import mujoco
import numpy as np
import pytest

from metarl.envs.engines.threads.batched import StepperName
from metarl.envs.engines.threads.features import Array, read
from metarl.envs.metaworld.reset_bank import ResetBank
from support.physics import (
    FAMILIES,
    STEPPERS,
    Fleet,
    features,
    integration_state,
    make_bank,
    rand_vec,
    random_actions,
    start,
)


@pytest.fixture(scope="module", params=FAMILIES)
def bank(request: pytest.FixtureRequest) -> Iterator[ResetBank]:
    """A bank of one family; the tests of a family come together, as its environment is dear to make."""
    bank = make_bank([request.param])
    yield bank
    bank.close()


def check_family(bank: ResetBank, steps: int, seed: int) -> None:
    """Hold every stepper, with and without reuse, to Meta-World's states and features after each step."""
    family = bank.families[0]
    env = bank.environment(family)
    vector = rand_vec(env, seed)
    snapshot = bank.snapshot(family, vector)
    kinds = [(stepper, reuse) for stepper in STEPPERS for reuse in (True, False)]
    fleets = [Fleet(bank, [family], stepper, reuse_forward=reuse) for stepper, reuse in kinds]
    for fleet in fleets:
        fleet.reset(0, snapshot)
    np.testing.assert_array_equal(snapshot.observation, start(env, family, vector))
    np.testing.assert_array_equal(snapshot.world.integration, integration_state(env))
    for actions in random_actions(seed, steps, 1):
        env.step(actions[0])
        wanted = read(env.model, env.data, features(family))
        for fleet in fleets:
            fleet.step(actions)
            assert np.array_equal(fleet.rows[0], wanted)
    for fleet in fleets:
        np.testing.assert_array_equal(fleet.state(0), integration_state(env))
        assert not fleet.physics.flags.any()
        fleet.physics.close()


def test_states_and_features_equal_metaworld(bank: ResetBank) -> None:
    check_family(bank, steps=100, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_whole_episodes_equal_metaworld(bank: ResetBank, seed: int) -> None:
    check_family(bank, steps=500, seed=seed)


def test_reset_edits_no_model_field_but_one_body_and_one_site(bank: ResetBank) -> None:
    family = bank.families[0]
    env = bank.environment(family)
    rand_vec(env, 4)
    before = {name: np.array(values) for name, values in _fields(env.model)}
    rand_vec(env, 5)
    after = dict(_fields(env.model))
    changed = {
        name for name, values in after.items() if not np.array_equal(values, before[name], equal_nan=True)
    }
    assert changed <= {"body_pos", "site_pos"}
    assert all((after[name] != before[name]).any(axis=1).sum() == 1 for name in changed)


def test_slim_model_drops_what_no_contact_can_come_of(bank: ResetBank) -> None:
    family = bank.families[0]
    full, slim = bank.environment(family).model, bank.model(family)
    looked_at = {slim.body(body).name for body in np.flatnonzero(slim.body_contype | slim.body_conaffinity)}
    assert "right_l6" not in looked_at  # its geom has bits that no other has
    assert {"right_hand", "rightpad", "leftpad"} <= looked_at
    assert slim.ngeom < full.ngeom
    assert slim.vis.global_.bvactive == 0


def _fields(model: mujoco.MjModel) -> list[tuple[str, Array]]:
    named = [(name, getattr(model, name)) for name in dir(model) if not name.startswith("_")]
    return [(name, values) for name, values in named if isinstance(values, np.ndarray)]


@pytest.mark.parametrize("stepper", STEPPERS)
def test_a_used_world_restores_to_what_a_new_one_does(stepper: StepperName) -> None:
    family = "pick-place-v3"
    bank = make_bank([family])
    first, second = (bank.snapshot(family, rand_vec(bank.environment(family), seed)) for seed in (6, 7))
    fleet = Fleet(bank, [family] * 2, stepper)
    fleet.reset(0, first)
    fleet.reset(1, second)
    for actions in random_actions(6, 30, 2):
        fleet.step(actions)
    for world in range(2):
        fleet.reset(world, second)
    for actions in random_actions(7, 30, 1):
        fleet.step(np.repeat(actions, 2, axis=0))
    np.testing.assert_array_equal(fleet.rows[0], fleet.rows[1])
    fresh = Fleet(bank, [family], stepper)
    fresh.reset(0, second)
    for actions in random_actions(7, 30, 1):
        fresh.step(actions)
    np.testing.assert_array_equal(fleet.state(0), fresh.state(0))
    fleet.physics.close()
    fresh.physics.close()
    bank.close()
