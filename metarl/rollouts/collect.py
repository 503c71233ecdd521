"""The only loop that steps an environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge

from metarl.errors import MetarlError, NonFiniteError
from metarl.meta_learner import Actor, Inputs
from metarl.rollouts.choices import check_actor, check_choice, check_extras, check_memory, generator_of
from metarl.rollouts.numpy_buffer import HostRecorder
from metarl.rollouts.own_tasks import ActorOfTasks
from metarl.rollouts.tensor_buffer import TensorRecorder
from metarl.settings import check_number
from metarl.spaces import action_size
from metarl.system.sharing import join_rows, num_slots, own_tasks
from metarl.system.threads import one_thread
from metarl.text import shown
from metarl.types import Params, Rollout, Task
from metarl.vector_env import TaskVectorEnv, TensorVectorEnv

SUCCESS = ("success", "success_at_first_step", "success_streak")
"""Fields of a rollout that are None where its environment did not say."""
LARGEST_RETURN = 1e18  # returns from here on are refused: the sum of some squares would overflow float32


def collect(
    env: TaskVectorEnv,
    tasks: Sequence[Task],
    actor: Actor,
    *,
    episodes: int,
    horizon: int,
    rng: np.random.Generator,
    deterministic: bool = False,
    after: Rollout | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Rollout:
    """Collect episodes of every task at once, by one policy call a step.

    Args:
        env: at least ``len(tasks) * episodes`` slots.
        tasks: M tasks.
        actor: a policy for each of them.
        episodes: K, of each task.
        horizon: T, steps after which the environment truncates.
        rng: where the resets' seeds and the policy's noise come from.
        deterministic: take the most likely actions.
        after: the preceding episodes of the same trials, ``[M, K, T, ...]``: the policy's memory, its
            last action and its last reward go on from there. None starts new trials.
        on_step: called before each step with the number of episodes still running; may raise to stop.

    Returns:
        The episodes, on the actor's device.

    Raises:
        MetarlError: if the environment has too few slots, an argument is of another type or out of range, or
            the policy's choice has another form.
        NonFiniteError: if an observation, a reward or an action is not finite, with the task and the step, or
            a return is too large.
    """
    _check_arguments(tasks, episodes, horizon, rng)
    used, slots = len(tasks) * episodes, num_slots(env)
    if used > slots:
        raise MetarlError(f"{len(tasks)} tasks x {episodes} episodes need {used} slots; there are {slots}.")
    check_actor(actor)
    # all randomness comes from ``rng``: actions by one seed, resets by one for each slot
    generator = generator_of(actor)
    generator.manual_seed(int(rng.integers(2**63)))
    seeds = rng.integers(2**31, size=slots)
    run = partial(
        _run, env, episodes=episodes, horizon=horizon, generator=None if deterministic else generator
    )
    own = own_tasks(len(tasks))
    if own is None:
        return run(tasks, actor, seeds=seeds.tolist(), after=after, on_step=on_step)
    # a rank's tasks keep the seeds and the noise that they have in one process
    own_seeds = seeds[:used].reshape(len(tasks), episodes)[own.places].reshape(-1)
    rollout = run(
        tasks[own.places],
        ActorOfTasks(actor, own),
        seeds=[*own_seeds.tolist(), *seeds[: env.num_envs - len(own_seeds)].tolist()],
        after=None if after is None else after.of_tasks(own.places),
        on_step=on_step,
    )
    return Rollout.from_tensors(join_rows(rollout.tensors(), len(tasks)))


def _check_arguments(tasks: object, episodes: object, horizon: object, rng: object) -> None:
    if not isinstance(tasks, Sequence) or not all(isinstance(each, Task) for each in tasks):
        raise MetarlError(f"Expected tasks to be a list of tasks, got {shown(tasks)}.")
    check_number("episodes", episodes, Annotated[int, Ge(1)])
    check_number("horizon", horizon, Annotated[int, Ge(1)])
    if not isinstance(rng, np.random.Generator):
        raise MetarlError(f"Expected rng to be a numpy.random.Generator, got {shown(rng)}.")


def _run(
    env: TaskVectorEnv,
    tasks: Sequence[Task],
    actor: Actor,
    *,
    episodes: int,
    horizon: int,
    generator: torch.Generator | None,
    seeds: list[int],
    after: Rollout | None,
    on_step: Callable[[int], None] | None,
) -> Rollout:
    """Collect with one seed for each slot of ``env``; otherwise see :func:`collect`."""
    recorder = make_recorder(env, tasks, episodes, horizon)
    # a trial goes on from its last episode: memory, action and reward carry over
    shape, size = (len(tasks), episodes), action_size(env.single_action_space)
    before = trial_start(actor, shape, size) if after is None else last_step(after)
    memory = initial_memory = before.memory
    check_memory(actor, memory, shape)
    actions, rewards = before.actions, before.rewards
    extras: list[Params] = []
    starts = torch.ones(len(tasks), episodes, dtype=torch.bool, device=actor.device)
    with one_thread():
        env.set_tasks(recorder.slot_tasks)
        recorder.reset(seeds)
        for step in range(horizon):
            if on_step is not None:
                on_step(recorder.num_live)
            observations, live = (seen.to(actor.device) for seen in recorder.observe(step))
            inputs = Inputs(observations, actions, rewards, starts, live)
            chosen = actor.act(inputs, memory, generator)
            if step == 0:
                check_choice(actor, chosen, memory, (*shape, size))
            action, new_memory = chosen
            # slots that are over keep the memory of their last live step
            memory = keep_idle(memory, new_memory, live)
            actions, rewards = action.actions, recorder.act(step, action).to(actor.device)
            extras.append(dict(action.extras))
            starts = torch.zeros_like(starts) if step == 0 else starts
            if recorder.is_over(step):
                break
    check_extras(actor, extras)
    rollout = recorder.finish().to(actor.device)
    check_returns(rollout, tasks)
    return replace(
        rollout, extras=_stacked(extras, rollout.mask), initial_memory=initial_memory, final_memory=memory
    )


def check_returns(rollout: Rollout, tasks: Sequence[Task]) -> None:
    """Check that agents can compute with returns, whose squares float32 must hold.

    Raises:
        NonFiniteError: names the task of the first return that is too large.
    """
    fits = rollout.rewards.sum(dim=2).abs() < LARGEST_RETURN
    if not fits.all():
        task = tasks[int(fits.all(dim=1).to(torch.uint8).argmin())]
        raise NonFiniteError(
            f"The return of task {task.id!r} ({task.family}) is too large for float32, in which agents "
            f"compute; scale the rewards down so that its size is below {LARGEST_RETURN:g}."
        )


@dataclass(frozen=True)
class LastStep:
    """What a policy takes from an episode of a trial to the next."""

    memory: Params  # [M, K, ...] by name
    actions: torch.Tensor  # [M, K, A]
    rewards: torch.Tensor  # [M, K]


def trial_start(actor: Actor, shape: tuple[int, int], action_size: int) -> LastStep:
    """Return what the first steps of new trials ``[M, K]`` come after."""
    actions = torch.zeros(*shape, action_size, device=actor.device)
    return LastStep(actor.initial_memory(shape[1]), actions, torch.zeros(shape, device=actor.device))


def last_step(rollout: Rollout) -> LastStep:
    """Return each episode's final memory, action and reward."""
    last = rollout.mask.sum(dim=2, keepdim=True).clamp(min=1) - 1
    actions = rollout.actions.gather(2, last[..., None].expand(*last.shape, rollout.actions.shape[-1]))
    return LastStep(rollout.final_memory, actions.squeeze(2), rollout.rewards.gather(2, last).squeeze(2))


def repeat_episodes(value: torch.Tensor, episodes: int) -> torch.Tensor:
    """Return ``[M, 1, ...]`` as ``[M, episodes, ...]``."""
    return value.expand(value.shape[0], episodes, *value.shape[2:]).contiguous()


def keep_idle(old: Params, new: Params, live: torch.Tensor) -> Params:
    """Take the new memory where ``live``, ``[M, K]``; elsewhere keep the old."""
    if not new or (live.device.type == "cpu" and bool(live.all())):
        return new  # as nearly always; another device would have to be waited for
    return {
        name: torch.where(live.view(*live.shape, *[1] * (value.ndim - 2)), value, old[name])
        for name, value in new.items()
    }


def make_recorder(
    env: TaskVectorEnv, tasks: Sequence[Task], episodes: int, horizon: int
) -> HostRecorder | TensorRecorder:
    """Return an environment's recorder, on its device if it returns tensors."""
    slot_tasks = [task for task in tasks for _ in range(episodes)]
    if isinstance(env, TensorVectorEnv):
        return TensorRecorder(env, slot_tasks, (len(tasks), episodes), horizon)
    return HostRecorder(env, slot_tasks, (len(tasks), episodes), horizon)


def join_tasks(rollouts: Sequence[Rollout]) -> Rollout:
    """Join rollouts of different tasks with the same episodes and horizon."""
    return rollouts[0] if len(rollouts) == 1 else _join(rollouts, dim=0)


def join_episodes(rollouts: Sequence[Rollout]) -> Rollout:
    """Join episodes of the same tasks, along K. They have the same horizon."""
    return _join(rollouts, dim=1)


def _join(rollouts: Sequence[Rollout], dim: int) -> Rollout:
    """Join rollouts; success is known of all or not at all."""
    parts = [rollout.tensors() for rollout in rollouts]
    untold = {name for name in SUCCESS if not all(name in part for part in parts)}
    return Rollout.from_tensors(
        {name: torch.cat([part[name] for part in parts], dim) for name in parts[0] if name not in untold}
    )


def _stacked(steps: Sequence[Params], mask: torch.Tensor) -> Params:
    """Stack the steps' extras, ``[M, K, T, ...]``, zero where no episode runs."""
    stacked: Params = {}
    for name, first in steps[0].items():
        values = first.new_zeros(*mask.shape, *first.shape[2:])
        # steps after the last live one stay zero
        values[:, :, : len(steps)] = torch.stack([step[name] for step in steps], dim=2)
        values[~mask] = 0
        stacked[name] = values
    return stacked
