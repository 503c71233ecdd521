"""An agent that diverges is named, and is never saved as the newest checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from metarl.agents.maml_trpo import MAMLTRPO, MAMLTRPOConfig
from metarl.agents.maml_vpg import MAMLVPGConfig
from metarl.config import EvaluationConfig
from metarl.envs.metaworld.official_agent import OfficialAgent
from metarl.envs.metaworld.official_env import OutcomeVectorEnv
from metarl.envs.toy.point import PointConfig
from metarl.errors import MetarlError, NonFiniteActionError, NonFiniteError
from metarl.functional.distributions import Categorical, mode, sample
from metarl.rollouts.collect import collect
from metarl.storage.checkpoints import load, save
from metarl.training import runs
from metarl.training.divergence import DivergedError, check_adapted, naming_agent
from metarl.types import Params, State
from support import tiny
from support.programs import point_config

NEVER = EvaluationConfig(every=0, episodes=2, adaptation_episodes=2, adaptation_steps=1)


def overflowing(params: Params) -> Params:
    """Return parameters that are finite, with actions that are not."""
    hidden, weight = torch.ones_like(params["layer_0.bias"]), torch.full_like(params["layer_1.weight"], 3e38)
    return {**params, "layer_0.bias": hidden, "layer_1.weight": weight}


def newest(run: Path) -> int:
    """Return the iteration of a run's newest checkpoint."""
    return load(max((run / "checkpoints").iterdir())).iteration


@pytest.mark.parametrize("every", [1, 100])
def test_diverged_update_is_not_saved_and_names_agent_and_step_size(tmp_path: Path, every: int) -> None:
    # layers without bounds multiply, so that the second step overflows on any processor
    agent = MAMLVPGConfig(hidden_sizes=(8, 8, 8), activation="relu", outer_lr=1000, outer_optimizer="sgd")
    config = point_config(agent=agent, evaluation=NEVER, suite=PointConfig(horizon=20))
    experiment = runs.start(replace(config, checkpoint=replace(config.checkpoint, every=every)), tmp_path)
    with pytest.raises(DivergedError) as refused:
        experiment.run()
    said = str(refused.value)
    assert said.startswith("The agent maml-vpg has diverged: after the update of iteration 2 ")
    assert "--agent.outer-lr (1000)" in said
    assert "point/" not in said
    assert newest(experiment.folder) == 1
    assert runs.resume(experiment.folder, print).iteration == 1


@pytest.mark.parametrize("broken", ["parameter", "action", "metric"])
def test_whatever_of_an_update_is_not_finite_is_found_and_the_iteration_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    update = MAMLTRPO.update
    updates = 0

    def diverging(agent: MAMLTRPO, rollouts: object, *_: object) -> dict[str, float]:
        nonlocal updates
        updates += 1
        metrics = update(agent, rollouts)  # type: ignore[arg-type]  # rollouts
        if updates == 3:
            if broken == "metric":
                return {**metrics, "entropy": float("inf")}
            nothing = torch.full_like(agent.params["layer_0.bias"], np.nan)
            whole = {**agent.params, "layer_0.bias": nothing}
            agent.params = whole if broken == "parameter" else overflowing(agent.params)
        return metrics

    monkeypatch.setattr(MAMLTRPO, "update", diverging)
    experiment = runs.start(point_config(iterations=4, evaluation=NEVER), tmp_path)
    with pytest.raises(DivergedError, match="The agent maml-trpo has diverged: after the update of iterat"):
        experiment.run()
    assert newest(experiment.folder) == 2
    monkeypatch.undo()
    resumed = runs.resume(experiment.folder, print)
    resumed.run()
    assert resumed.iteration == 4


@pytest.mark.parametrize("evaluation", [NEVER, replace(NEVER, every=1)], ids=["training", "evaluation"])
def test_policy_that_diverges_by_adapting_names_the_agent_and_the_step(
    tmp_path: Path, evaluation: EvaluationConfig
) -> None:
    agent = MAMLTRPOConfig(hidden_sizes=(8, 8, 8), activation="relu", inner_lr=1000, adaptation_steps=3)
    experiment = runs.start(point_config(agent=agent, evaluation=evaluation), tmp_path)
    with pytest.raises(DivergedError) as refused:
        experiment.run()
    assert str(refused.value) == (
        "The agent maml-trpo has diverged: its action at step 0 of an episode is not finite. "
        "Lower --agent.inner-lr (1000) or --agent.max-kl (0.01)."
    )


def break_newest(run: Path) -> None:
    """Let a run's newest checkpoint hold a policy without finite actions, as older versions saved."""
    checkpoint = load(max((run / "checkpoints").iterdir()))
    tensors = overflowing(checkpoint.agent.tensors)
    save(run / "checkpoints", replace(checkpoint, agent=State(tensors, checkpoint.agent.values)), keep=3)


def test_diverged_checkpoint_is_refused_and_the_one_before_is_not(tmp_path: Path) -> None:
    experiment = runs.start(point_config(evaluation=NEVER), tmp_path)
    experiment.run()
    break_newest(experiment.folder)
    sentence = r"The agent maml-trpo after 3 iterations has diverged: .*Take an earlier checkpoint, RUN/check"
    for opened in (runs.resume, runs.open_trained):
        with pytest.raises(MetarlError, match=sentence):
            opened(experiment.folder, print)
    earlier = experiment.folder / "checkpoints" / "2"
    assert runs.open_trained(earlier, print).iteration == 2
    assert runs.resume(earlier, print).iteration == 2
    assert newest(experiment.folder) == 2


def test_action_that_is_not_finite_is_no_fault_of_the_environment() -> None:
    actor = tiny.ScriptedActor([[[1.0, np.nan]]])
    env = tiny.ClimbEnv(1, horizon=2)
    with (
        pytest.raises(DivergedError, match=r"maml-trpo has diverged: its action at step 1 of an episode"),
        naming_agent(MAMLTRPOConfig()),
    ):
        collect(env, [tiny.climb(0.0)], actor, episodes=1, horizon=2, rng=np.random.default_rng(0))


def test_reward_that_is_not_finite_is_no_fault_of_the_agent() -> None:
    env = tiny.ClimbEnv(1, horizon=2)
    env.poison = ("reward", 1, 0)
    actor = tiny.ScriptedActor([[[1.0, 1.0]]])
    with pytest.raises(NonFiniteError, match="The reward of task") as refused, naming_agent(MAMLTRPOConfig()):
        collect(env, [tiny.climb(0.0)], actor, episodes=1, horizon=2, rng=np.random.default_rng(0))
    assert not isinstance(refused.value, NonFiniteActionError)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_choice_among_logits_that_are_not_finite_is_no_choice(number: float) -> None:
    logits = torch.tensor([[0.0, number], [0.0, 1.0]])
    for chosen in (sample(Categorical(logits), torch.Generator().manual_seed(0)), mode(Categorical(logits))):
        assert chosen[0].isnan().all()
        assert chosen[1].sum() == 1


def test_choice_that_is_ruled_out_is_never_made() -> None:
    logits = torch.tensor([[0.0, -np.inf]]).expand(50, 2)
    assert sample(Categorical(logits), torch.Generator().manual_seed(0))[:, 0].all()


def test_official_evaluator_is_not_given_an_action_that_is_not_finite() -> None:
    learner = tiny.StrideAgent(stride=np.nan)
    slots = cast("OutcomeVectorEnv", SimpleNamespace(num_envs=2, outcome=None))
    agent = OfficialAgent(learner, slots, episodes=1, rng=np.random.default_rng(0))
    for act in (agent.eval_action, agent.adapt_action):
        with (
            pytest.raises(DivergedError, match=r"diverged: its action is not finite\. Lower --agent\.inner"),
            naming_agent(MAMLTRPOConfig()),
        ):
            act(np.zeros((2, 3)))


def test_policy_that_is_not_finite_after_adapting_is_not_exported() -> None:
    rollout = tiny.random_rollout(0, dtype=torch.float32)
    config = MAMLTRPOConfig()
    check_adapted(tiny.StrideActor(torch.ones(3), 0.0), config, rollout)
    with pytest.raises(DivergedError, match="The agent maml-trpo has diverged: after adapting its actions"):
        check_adapted(tiny.StrideActor(torch.tensor([1.0, np.inf, 1.0]), 0.0), config, rollout)


def test_policy_to_start_from_that_is_not_finite_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(agent: MAMLTRPO, path: Path) -> None:
        agent.params["log_std"] = torch.full_like(agent.params["log_std"], np.nan)

    monkeypatch.setattr("metarl.training.warm_start.start_from_ppo", start)
    config = point_config(init_from=str(tmp_path / "ppo.zip"))
    with pytest.raises(DivergedError, match=r"The agent of .*ppo\.zip has diverged: its parameter 'log_std'"):
        runs.start(config, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
