"""A config of a run that could never be opened again is refused before anything is written."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import pytest

from metarl.agents.maml_trpo import MAMLTRPOConfig
from metarl.config import ExperimentConfig, SuiteConfig, to_json
from metarl.envs.toy.point import PointConfig, PointTasks
from metarl.errors import MetarlError
from metarl.plugins import entry_points, registry
from metarl.plugins.reopening import check_reopens
from metarl.presets.toy import point
from metarl.training import runs
from support.programs import point_config


@dataclass(frozen=True, kw_only=True)
class MineConfig(MAMLTRPOConfig):
    """An agent of one's own."""

    kind: ClassVar[str] = "mine"


@dataclass(frozen=True, kw_only=True)
class BorrowedConfig(MAMLTRPOConfig):
    """An agent of one's own that has kept the name of the one that it inherits from."""

    speed: float = 1.0


@dataclass(frozen=True, kw_only=True)
class PlaneConfig(PointConfig):
    """A suite of one's own."""

    kind: ClassVar[str] = "plane"

    extra: object = ()
    """Anything."""


@dataclass(frozen=True, kw_only=True)
class BuiltConfig(PlaneConfig):
    """A suite with a field that it computes."""

    sizes: list[int] = field(default_factory=lambda: [2, 3])
    pairs: tuple[tuple[int, int], ...] = ((1, 2),)
    product: int = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "product", self.sizes[0] * self.sizes[1])


@dataclass(frozen=True, kw_only=True)
class WhimsicalConfig(PlaneConfig):
    """A suite that takes no setting twice."""

    taken: ClassVar[list[object]] = []

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.extra in self.taken:
            raise TypeError("once is enough")
        self.taken.append(self.extra)


@dataclass(frozen=True)
class Inner:
    """Settings within settings."""

    size: int = 1


def register(monkeypatch: pytest.MonkeyPatch, group: str, **places: str) -> None:
    """Declare more entry points, as if a package that declares them had been installed."""
    entries = entry_points._entries

    def more(asked: str) -> dict[str, EntryPoint]:
        found = entries(asked)
        if asked == group:
            found = found | {name: EntryPoint(name, place, group) for name, place in places.items()}
        return found

    monkeypatch.setattr(entry_points, "_entries", more)


def refusal(folder: Path, config: ExperimentConfig) -> str:
    """Return the sentence with which a run is refused; nothing is left of it."""
    with pytest.raises(MetarlError) as refused:
        runs.start(config, folder / "runs")
    assert list(folder.iterdir()) == []
    return str(refused.value)


def test_class_that_is_not_registered_is_refused_with_the_entry_point_to_add(tmp_path: Path) -> None:
    agent = refusal(tmp_path, point_config(agent=MineConfig(hidden_sizes=(8,))))
    assert agent.startswith(
        "Expected the agent class MineConfig to be registered, got no agent called 'mine'"
    )
    assert 'mine = "test_reopening:MineConfig" to [project.entry-points."metarl.agents"]' in agent
    assert agent.endswith('or give it by its file, registry.agent("FILE.py:NAME")().')
    suite = refusal(tmp_path, point_config(suite=PlaneConfig(horizon=20)))
    assert suite.startswith(
        "Expected the suite class PlaneConfig to be registered, got no suite called 'plan"
    )
    assert 'plane = "test_reopening:PlaneConfig" to [project.entry-points."metarl.suites"]' in suite
    assert "by its file" not in suite


def test_class_under_a_name_of_another_one_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, point_config(agent=BorrowedConfig()))
    assert said.startswith("Expected the agent 'maml-trpo' to be a MAMLTRPOConfig, ")
    assert "got test_reopening:BorrowedConfig; give your class a kind of its own" in said


def test_class_without_a_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MineConfig, "kind", None)
    assert "to have a name, got none" in refusal(tmp_path, point_config(agent=MineConfig()))


def test_registered_class_is_taken_and_its_run_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, registry.AGENTS, mine="test_reopening:MineConfig")
    runs.start(point_config(iterations=1, agent=MineConfig(hidden_sizes=(8,))), tmp_path).run()
    assert isinstance(runs.resume(tmp_path / "it", print).config.agent, MineConfig)


def test_class_of_a_script_is_that_of_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "as_script.py").write_text(
        "from dataclasses import dataclass\nfrom typing import ClassVar\n"
        "from metarl.agents.maml_trpo import MAMLTRPOConfig\n\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Scripted(MAMLTRPOConfig):\n"
        "    kind: ClassVar[str] = 'scripted'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    register(monkeypatch, registry.AGENTS, scripted="as_script:Scripted")
    script = tmp_path / "as_script.py"
    main_module = type(sys)("__main__")
    main_module.__file__ = str(script)
    monkeypatch.setitem(sys.modules, "__main__", main_module)
    exec(compile(script.read_text(), str(script), "exec"), main_module.__dict__)
    check_reopens(point_config(agent=main_module.Scripted()))


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(len, id="function"),
        pytest.param(Inner(), id="dataclass"),
        pytest.param(np.zeros(2), id="array"),
        pytest.param(frozenset({1}), id="set"),
        pytest.param(Path("x"), id="path"),
        pytest.param(float("nan"), id="NaN"),
        pytest.param({1: "one"}, id="keys that are no strings"),
        pytest.param((1, (2, len)), id="function in a tuple"),
    ],
)
def test_setting_that_json_does_not_give_back_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: object
) -> None:
    register(monkeypatch, registry.SUITES, plane="test_reopening:PlaneConfig")
    said = refusal(tmp_path, point_config(suite=PlaneConfig(horizon=20, extra=extra)))
    assert said.startswith(
        "Expected the setting extra of PlaneConfig to be the same when it is read from JSON"
    )
    assert type(extra).__name__ in said or isinstance(extra, tuple)


@pytest.mark.parametrize(
    "extra", [1, 2.5, "x", True, None, (1, 2), [1, (2.0, "x")], {"a": (1,)}, np.int64(2), (np.float32(2),)]
)
def test_setting_that_json_gives_back_is_taken(monkeypatch: pytest.MonkeyPatch, extra: object) -> None:
    register(monkeypatch, registry.SUITES, plane="test_reopening:PlaneConfig")
    check_reopens(point_config(suite=PlaneConfig(horizon=20, extra=extra)))


def test_lists_are_lists_again_and_computed_fields_are_computed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register(monkeypatch, registry.SUITES, plane="test_reopening:BuiltConfig")
    config = point_config(suite=BuiltConfig(sizes=(4, 5), pairs=[[1, 2]]))  # type: ignore[arg-type]  # as users do
    check_reopens(config)
    written = json.loads(json.dumps(to_json(config)))
    again = registry.config_from_json(written).suite
    assert isinstance(again, BuiltConfig)
    assert (again.sizes, again.pairs, again.product) == ([4, 5], ((1, 2),), 20)
    assert again == config.suite
    assert "product" not in written["suite"]


def test_settings_that_cannot_be_built_from_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, registry.SUITES, plane="test_reopening:WhimsicalConfig")
    assert refusal(tmp_path, point_config(suite=WhimsicalConfig())).startswith(
        "This run could never be opened again: "
    )


def test_entry_points_are_read_only() -> None:
    with pytest.raises(TypeError):
        entry_points._entries(registry.AGENTS)["mine"] = EntryPoint("mine", "a:b", registry.AGENTS)  # type: ignore[index]  # wrong on purpose


def test_number_of_numpy_in_the_core_is_taken() -> None:
    check_reopens(replace(point_config(), seed=np.int64(3)))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: point,
            "Expected an ExperimentConfig, got a function; a preset gives one when it is called.",
        ),
        (
            lambda: ExperimentConfig(suite=cast("SuiteConfig", PointConfig), agent=MAMLTRPOConfig()),
            "Expected the suite of a run to be a SuiteConfig, got the class PointConfig; give an instance",
        ),
        (
            lambda: ExperimentConfig(suite=cast("SuiteConfig", PointTasks()), agent=MAMLTRPOConfig()),
            "Expected the suite of a run to be a SuiteConfig, got a PointTasks; give an instance of a class",
        ),
    ],
)
def test_what_is_no_config_is_refused(
    tmp_path: Path, make: Callable[[], ExperimentConfig], sentence: str
) -> None:
    assert refusal(tmp_path, make()).startswith(sentence)


def test_published_distribution_is_taken_under_its_own_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    place = "metarl.envs.toy.point:PointTasks"
    register(monkeypatch, registry.SUITES, theirs=place)
    theirs = registry.suite_named("theirs")
    check_reopens(point_config(suite=theirs))
    monkeypatch.setattr(type(theirs), "kind", "ml1")
    with pytest.raises(MetarlError, match="Expected the suite 'ml1' to be a ML1Config"):
        check_reopens(point_config(suite=theirs))


@pytest.mark.parametrize("name", registry.names(registry.PRESETS))
def test_every_preset_can_be_opened_again(name: str) -> None:
    check_reopens(registry.configure(name))
