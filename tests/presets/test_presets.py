"""Any preset trains any agent by its registered name, from the command line and from Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, fields, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from metarl.agents.rl2 import RL2Config
from metarl.cli.commands.agent_option import split_agent
from metarl.cli.main import main
from metarl.config import ExperimentConfig, SamplingConfig, construct, from_json, to_json
from metarl.envs.metaworld.suite import ML1Config
from metarl.envs.toy.point import PointTasks
from metarl.errors import MetarlError
from metarl.plugins import entry_points, registry
from metarl.presets.agent_settings import ORIENTATIONS, OVERRIDES, agent_config_for
from metarl.presets.manipulation import ml1
from metarl.presets.toy import point
from metarl.training.sweep import SeedRun, Sweep

PRESETS, AGENTS = registry.names(registry.PRESETS), registry.names(registry.AGENTS)
FEW = (
    *("--iterations", "1", "--horizon", "5", "--sampling.meta-batch-size", "2", "--sampling.episodes", "2"),
    *("--evaluation.every", "0", "--evaluation.adaptation-steps", "1", "--evaluation.episodes", "2"),
    *("--evaluation.adaptation-episodes", "2"),
)
APART = {"ml1": {"rl2", "policy-reuse"}} | {name: {"policy-reuse"} for name in ("ml10", "ml25", "ml45")}
"""Agents that need fewer steps than others, by preset."""
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs ``metarl`` in an empty folder: exit code and standard error."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> tuple[int, str]:
        return main(arguments), capsys.readouterr().err

    return command


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_takes_every_agent(preset: str) -> None:
    for agent in AGENTS:
        config = registry.configure(preset, agent)
        assert config.agent.kind == agent
        assert from_json(to_json(config), registry.suite, registry.agent) == config


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_has_an_agent_of_its_own(preset: str) -> None:
    assert registry.configure(preset) == registry.configure(preset, "maml-trpo")


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_spends_the_same_environment_steps_on_every_agent(preset: str) -> None:
    def spent(agent: str) -> int:
        config = registry.configure(preset, agent)
        rollouts = (
            config.agent.build(
                PointTasks(), seed=0, device=torch.device("cpu"), sampling=SamplingConfig()
            ).adaptation_steps
            + 1
        )
        return config.iterations * rollouts * config.sampling.meta_batch_size * config.sampling.episodes

    agents = set(AGENTS) - APART.get(preset, set())
    assert {spent(agent) for agent in agents} == {spent("maml-trpo")}


def test_rl2_on_ml1_is_the_run_of_the_results_but_for_its_goals_and_evaluation(root: Path) -> None:
    stored = json.loads((root / "results/ml1-pick-place-v3-goals500-success10-rl2/config.json").read_text())
    config = to_json(replace(ml1(task="pick-place-v3", agent="rl2"), success_bonus=10.0))
    suite = config["suite"]
    assert isinstance(suite, dict)
    assert {**{name: suite[name] for name in stored["suite"]}, "training_goals": 500} == stored["suite"]
    for name in ("success_bonus", "iterations"):
        assert config[name] == stored[name], name
    for name in ("agent", "sampling"):
        part = config[name]
        assert isinstance(part, dict)
        assert {setting: part[setting] for setting in stored[name]} == stored[name], name


@pytest.mark.parametrize("preset", ["ml10", "ml25", "ml45"])
def test_policy_reuse_has_fifty_episodes_and_one_try_for_each_family(preset: str) -> None:
    config = registry.configure(preset, "policy-reuse")
    families = {task.family for task in config.build_suite().tasks("train")}
    assert config.sampling.meta_batch_size == 50 * len(families)
    assert config.evaluation.adaptation_episodes >= len(families)


@pytest.mark.parametrize("family", ["drawer-open-v3", "pick-place-v3", "assembly-v3"])
def test_experts_leave_the_quaternions_unread(family: str) -> None:
    suite = ML1Config(task=family).build()
    with closing(suite.make_vector_env(1)) as env:
        env.set_tasks(suite.tasks("train")[:1])
        observation, _ = env.reset()
    norms = np.linalg.norm(observation[0][np.reshape(ORIENTATIONS, (4, 4))], axis=1)
    # an object that there is has a rotation, of length 1
    np.testing.assert_allclose(norms[[0, 2]], 1.0, atol=1e-3)
    np.testing.assert_allclose(norms[1], norms[3])
    assert norms[1] in (pytest.approx(0.0), pytest.approx(1.0, abs=1e-3))


def test_settings_are_of_presets_and_agents_that_there_are() -> None:
    assert set(OVERRIDES) <= set(PRESETS)
    assert {agent for agents in OVERRIDES.values() for agent in agents} <= set(AGENTS)


def test_settings_suit_the_preset_and_the_agent() -> None:
    shared = agent_config_for("point", "maml-trpo")
    assert getattr(shared, "discount", None) == 0.0
    assert agent_config_for("ml1", "maml-trpo") == registry.agent("maml-trpo")()


def test_presets_of_python_take_the_agent_by_name_too() -> None:
    assert point(agent="promp").agent.kind == "promp"
    assert ml1(task="push-v3", agent="lvc").agent.kind == "lvc"
    with pytest.raises(MetarlError, match="There is no agent called 'prom'; did you mean 'promp'"):
        point(agent="prom")


def test_config_of_an_agent_is_taken_as_its_name_is() -> None:
    mine = RL2Config(memory_size=7)
    taken, named = registry.configure("point", mine), registry.configure("point", "rl2")
    assert taken == replace(named, agent=mine)
    assert taken.sampling == SamplingConfig(meta_batch_size=200, episodes=1)  # RL²'s, not the default agent's
    with pytest.raises(MetarlError, match="There is no agent called 'nobody'"):
        registry.configure("point", Nobody())


@dataclass(frozen=True, kw_only=True)
class Nobody(RL2Config):
    """An agent that no package offers."""

    kind: ClassVar[str] = "nobody"


def test_run_is_named_after_its_agent(run: Run, tmp_path: Path) -> None:
    assert run("train", "point", "--agent", "promp", "--agent.outer-lr", "0.002", *FEW) == (0, "")
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name == "point-promp-seed0"
    config = json.loads((folder / "config.json").read_text())
    assert (config["agent"]["kind"], config["agent"]["outer_lr"]) == ("promp", 0.002)


def test_sweep_trains_the_agent_that_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps: list[Sweep] = []

    def trained(sweep: Sweep, parallel: int) -> dict[SeedRun, int]:
        sweeps.append(sweep)
        return {}

    monkeypatch.setattr("metarl.cli.commands.sweep.train_all", trained)
    assert run("sweep", "point", "--seeds", "2", "--agent=maml-vpg", "--agent.outer-lr", "0.5") == (0, "")
    (sweep,) = sweeps
    assert sweep.config.agent == replace(agent_config_for("point", "maml-vpg"), outer_lr=0.5)
    assert [each.folder.name for each in sweep.runs] == ["point-maml-vpg-seed0", "point-maml-vpg-seed1"]
    assert sweep._arguments == ["train", "point", "--agent=maml-vpg", "--agent.outer-lr", "0.5"]


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_unknown_agent_gets_the_nearest_name(run: Run, tmp_path: Path, command: str) -> None:
    code, said = run(command, "point", "--agent", "maml-tpo")
    assert (code, said) == (2, "metarl: There is no agent called 'maml-tpo'; did you mean 'maml-trpo'?\n")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("words", [["--agent"], ["--agent="], ["--agent", "--seed", "3"]])
def test_agent_without_a_name_is_refused(run: Run, words: list[str]) -> None:
    code, said = run("train", "point", *words)
    assert code == 2
    assert said.startswith("metarl: --agent needs the name of an agent, one of anil, boil, ")


def test_setting_of_another_agent_is_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("train", "point", "--agent", "maml-vpg", "--agent.max-kl", "0.1")
    assert ended.value.code == 2
    assert "--agent.max-kl" in capsys.readouterr().err


def test_agent_is_told_from_its_settings() -> None:
    words = ["--seed", "1", "--agent.inner-lr", "0.3", "--agent", "lvc", "--name", "x"]
    assert split_agent(words) == ("lvc", ["--seed", "1", "--agent.inner-lr", "0.3", "--name", "x"])
    assert split_agent(["--name", "x"]) == (None, ["--name", "x"])


def test_help_of_a_preset_names_the_agents(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("train", "point", "--agent", "promp", "--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert "--agent.inner-kl-weight" in shown
    assert "--agent NAME" in shown


def bound() -> ExperimentConfig:
    """Stand for a preset of another package, made before presets took agents."""
    return point()


def test_preset_with_an_agent_of_its_own_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = entry_points._entries

    def theirs(group: str) -> dict[str, EntryPoint]:
        mine = {"bound": EntryPoint("bound", "test_presets:bound", group)}
        return mine if group == registry.PRESETS else entries(group)

    monkeypatch.setattr(entry_points, "_entries", theirs)
    code, said = run("train", "bound", "--agent", "promp")
    assert code == 2
    assert said == "metarl: The preset 'bound' has an agent of its own and takes no --agent promp.\n"
    assert registry.configure("bound") == point()


def absurd_settings(agent: str) -> list[tuple[str, float]]:
    config = registry.agent(agent)()
    numbers = {field.name: getattr(config, field.name) for field in fields(config)}
    values = {int: (-1,), float: (-1.0, float("nan"), float("inf"))}
    return [
        (name, value)
        for name, number in numbers.items()
        for value in values.get(type(number), ())
        if not (name == "entropy_per_action" and value < 0)  # an entropy may be negative
    ]


def refusal(agent: str, name: str, value: float) -> str:
    """Return what is said to a setting of an agent; nothing if it is taken."""
    try:
        construct(registry.agent(agent), {name: value})
    except MetarlError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("agent", AGENTS)
def test_absurd_settings_of_an_agent_are_refused(agent: str) -> None:
    said = {setting: refusal(agent, *setting) for setting in absurd_settings(agent)}
    assert said
    assert [at for at, words in said.items() if "but it is" not in words and "Expected" not in words] == []
