"""Exported policies act in ONNX Runtime as in PyTorch, step by step and with the same memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

import onnx
import onnxruntime

from metarl import deploy
from metarl.action_map import ActionMap
from metarl.agents.cavia import CAVIAConfig
from metarl.agents.gradient_based import GradientBasedAgent
from metarl.agents.maml_trpo import MAMLTRPOConfig
from metarl.agents.pearl import PEARLConfig
from metarl.agents.rl2 import RL2, RL2Config
from metarl.agents.varibad import VariBAD, VariBADConfig
from metarl.cli.main import main
from metarl.config import AgentConfig, SamplingConfig
from metarl.deploy.onnx_file import TOLERANCE, OnnxPolicy, compare, write_onnx
from metarl.deploy.onnx_policy import MEMORY, policy_model
from metarl.deploy.onnx_trace import Trace
from metarl.envs.locomotion.suite import Walker2dVelConfig
from metarl.envs.metaworld.suite import ML1Config
from metarl.envs.toy.bandits import BanditsConfig
from metarl.envs.toy.point import PointConfig
from metarl.errors import MetarlError
from metarl.learning.running_scale import with_batch
from metarl.meta_learner import Action, Actor, Inputs, inputs_at_start
from metarl.rollouts.collect import collect
from metarl.success_bonus import with_success_bonus
from metarl.tasks import ControlledInTime
from metarl.training import runs
from metarl.training.adapted_agent import AdaptedAgent
from metarl.training.experiment import Experiment
from metarl.types import Params
from support.programs import point_config
from support.robots import FAMILIES, HORIZON, Table, untrained_run

SUITE = PointConfig(horizon=6).build()


@dataclass
class Spaces:
    """The part of a suite that a policy's graph depends on."""

    action_space: Box | Discrete
    action_map: ActionMap | None = None
    observation_space: Box = field(default_factory=lambda: Box(-np.inf, np.inf, (3,)))
    name: str = "spaces"
    horizon: int = 5


WIDE = Spaces(Box(-9.0, 9.0, (2,)))
RESCALED = ActionMap(Box(np.array([-3.0, -np.inf, 1.0]), np.array([5.0, np.inf, 1.5]), dtype=np.float64))
WHOLE = ActionMap(Box(-4, 7, (2,), np.int64))
SPACES = {
    "wide": WIDE,
    "rescaled": Spaces(RESCALED.policy_space, RESCALED),
    "whole numbers": Spaces(WHOLE.policy_space, WHOLE),
    "choices": Spaces(Discrete(4, start=2)),
}
SIZES = {"memory_size": 8, "trial_episodes": 2}
AGENTS: Mapping[str, AgentConfig] = {
    "maml-trpo": MAMLTRPOConfig(hidden_sizes=(8, 4), activation="relu"),
    "cavia": CAVIAConfig(hidden_sizes=(8,), observation_scale=True),
    "rl2 gru": RL2Config(cell="gru", **SIZES),
    "rl2 linear": RL2Config(cell="linear", tanh_mean=True, **SIZES),
    "rl2 changes": RL2Config(cell="linear", changes=True, **SIZES),
    "rl2 hypernetwork": RL2Config(head="hypernetwork", head_size=4, baseline="linear", **SIZES),
    "varibad": VariBADConfig(memory_size=8, trial_episodes=2),
    "pearl": PEARLConfig(hidden_sizes=(8,), encoder_sizes=(8,), latent_size=2),
}


def actor_of(config: AgentConfig, suite: Spaces) -> Actor:
    """Return a policy with large last weights, and scales that have seen something."""
    agent = config.build(suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig())  # type: ignore[arg-type]  # no tasks
    generator = torch.Generator().manual_seed(1)
    if isinstance(agent, RL2 | VariBAD):
        for scales in ("scales", "change_scales"):
            moments = getattr(agent, scales, None)
            if moments is not None:
                seen = (1.5 * torch.randn(9, *part.mean.shape, generator=generator) + 0.5 for part in moments)
                setattr(agent, scales, type(moments)(*map(with_batch, moments, seen)))
    if isinstance(agent, GradientBasedAgent) and agent.config.observation_scale:
        moments = with_batch(agent.moments, 1.5 * torch.randn(9, 3, generator=generator) + 0.5)
        agent.policy = agent.policy.scaled(moments.scale)
    actor = agent.initial_actor(1, np.random.default_rng(0))
    for value in actor.params.values():  # type: ignore[attr-defined]  # every agent's actor has them
        value.data += 0.1 * torch.randn(value.shape, generator=generator)
    return actor


def sent(suite: Spaces, drawn: torch.Tensor) -> np.ndarray:
    """Return what an environment gets for an action, by NumPy."""
    if isinstance(suite.action_space, Discrete):
        return np.asarray(suite.action_space.start + int(drawn.argmax()))
    limits = suite.action_map or ActionMap(suite.action_space, rescales=False)
    return limits(drawn.view(1, -1).numpy())[0]


CASES = [
    (agent, spaces)
    for agent in AGENTS
    for spaces in SPACES
    if (spaces in ("wide", "choices") or agent == "rl2 gru") and (agent, spaces) != ("pearl", "choices")
]


@pytest.mark.parametrize(("agent", "spaces"), CASES)
def test_graph_acts_and_remembers_as_the_policy_does(agent: str, spaces: str) -> None:
    suite = SPACES[spaces]
    actor = actor_of(AGENTS[agent], suite)
    policy = OnnxPolicy(policy_model(actor, suite, {}).SerializeToString())  # type: ignore[arg-type]  # no tasks
    rng, memory = np.random.default_rng(0), actor.initial_memory(1)
    size = suite.action_space.n if isinstance(suite.action_space, Discrete) else suite.action_space.shape[0]
    inputs = inputs_at_start(torch.zeros(1, 1, 3), int(size))
    actions = []
    for step in range(30):
        seen = rng.normal(0, 3, 3).astype(np.float32)
        starts = step % 10 == 0  # memory goes on from an episode to the next
        inputs = inputs._replace(
            observations=torch.from_numpy(seen).view(1, 1, 3), episode_starts=torch.tensor([[starts]])
        )
        action, memory = actor.act(inputs, memory, None)
        found = policy.act(seen, float(inputs.previous_rewards), starts)
        expected = sent(suite, action.actions)
        assert found.shape == expected.shape
        assert found == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE)
        for name, value in policy.memory.items():
            if (own := memory.get(name.removeprefix(MEMORY))) is not None:
                assert value == pytest.approx(own.flatten().float().numpy(), abs=TOLERANCE)
        actions.append(found)
        reward = torch.full((1, 1), float(np.float32(rng.normal(0, 2))))
        inputs = inputs._replace(previous_actions=action.actions, previous_rewards=reward)
    assert len(np.unique(np.array(actions), axis=0)) > 1


def test_inputs_are_what_the_policy_reads_and_a_trial_begins_with_zeros() -> None:
    names = {name: [] for name in AGENTS}
    for name, config in AGENTS.items():
        model = policy_model(actor_of(config, WIDE), WIDE, {})  # type: ignore[arg-type]  # no tasks
        names[name] = [value.name for value in model.graph.input]
    for name in ("maml-trpo", "cavia", "pearl"):
        assert names[name] == ["observation"]
    trial = ["observation", "reward", "episode_start", "memory.memory"]
    assert names["rl2 gru"] == [*trial, "memory.previous_action"]
    # a trial's first step counts as an episode's start, which zeros do not say by themselves
    last = [f"memory.last_{part}" for part in ("observation", "reward", "start")]
    assert names["rl2 changes"] == [*trial, *last, "memory.previous_action", "memory.started"]


@pytest.mark.parametrize("family", FAMILIES)
def test_adapted_policy_is_exported_with_what_it_remembers(family: str) -> None:
    agent = Experiment(point_config(agent=FAMILIES[family]), Path("nowhere")).agent
    env, task = SUITE.make_vector_env(1), SUITE.tasks("test")[0]
    start = agent.initial_actor(1, np.random.default_rng(0))
    experience = collect(env, [task], start, episodes=1, horizon=6, rng=np.random.default_rng(1))
    env.close()
    adapted = AdaptedAgent(agent, [experience]).initial_actor(1, np.random.default_rng(0))
    policies = [OnnxPolicy(policy_model(actor, SUITE, {}).SerializeToString()) for actor in (start, adapted)]
    checked = [compare(policies[1], actor, SUITE, task, episodes=2) for actor in (adapted, start)]
    assert checked[0].difference <= TOLERANCE < checked[1].difference
    assert (checked[0].episodes, checked[0].steps) == (2, 12)


PROPERTIES = {
    *("metarl_version", "suite", "agent", "iteration", "inputs", "outputs", "memory_start"),
    *("action_low", "action_high"),
}


def properties_of(path: str | Path) -> dict[str, str]:
    return {item.key: item.value for item in onnx.load(path).metadata_props}


def test_command_exports_before_and_after_adapting_to_a_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    untrained_run(tmp_path / "run", FAMILIES["rl2"])
    assert main(["export", "run", "--output", "before.onnx"]) == 0
    assert "memory.memory [8] and memory.previous_action [2]" in " ".join(capsys.readouterr().out.split())
    words = ("export", "run", "--task", "point", "--adaptation-steps", "2", "--output", "after.onnx")
    assert main(words) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert ": 2 episodes, seed 0." in printed
    assert "at most in 40 steps of 2 episodes" in printed
    found = {}
    for name in ("before", "after"):
        properties = properties_of(f"{name}.onnx")
        assert properties.keys() - {"adapted_to"} == PROPERTIES
        assert (properties["suite"], properties["agent"]) == ("point", "rl2")
        assert json.loads(properties["action_high"]) == [0.1, 0.1]
        assert json.loads(properties["inputs"])["observation"] == [2]
        found[name] = properties.get("adapted_to")
    task = SUITE.tasks("test")[0].id
    assert found == {"before": None, "after": task}
    # choosing no action by time or chance, the same command writes the same file
    assert main([*words[:-1], "again.onnx"]) == 0
    assert Path("again.onnx").read_bytes() == Path("after.onnx").read_bytes()
    assert main(words) == 2
    assert "after.onnx exists already" in capsys.readouterr().err


def test_session_is_exported_with_its_control_step_and_bonus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = untrained_run(tmp_path / "run", FAMILIES["rl2"], success_bonus=10.0)
    settings = deploy.DeploySettings(episodes=2, horizon=HORIZON, frequency=200.0)
    deploy.adapt(run, Table(), tmp_path / "session", settings)
    assert main(["export", str(tmp_path / "session"), "--output", str(tmp_path / "policy.onnx")]) == 0
    properties = properties_of(tmp_path / "policy.onnx")
    assert (properties["adapted_to"], properties["control_step_seconds"]) == ("session", "0.005")
    assert "memory.fresh" in json.loads(properties["inputs"])
    assert properties["success_bonus"] == "10.0"
    said = " ".join(capsys.readouterr().out.split())
    assert "The reward that it takes is 10 more after a step with success, as in training." in said


@dataclass(frozen=True)
class Odd:
    """A policy of two actions with a step of its own."""

    function: Callable[[torch.Tensor], torch.Tensor]
    device: ClassVar[torch.device] = torch.device("cpu")

    def initial_memory(self, episodes: int) -> Params:
        return {}

    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        return Action(self.function(inputs.observations), inputs.previous_rewards), memory


def through_numpy(seen: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(0.05 * np.cos(40 * seen.numpy())) + 0 * seen


def in_part(seen: torch.Tensor) -> torch.Tensor:
    found = torch.zeros_like(seen)
    found[..., :1] = seen[..., 1:]
    return found


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda seen: seen.sort(dim=-1).values, "operations that ONNX has too, got PyTorch's aten.sort"),
        (lambda seen: -seen if seen.sum().item() > 0 else seen, "PyTorch's aten._local_scalar_dense"),
        (
            lambda seen: seen.div(2, rounding_mode="floor"),
            r"div\.Tensor_mode with arguments that are known",
        ),
        (lambda seen: (9 * seen).int().float(), "of float32, float64, int64 and bool, got torch.int32"),
        (lambda seen: seen.half().float(), "of float32, float64, int64 and bool, got torch.float16"),
        (lambda seen: seen.logical_not().float(), "that ONNX takes, got Not: .*unsupported type"),
        (lambda seen: ((9 * seen).long() & 1).float(), "that ONNX takes, got And: .*unsupported type"),
        (in_part, "that writes to whole tensors, got one that writes to parts"),
        (through_numpy, r"to act as PyTorch does, to 1e-05, got a difference of 0\.\d+ in \d+ steps"),
    ],
)
def test_policy_that_cannot_be_exported_is_refused_in_a_sentence_and_no_file_is_left(
    function: Callable[[torch.Tensor], torch.Tensor], message: str, tmp_path: Path
) -> None:
    experiment = runs.open_trained(untrained_run(tmp_path / "run"), pytest.fail)
    output = tmp_path / "policy.onnx"
    with pytest.raises(MetarlError, match=message) as caught:
        write_onnx(experiment, Odd(function), experiment.suite.tasks("test")[0], output, "")
    assert "\n" not in str(caught.value)
    assert not output.exists()


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_command_says_what_to_install(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("metarl.deploy.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    run = untrained_run(tmp_path / "run")
    assert main(["export", str(run), "--output", str(tmp_path / "policy.onnx")]) == 2
    said = capsys.readouterr().err
    wanted = f"ONNX files need the package {package}, which is missing: pip install 'metarl-toolkit[onnx]'."
    assert said == f"metarl: {wanted}\n"


OPERATIONS: Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "arithmetic": lambda x, y: (2 - x) * y / (x.abs() + 1) - 3 * x.add(y, alpha=0.5) + x**2,
    "functions": lambda x, y: x.exp() + x.cos() - (y.abs() + 1).log() + y.sin() + (x * x).sqrt() - x.neg(),
    "comparisons": lambda x, y: torch.where((x > y) | ((x <= -1) & ~(y < 0)), x, y),
    "where of bools": lambda x, y: torch.where(x > 0, y > 0, y >= x).float(),
    "bounds": lambda x, y: x.clamp(max=0.3) + y.clamp(min=x) + torch.minimum(x, y) - torch.maximum(x, 2 * y),
    "bounds of another kind": lambda x, y: x.clamp(torch.tensor(-0.1).double(), y.double()),
    "whole numbers, divided": lambda x, y: x.argmax(dim=1) / 3 + (5 * y[:, 0]).long() / 2,
    "rounded": lambda x, y: (3 * x).round() + y.masked_fill(x.isnan(), 0.0),
    "products": lambda x, y: x @ y.t() @ x + torch.addmm(x[0], x @ y.mT, y, beta=0.5, alpha=2),
    "vectors": lambda x, y: torch.mv(x, y[0]) * torch.dot(x[1], y[2]),
    "reductions": lambda x, y: x.sum() + y.mean(dim=1, keepdim=True) + x.sum(dim=(0, 1)),
    "softmax": lambda x, y: x.softmax(dim=-1) + y.log_softmax(dim=0),
    "slices": lambda x, y: x[1:, ::2] + y[:-1, 1:3] - x[-1, 0],
    "splits": lambda x, y: torch.cat([*x.split(2, dim=1)[::-1], y.split([1, 3], dim=1)[1]], dim=1),
    "stacks": lambda x, y: torch.stack([x, y], dim=1).permute(2, 0, 1).transpose(0, 1),
    "shapes": lambda x, y: x.view(2, -1).unsqueeze(0).flatten().reshape(3, 4) + y[:, :1].expand(3, 4),
    "written": lambda x, y: x.clone().mul_(2).add_(y).tanh_().clamp_(-0.5, 0.5),
    "copied": lambda x, y: torch.empty(2, 4).copy_(x[0]),
    "a part, written": lambda x, y: torch.cat([part.mul_(2) for part in (x + y).split([1, 2])]),
    "best": lambda x, y: torch.zeros_like(x).scatter_(1, x.argmax(dim=1, keepdim=True), 1.5),
    "kinds": lambda x, y: (x > 0).double() + y.argmax(dim=0) * 2,
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_translated(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = {name: torch.randn(3, 4, generator=generator) for name in ("x", "y")}
    with Trace(inputs) as trace:
        found = OPERATIONS[name](*inputs.values())
    session = onnxruntime.InferenceSession(trace.model(inputs, {"found": found}).SerializeToString())
    others = {name: torch.randn(3, 4, generator=generator) for name in ("x", "y")}
    expected = OPERATIONS[name](*(value.clone() for value in others.values()))
    (computed,) = session.run(None, {name: value.numpy() for name, value in others.items()})
    assert computed.dtype == expected.numpy().dtype
    assert computed == pytest.approx(expected.numpy(), abs=1e-5)


def test_suites_know_their_control_step() -> None:
    walker = Walker2dVelConfig().build()
    assert isinstance(walker, ControlledInTime)
    env = gymnasium.make("Walker2d-v5", frame_skip=8)
    assert walker.control_step() == env.unwrapped.dt
    env.close()
    suite = ML1Config(task="reach-v3").build()
    arm = suite.known.models.environment("reach-v3")()
    assert suite.control_step() == pytest.approx(arm.dt)
    bonus = with_success_bonus(suite, 1.0)
    assert isinstance(bonus, ControlledInTime)
    assert bonus.control_step() == suite.control_step()
    assert not isinstance(BanditsConfig().build(), ControlledInTime)


def test_steps_without_a_task_to_adapt_to_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("export", str(tmp_path), "--output", str(tmp_path / "policy.onnx"), "--adaptation-steps", "2")
    assert main(words) == 2
    assert "Expected --task, the task to adapt to in so many steps, but it is 2." in capsys.readouterr().err
