"""The bank of resets: what it keeps, on disk too, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from metaworld.sawyer_xyz_env import SawyerXYZEnv

from metarl.envs.engines.threads.features import Array
from metarl.envs.metaworld.reset_bank import Constants, ResetBank, Snapshot
from metarl.errors import MetarlError
from support.physics import features, make_bank, rand_vec, start

FAMILY = "push-v3"


@pytest.fixture(scope="module")
def bank() -> Iterator[ResetBank]:
    bank = make_bank([FAMILY])
    yield bank
    bank.close()


@pytest.fixture(scope="module")
def vector(bank: ResetBank) -> Array:
    return rand_vec(bank.environment(FAMILY), 1)


def assert_same(one: Snapshot, other: Snapshot) -> None:
    np.testing.assert_array_equal(one.world.integration, other.world.integration)
    np.testing.assert_array_equal(one.world.features, other.world.features)
    np.testing.assert_array_equal(one.observation, other.observation)
    for mine, yours in zip(one.arm, other.arm, strict=True):
        np.testing.assert_array_equal(mine, yours)
    for named, same in ((one.world.fields, other.world.fields), (one.constants, other.constants)):
        assert named.keys() == same.keys()
        assert [name for name in named if not np.array_equal(named[name], same[name])] == []


def test_snapshot_is_taken_once(bank: ResetBank, vector: Array) -> None:
    assert bank.snapshot(FAMILY, vector) is bank.snapshot(FAMILY, vector.tolist())


def test_snapshot_holds_what_metaworld_returns_and_knows(bank: ResetBank, vector: Array) -> None:
    snapshot, env = bank.snapshot(FAMILY, vector), bank.environment(FAMILY)
    np.testing.assert_array_equal(start(env, FAMILY, vector), snapshot.observation)
    np.testing.assert_array_equal(snapshot.constants["_target_pos"], env._target_pos)
    np.testing.assert_array_equal(snapshot.constants["maxPushDist"], env.maxPushDist)
    goal = bank.model(FAMILY).site("goal").id
    np.testing.assert_array_equal(snapshot.world.fields["site_pos"][goal], env.model.site("goal").pos)


def test_constants_do_not_follow_the_environment(bank: ResetBank, vector: Array) -> None:
    env = bank.environment(FAMILY)
    kept = bank.snapshot(FAMILY, vector).constants["init_left_pad"].copy()
    for _ in range(20):
        env.step(np.ones(4, np.float32))
    assert not np.array_equal(kept, env.init_left_pad)
    np.testing.assert_array_equal(kept, bank.snapshot(FAMILY, vector).constants["init_left_pad"])


def test_rejected_vector_is_an_error_not_an_endless_loop(bank: ResetBank) -> None:
    with pytest.raises(MetarlError, match="push-v3 does not accept the random vector"):
        bank.snapshot(FAMILY, [0.0, 0.8, 0.02, 0.0, 0.8, 0.02])  # the goal is where the puck is
    rand_vec(bank.environment(FAMILY), 2)  # and Meta-World goes on


def test_unknown_family_is_named() -> None:
    with pytest.raises(MetarlError, match="did you mean 'push-v3'"):
        ResetBank({"push-v2": ()}).model("push-v2")


def make_stored(folder: Path) -> ResetBank:
    return ResetBank({FAMILY: features(FAMILY)}, folder=folder)


def test_stored_snapshots_are_read_without_metaworld(
    bank: ResetBank, vector: Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = make_stored(tmp_path)
    writer.prepare([(FAMILY, vector.tolist())])
    writer.close()
    wanted = bank.snapshot(FAMILY, vector)
    monkeypatch.setattr(ResetBank, "_simulate", None)
    assert_same(make_stored(tmp_path).snapshot(FAMILY, vector), wanted)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 and then nothing", None], ids=["empty", "other", "cut"])
def test_damaged_file_is_made_anew(
    damage: bytes | None, vector: Array, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = make_stored(tmp_path)
    writer.prepare([(FAMILY, vector.tolist())])
    writer.close()
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-200] if damage is None else damage)
    reader = make_stored(tmp_path)
    assert list(reader.snapshots(FAMILY)) == []
    assert "damaged" in caplog.text


def test_file_serves_only_the_features_extractor_and_rewards_it_is_for(vector: Array, tmp_path: Path) -> None:
    writer = make_stored(tmp_path)
    writer.prepare([(FAMILY, vector.tolist())])
    writer.close()
    other_features = ResetBank({FAMILY: features(FAMILY)[1:]}, folder=tmp_path)
    other_constants = ResetBank({FAMILY: features(FAMILY)}, folder=tmp_path, constants=goal_only)
    other_rewards = ResetBank({FAMILY: features(FAMILY)}, folder=tmp_path, reward="v1")
    assert list(other_features.snapshots(FAMILY)) == list(other_constants.snapshots(FAMILY)) == []
    assert list(other_rewards.snapshots(FAMILY)) == []
    assert len(list(make_stored(tmp_path).snapshots(FAMILY))) == 1


def goal_only(env: SawyerXYZEnv, family: str) -> Constants:
    assert family == FAMILY
    return {"goal": np.array(env._target_pos)}
