"""Policies on their way to stable-baselines3's PPO and back."""

from __future__ import annotations

import base64
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO, SAC
from torch import nn

from metarl.agents.maml_trpo import MAMLTRPOConfig
from metarl.cli.main import main
from metarl.config import SamplingConfig
from metarl.envs.toy.point import PointTasks
from metarl.errors import MetarlError
from metarl.functional.distributions import log_prob
from metarl.functional.params import select, stack
from metarl.learning.adapted_policy import AdaptedPolicy
from metarl.meta_learner import MetaLearner
from metarl.networks.policies import GaussianMLPPolicy
from metarl.plugins import registry
from metarl.sb3.export import save, to_ppo
from metarl.sb3.vec_env import TaskVecEnv, in_turn
from metarl.sb3.weights import params_from_ppo, start_from_ppo
from metarl.storage.checkpoints import load
from metarl.training import runs
from metarl.types import Params
from support.programs import POINT
from support.tiny import ScriptedActor, tiny_params

SUITE = PointTasks(horizon=5)
POLICY = GaussianMLPPolicy(observation_size=2, action_size=2, hidden_sizes=(8, 6))


def actor_of(policy: GaussianMLPPolicy, seed: int = 0) -> AdaptedPolicy:
    """Return different parameters for each of two tasks."""
    sets = [tiny_params(policy, seed), tiny_params(policy, seed + 1)]
    return AdaptedPolicy(policy, {name: torch.stack([s[name].float() for s in sets]) for name in sets[0]})


def observations(count: int = 200) -> torch.Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def exported(tmp_path: Path) -> Callable[[AdaptedPolicy, int], Path]:
    def export(actor: AdaptedPolicy, task: int) -> Path:
        save(to_ppo(actor, task, SUITE), tmp_path / "policy.zip")
        return tmp_path / "policy.zip"

    return export


def sb3_agent(path: Path, **architecture: object) -> PPO:
    """Save an agent that was made by stable-baselines3 alone."""
    env = TaskVecEnv(SUITE.make_vector_env(2), in_turn(SUITE.tasks("train")))
    agent = PPO("MlpPolicy", env, n_steps=8, batch_size=16, policy_kwargs=dict(architecture), device="cpu")
    agent.learn(32)
    agent.save(path)
    return agent


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("hidden_sizes", [(8, 6), (64, 64), (5,), (4, 5, 6)])
def test_an_exported_policy_acts_the_same(
    exported: Callable[[AdaptedPolicy, int], Path], activation: str, hidden_sizes: tuple[int, ...]
) -> None:
    policy = GaussianMLPPolicy(
        observation_size=2, action_size=2, hidden_sizes=hidden_sizes, activation=activation
    )
    actor = actor_of(policy)
    agent = PPO.load(exported(actor, 1), device="cpu")
    ours = policy(actor.params, observations().expand(2, -1, -1)).mean[1].numpy()
    means = agent.policy.get_distribution(observations()).distribution.mean.detach().numpy()
    np.testing.assert_allclose(means, ours, atol=1e-5)
    predicted, _ = agent.predict(observations().numpy(), deterministic=True)
    np.testing.assert_allclose(predicted, np.clip(ours, -0.1, 0.1), atol=1e-5)
    assert np.ptp(ours) > 0.2  # some are clipped and others are not


def test_an_exported_policy_explores_the_same(exported: Callable[[AdaptedPolicy, int], Path]) -> None:
    actor = actor_of(POLICY)
    agent = PPO.load(exported(actor, 0), device="cpu")
    actions = torch.randn(200, 2, generator=torch.Generator().manual_seed(1))
    _, theirs, _ = agent.policy.evaluate_actions(observations(), actions)
    ours = log_prob(POLICY(stack(select(actor.params, 0), 1), observations()[None]), actions)[0]
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)


def test_a_deviation_below_the_least_is_exported_as_the_least(
    exported: Callable[[AdaptedPolicy, int], Path],
) -> None:
    policy = GaussianMLPPolicy(observation_size=2, action_size=2, hidden_sizes=(3,), min_std=0.5)
    actor = actor_of(policy)
    low = AdaptedPolicy(policy, actor.params | {"log_std": torch.full((2, 2), -5.0)})
    agent = PPO.load(exported(low, 0), device="cpu")
    assert agent.policy.log_std.exp().tolist() == pytest.approx([0.5, 0.5])


def test_an_agent_that_scales_observations_does_not_start_from_a_policy_that_read_them_as_they_are(
    exported: Callable[[AdaptedPolicy, int], Path],
) -> None:
    def agent(scaled: bool) -> MetaLearner:
        config = MAMLTRPOConfig(hidden_sizes=(8, 6), observation_scale=scaled)
        return config.build(SUITE, seed=0, device=torch.device("cpu"), sampling=SamplingConfig())

    path = exported(actor_of(POLICY), 0)
    start_from_ppo(agent(scaled=False), path)
    with pytest.raises(MetarlError, match="reads observations as they are"):
        start_from_ppo(agent(scaled=True), path)


def test_an_exported_policy_goes_on_training(exported: Callable[[AdaptedPolicy, int], Path]) -> None:
    env = TaskVecEnv(SUITE.make_vector_env(2), in_turn(SUITE.tasks("test")[:1]))
    agent = PPO.load(exported(actor_of(POLICY), 0), env=env, device="cpu", n_steps=32, batch_size=64)
    before = agent.policy.action_net.weight.clone()
    agent.learn(128)
    assert agent.num_timesteps == 128
    assert not torch.equal(before, agent.policy.action_net.weight)


def test_exporting_leaves_the_global_generators_alone() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002  # that is what is looked at
    to_ppo(actor_of(POLICY), 0, SUITE)
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002  # as above


def test_there_and_back_changes_no_bit(exported: Callable[[AdaptedPolicy, int], Path]) -> None:
    actor = actor_of(POLICY)
    back = params_from_ppo(exported(actor, 1), POLICY)
    assert back.keys() == actor.params.keys()
    assert all(torch.equal(value, actor.params[name][1]) for name, value in back.items())


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_a_policy_of_sb3_acts_the_same_here(tmp_path: Path, activation: type[nn.Module]) -> None:
    agent = sb3_agent(tmp_path / "theirs.zip", net_arch=[8, 6], activation_fn=activation)
    name = activation.__name__.lower()
    policy = GaussianMLPPolicy(observation_size=2, action_size=2, hidden_sizes=(8, 6), activation=name)
    params = params_from_ppo(tmp_path / "theirs.zip", policy)
    theirs = agent.policy.get_distribution(observations()).distribution.mean.detach()
    ours = policy(stack(params, 1), observations()[None]).mean[0]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_the_activation_of_sb3s_default_policy_is_known(tmp_path: Path) -> None:
    sb3_agent(tmp_path / "theirs.zip")
    policy = GaussianMLPPolicy(observation_size=2, action_size=2)
    assert params_from_ppo(tmp_path / "theirs.zip", policy).keys() == policy.shapes.keys()


@pytest.mark.parametrize(
    ("architecture", "held"),
    [
        ({"net_arch": [8, 7]}, "layers of 2 -> 8 -> 7 -> 2 units and tanh"),
        ({"net_arch": [8]}, "layers of 2 -> 8 -> 2 units and tanh"),
        ({"net_arch": [8, 6], "activation_fn": nn.ReLU}, "layers of 2 -> 8 -> 6 -> 2 units and relu"),
        ({"net_arch": [8, 6], "activation_fn": nn.ELU}, "layers of 2 -> 8 -> 6 -> 2 units and elu"),
    ],
)
def test_another_architecture_is_refused(tmp_path: Path, architecture: dict[str, object], held: str) -> None:
    sb3_agent(tmp_path / "theirs.zip", **architecture)
    with pytest.raises(MetarlError, match=f"hidden layers .8, 6. and tanh, got a policy with {held}"):
        params_from_ppo(tmp_path / "theirs.zip", POLICY)


def test_another_algorithms_file_is_refused(tmp_path: Path) -> None:
    env = TaskVecEnv(SUITE.make_vector_env(1), in_turn(SUITE.tasks("train")))
    SAC("MlpPolicy", env, buffer_size=10, device="cpu").save(tmp_path / "sac.zip")
    with pytest.raises(MetarlError, match="got another kind of policy"):
        params_from_ppo(tmp_path / "sac.zip", POLICY)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("inside", [b"no zip", b""])
def test_a_file_that_is_no_zip_is_refused(tmp_path: Path, inside: bytes) -> None:
    (tmp_path / "policy.zip").write_bytes(inside)
    with pytest.raises(MetarlError, match="is no file of stable-baselines3's PPO"):
        params_from_ppo(tmp_path / "policy.zip", POLICY)


def test_code_in_the_weights_is_not_run(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "policy.zip", "w") as archive:
        with archive.open("policy.pth", "w") as file:
            torch.save({"log_std": Trap(tmp_path / "sprung")}, file)
        archive.writestr("data", "{}")
    with pytest.raises(MetarlError, match="is no file of stable-baselines3's PPO"):
        params_from_ppo(tmp_path / "policy.zip", POLICY)
    assert not (tmp_path / "sprung").exists()


def test_code_in_the_settings_is_not_run(
    exported: Callable[[AdaptedPolicy, int], Path], tmp_path: Path
) -> None:
    path = exported(actor_of(POLICY), 0)
    trapped = tmp_path / "trapped.zip"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(trapped, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "data":
                data = json.loads(content)
                trap = pickle.dumps(Trap(tmp_path / "sprung"))
                data["policy_kwargs"][":serialized:"] = base64.b64encode(trap).decode()
                content = json.dumps(data).encode()
            target.writestr(name, content)
    params_from_ppo(trapped, POLICY)
    assert not (tmp_path / "sprung").exists()


def test_only_a_gaussian_perceptron_is_exported() -> None:
    with pytest.raises(
        MetarlError, match=r"this agent's is another network; export it with --output FILE\.onnx"
    ):
        to_ppo(ScriptedActor([[[0.0]]]), 0, SUITE)


@pytest.mark.parametrize(
    ("name", "inputs"),
    [("rl2", "memory"), ("varibad", "memory"), ("pearl", "latent"), ("policy-reuse", "memory")],
)
def test_agent_that_reads_more_than_observations_is_not_exported_and_says_why(name: str, inputs: str) -> None:
    config = registry.configure("point", name)
    suite = config.build_suite()
    agent = config.agent.build(suite, seed=0, device=torch.device("cpu"), sampling=config.sampling)
    actor = agent.initial_actor(1, np.random.default_rng(0))
    with pytest.raises(
        MetarlError, match=rf"takes more than the observation \([^)]*{inputs}[^)]*\); export it"
    ):
        to_ppo(actor, 0, suite)


def test_policy_on_scaled_observations_is_not_exported_and_says_why() -> None:
    config = registry.configure("point", "maml-trpo")
    suite, scaled = config.build_suite(), replace(config.agent, observation_scale=True)
    agent = scaled.build(suite, seed=0, device=torch.device("cpu"), sampling=config.sampling)
    state = agent.state()
    seen = {
        "scale.observations.seen": torch.tensor(9.0, dtype=torch.float64)
    }  # scaled once something was seen
    agent.load_state(state._replace(tensors=state.tensors | seen))
    with pytest.raises(MetarlError, match="was trained with observation_scale; export it with --output"):
        to_ppo(agent.initial_actor(1, np.random.default_rng(0)), 0, suite)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Params]:
    """Return a PPO file of the architecture of the tiny runs, and its parameters."""
    path = tmp_path_factory.mktemp("start") / "start.zip"
    sb3_agent(path, net_arch=[8, 8])
    policy = GaussianMLPPolicy(observation_size=2, action_size=2, hidden_sizes=(8, 8))
    return path, params_from_ppo(path, policy)


@pytest.fixture(scope="module")
def trained(start: tuple[Path, Params], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        options = ("--iterations", "2", "--checkpoint.every", "1", "--init-from", str(start[0]))
        assert main([*POINT, *options]) == 0
    return folder / "runs" / "it"


def test_meta_training_starts_from_the_policy(trained: Path, start: tuple[Path, Params]) -> None:
    tensors = load(trained / "checkpoints" / "00000000").agent.tensors
    # point's policies deviate by 1 or more; what PPO, whose draws have no seed, came to may lie below
    expected = start[1] | {"log_std": start[1]["log_std"].clamp(min=0.0)}
    assert all(torch.equal(tensors[name], value) for name, value in expected.items())
    later = load(trained / "checkpoints" / "00000002").agent.tensors
    assert not torch.equal(later["layer_0.weight"], tensors["layer_0.weight"])


def test_where_training_started_stands_in_the_runs_config(trained: Path, start: tuple[Path, Params]) -> None:
    assert json.loads((trained / "config.json").read_text())["init_from"] == str(start[0])


def test_a_trained_run_does_not_need_the_file_any_more(
    trained: Path, tmp_path: Path, start: tuple[Path, Params]
) -> None:
    hidden = start[0].rename(tmp_path / "moved.zip")
    try:
        assert runs.open_trained(trained, pytest.fail).iteration == 2
    finally:
        hidden.rename(start[0])


@pytest.mark.parametrize(
    ("file", "sentence"),
    [("nowhere.zip", "There is no file nowhere.zip."), ("text.zip", "text.zip is no file of stable-")],
)
def test_a_bad_start_is_one_sentence_and_leaves_no_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    file: str,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.zip").write_text("text")
    assert main([*POINT, "--init-from", file]) == 2
    assert capsys.readouterr().err.startswith(f"metarl: {sentence}")
    assert not (tmp_path / "runs").exists()


def test_the_command_exports_the_adapted_policy(trained: Path, tmp_path: Path) -> None:
    task = SUITE.tasks("test")[3]
    for steps in (0, 2):
        output = str(tmp_path / f"{steps}.zip")
        options = ("--task", task.id, "--adaptation-steps", str(steps), "--output", output)
        assert main(["export", str(trained), *options]) == 0
    policy = GaussianMLPPolicy(observation_size=2, action_size=2, hidden_sizes=(8, 8))
    unadapted, adapted = (params_from_ppo(tmp_path / f"{steps}.zip", policy) for steps in (0, 2))
    theta = load(trained / "checkpoints" / "00000002").agent.tensors
    assert torch.equal(unadapted["layer_0.weight"], theta["layer_0.weight"])
    assert not torch.equal(adapted["layer_0.weight"], theta["layer_0.weight"])


@pytest.mark.parametrize(
    ("run", "task", "output", "sentence"),
    [
        ("nowhere", "point", "a.zip", "There is no folder nowhere."),
        ("", "pont", "a.zip", "There is no held-out task of point called 'pont'; did you mean 'point'?"),
        ("", "point", "here", "here exists already; choose another file with --output."),
        ("", "point", "no/a.zip", "There is no folder no for a.zip."),
    ],
)
def test_a_bad_export_is_one_sentence(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    run: str,
    task: str,
    output: str,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").touch()
    assert main(["export", run or str(trained), "--task", task, "--output", output]) == 2
    assert capsys.readouterr().err == f"metarl: {sentence}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
