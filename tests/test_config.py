"""Configs: JSON there and back, and bad values refused in one sentence."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metarl.agents.maml_trpo import MAMLTRPOConfig
from metarl.agents.promp import ProMPConfig
from metarl.config import (
    AgentConfig,
    CheckpointConfig,
    EvaluationConfig,
    ExperimentConfig,
    MeasurementConfig,
    SamplingConfig,
    SuiteConfig,
    construct,
    from_json,
    to_json,
)
from metarl.envs.toy.point import PointConfig
from metarl.errors import MetarlError, unknown_name
from metarl.learning.trust_region import TrustRegionConfig
from metarl.types import Json

CONFIG = ExperimentConfig(
    suite=PointConfig(horizon=7, terminate_at_goal=True),
    agent=MAMLTRPOConfig(hidden_sizes=(3, 4, 5), inner_lr=0.05, first_order=True, advantage_norm="var"),
    name="some run",
    iterations=3,
    seed=2**32 - 1,
    sampling=SamplingConfig(meta_batch_size=2, episodes=3, workers=1),
    evaluation=EvaluationConfig(every=0, tasks=1, deterministic=True, adaptation_steps=0),
    checkpoint=CheckpointConfig(every=4, keep=5),
)


def point_suite(kind: str) -> type[SuiteConfig]:
    if kind != "point":
        raise unknown_name("suite", kind, ["point"])
    return PointConfig


def maml_agent(kind: str) -> type[AgentConfig]:
    if kind != "maml-trpo":
        raise unknown_name("agent", kind, ["maml-trpo"])
    return MAMLTRPOConfig


def read(data: Mapping[str, Json]) -> ExperimentConfig:
    return from_json(data, point_suite, maml_agent)


def written(config: ExperimentConfig = CONFIG) -> dict[str, dict[str, Json]]:
    """Return the config's JSON as it is read from a file; its sections are what the tests change."""
    return cast("dict[str, dict[str, Json]]", json.loads(json.dumps(to_json(config))))


def one_sentence(error: pytest.ExceptionInfo[MetarlError]) -> bool:
    message = str(error.value)
    return message.endswith((".", "?")) and "\n" not in message and "Error" not in message


def test_config_survives_json() -> None:
    assert read(written()) == CONFIG


@given(
    horizon=st.integers(1, 1_000_000),
    inner_lr=st.floats(0, 1000, exclude_min=True),
    max_kl=st.floats(0, exclude_min=True, allow_infinity=False),
    hidden_sizes=st.lists(st.integers(1, 4096)),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_config_survives_json_exactly(
    horizon: int, inner_lr: float, max_kl: float, hidden_sizes: list[int], seed: int
) -> None:
    agent = MAMLTRPOConfig(inner_lr=inner_lr, max_kl=max_kl, hidden_sizes=tuple(hidden_sizes))
    config = ExperimentConfig(suite=PointConfig(horizon=horizon), agent=agent, seed=seed)
    assert read(written(config)) == config


def test_suite_and_agent_carry_their_kind() -> None:
    assert written()["suite"] == {"kind": "point", "horizon": 7, "terminate_at_goal": True}
    assert written()["agent"]["kind"] == "maml-trpo"


def test_every_setting_is_written() -> None:
    data = written()
    assert set(data) == {item.name for item in dataclasses.fields(ExperimentConfig)}
    assert set(data["agent"]) == {item.name for item in dataclasses.fields(MAMLTRPOConfig)} | {"kind"}


def test_settings_that_are_not_written_take_their_defaults() -> None:
    config = read({"suite": {"kind": "point"}, "agent": {"kind": "maml-trpo"}})
    assert config == ExperimentConfig(suite=PointConfig(), agent=MAMLTRPOConfig())


def test_configs_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CONFIG.iterations = 5  # type: ignore[misc]  # that is what is tested


Change = Callable[[dict[str, dict[str, Json]]], object]
DAMAGED: dict[str, tuple[Change, str]] = {
    "unknown suite": (lambda data: data["suite"].update(kind="pint"), "suite called 'pint'.*'point'"),
    "unknown agent": (lambda data: data["agent"].update(kind="maml-trop"), "'maml-trop'.*'maml-trpo'"),
    "no kind": (lambda data: data["agent"].pop("kind"), "names the kind of its agent"),
    "no suite": (lambda data: data.pop("suite"), "names the kind of its suite"),
    "unknown setting": (lambda data: data["agent"].update(inner_rl=1), "'inner_rl'.*'inner_lr'"),
    "unknown top-level setting": (lambda data: data.update(iteration={}), "'iteration'.*'iterations'"),
    "section that is none": (lambda data: data.update(sampling=cast("dict[str, Json]", 3)), "'sampling'.*3"),
    "value out of range": (lambda data: data["agent"].update(discount=1.5), "discount.*1.5"),
}


@pytest.mark.parametrize(("change", "message"), DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_config_is_refused_in_one_sentence(change: Change, message: str) -> None:
    data = written()
    change(data)
    with pytest.raises(MetarlError, match=message) as error:
        read(cast("dict[str, Json]", data))
    assert one_sentence(error)


NAN, INF = float("nan"), float("inf")
BAD_VALUES: list[tuple[type, str, list[object]]] = [
    (SamplingConfig, "meta_batch_size", [0, -1, 10_001]),
    (SamplingConfig, "episodes", [0, -1, 10_001]),
    (SamplingConfig, "workers", [-1, 1025]),
    (MeasurementConfig, "adaptation_steps", [-1, 101]),
    (MeasurementConfig, "episodes", [0, 10_001]),
    (MeasurementConfig, "adaptation_episodes", [0, 10_001]),
    (EvaluationConfig, "every", [-1]),
    (EvaluationConfig, "tasks", [0, 100_001]),
    (EvaluationConfig, "adaptation_steps", [-1]),
    (CheckpointConfig, "every", [0, -5]),
    (CheckpointConfig, "keep", [0]),
    (TrustRegionConfig, "max_kl", [0.0, -0.01, NAN, INF]),
    (TrustRegionConfig, "cg_iters", [0, 1001]),
    (TrustRegionConfig, "cg_damping", [-1e-5, NAN, INF]),
    (TrustRegionConfig, "backtrack_ratio", [0.0, 1.0, 1.5, NAN]),
    (TrustRegionConfig, "max_backtracks", [0, 1001]),
    (MAMLTRPOConfig, "max_kl", [0.0]),
    (MAMLTRPOConfig, "inner_lr", [0.0, -0.1, 1001.0, NAN]),
    (MAMLTRPOConfig, "adaptation_steps", [0, 101]),
    (MAMLTRPOConfig, "discount", [-0.1, 1.1, NAN]),
    (MAMLTRPOConfig, "gae_lambda", [-0.1, 1.1, NAN]),
    (MAMLTRPOConfig, "min_std", [0.0, 2.0, NAN]),
    (MAMLTRPOConfig, "initial_std", [1001.0, NAN]),
    (MAMLTRPOConfig, "max_std", [0.5, 2e4, NAN]),
    (MAMLTRPOConfig, "curvature_stride", [0, 1001]),
    (ProMPConfig, "inner_kl_weight", [-1.0, 1e7, NAN, INF]),
    (MAMLTRPOConfig, "hidden_sizes", [(0,), (64, -1), (100_001,)]),
]


@pytest.mark.parametrize(
    ("config", "setting", "value"),
    [(config, setting, value) for config, setting, values in BAD_VALUES for value in values],
)
def test_bad_value_is_refused_in_one_sentence(config: type, setting: str, value: object) -> None:
    with pytest.raises(MetarlError, match=setting.partition("_")[0]) as error:
        construct(config, {setting: value})
    assert str(value) in str(error.value) or setting == "initial_std"
    assert one_sentence(error)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("iterations", 0),
        ("iterations", 10_000_001),
        ("seed", -1),
        ("seed", 2**32),
        ("name", ".."),
        ("name", "a/b"),
        ("name", "a\\b"),
        ("name", "a\0b"),
    ],
)
def test_bad_run_is_refused_in_one_sentence(setting: str, value: object) -> None:
    with pytest.raises(MetarlError, match=setting) as error:
        dataclasses.replace(CONFIG, **{setting: value})  # type: ignore[arg-type]  # that is what is tested
    assert one_sentence(error)


@pytest.mark.parametrize("device", ["gpu", "cpuu", "", "meta:x"])
def test_unknown_device_is_refused_in_one_sentence(device: str) -> None:
    with pytest.raises(MetarlError, match=rf"Device '{device}' is not available here") as error:
        dataclasses.replace(CONFIG, device=device)
    assert one_sentence(error)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device is there")
def test_missing_gpu_is_refused_in_one_sentence() -> None:
    with pytest.raises(MetarlError, match=r"Device 'cuda' is not available here.*only cpu") as error:
        dataclasses.replace(CONFIG, device="cuda")
    assert one_sentence(error)


def test_lists_become_tuples() -> None:
    assert construct(MAMLTRPOConfig, {"hidden_sizes": [8, 8]}).hidden_sizes == (8, 8)
