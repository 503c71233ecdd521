"""From episodes to prototypes to a policy that sees them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from metarl.agents.maml_trpo import MAMLTRPO, MAMLTRPOConfig
from metarl.config import SamplingConfig
from metarl.envs.toy.point import PointConfig
from metarl.errors import MetarlError
from metarl.few_shot.trajectories import Conditioned, changes, condition, task_prototypes, windows
from metarl.networks.policies import GaussianMLPPolicy
from metarl.rollouts.collect import collect
from support import tiny


class MeanFrame(nn.Module):
    """Embeds a window as the mean of its frames."""

    def forward(self, examples: torch.Tensor) -> torch.Tensor:
        return examples.mean(dim=1)


def test_a_window_takes_frames_from_the_first_step_to_the_last() -> None:
    rollout = tiny.random_rollout(0, steps=7)
    seen = windows(rollout, frames=3, size=2)
    assert seen.shape == (3, 2, 3, 4)
    for frame, step in enumerate((0, 3, 6)):
        assert torch.equal(seen[:, :, frame, :2], rollout.observations[:, :, step, :2])
        assert torch.equal(seen[:, :, frame, 2:], rollout.actions[:, :, step])


def test_changes_do_not_show_where_things_stood() -> None:
    rollout = tiny.random_rollout(0)
    moved = replace(rollout, observations=rollout.observations + 3.0)
    one, other = (changes(windows(each, frames=4), 3) for each in (rollout, moved))
    torch.testing.assert_close(one, other)
    assert (one[..., 0, :3] == 0).all()
    assert torch.equal(one[..., 3:], windows(rollout, frames=4)[..., 3:])


@pytest.mark.parametrize(
    ("frames", "size", "message"),
    [(7, None, "frames must lie in 1..6, but it is 7"), (2, 4, "size must lie in 0..3, but it is 4")],
)
def test_a_window_that_is_not_there_is_refused(frames: int, size: int | None, message: str) -> None:
    with pytest.raises(MetarlError, match=message):
        windows(tiny.random_rollout(0), frames=frames, size=size)


def test_a_tasks_prototype_is_the_mean_over_its_trajectories() -> None:
    examples = windows(tiny.random_rollout(0), frames=4)
    found = task_prototypes(MeanFrame(), examples)
    torch.testing.assert_close(found, examples.mean(dim=(1, 2)))


def test_every_live_step_ends_with_its_tasks_context() -> None:
    rollout, context = tiny.random_rollout(0), torch.arange(6, dtype=torch.float64).view(3, 2)
    wider = condition(rollout, context)
    assert torch.equal(wider.observations[..., :3], rollout.observations)
    for task, row in enumerate(context):
        live = rollout.mask[task]
        assert (wider.observations[task][live][:, 3:] == row).all()
        assert (wider.observations[task][~live] == 0).all()
        assert (wider.final_observations[task][:, 3:] == row).all()


def test_a_context_of_other_tasks_is_refused() -> None:
    with pytest.raises(MetarlError, match=r"Expected a context \[3, E\], one row a task, got \(2, 4\)"):
        condition(tiny.random_rollout(0), torch.zeros(2, 4))


def test_a_policy_acts_and_learns_by_the_prototypes_of_its_tasks() -> None:
    suite = PointConfig(horizon=8).build()
    tasks = suite.sample(3, np.random.default_rng(0))
    env = suite.make_vector_env(6)
    config = MAMLTRPOConfig(hidden_sizes=(8,), curvature_stride=1)
    looking = config.build(suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig())

    seen = collect(env, tasks, looking.initial_actor(3), episodes=2, horizon=8, rng=np.random.default_rng(0))
    prototypes = task_prototypes(MeanFrame(), windows(seen, frames=4))
    policy = GaussianMLPPolicy(observation_size=2 + prototypes.shape[1], action_size=2, hidden_sizes=(8,))
    agent = MAMLTRPO(config, policy, policy.initial_params(torch.Generator().manual_seed(0)))
    actor, rollouts = agent.initial_actor(3), []
    for seed in (1, 2):
        acted = collect(
            env,
            tasks,
            Conditioned(actor, prototypes),
            episodes=2,
            horizon=8,
            rng=np.random.default_rng(seed),
        )
        rollouts.append(condition(acted, prototypes))
        actor = agent.adapt(actor, rollouts[-1])
    before = agent.state().tensors
    metrics = agent.update(rollouts)
    assert np.isfinite(list(metrics.values())).all()
    context_rows = agent.state().tensors["layer_0.weight"][2:]
    assert not torch.equal(context_rows, before["layer_0.weight"][2:])
    env.close()
    fixed = agent.initial_actor(3)
    here = seen.observations[:, :, 0]
    ours = tiny.act(Conditioned(fixed, prototypes), here, None).actions
    swapped = tiny.act(Conditioned(fixed, prototypes.flip(0)), here, None).actions
    assert not torch.equal(ours, swapped)
    assert Conditioned(fixed, prototypes).device == torch.device("cpu")
