"""Diverged policies, found before use or saving."""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from metarl.config import AgentConfig
from metarl.errors import MetarlError, NonFiniteActionError, Stopped
from metarl.meta_learner import Actor, Inputs, MetaLearner, act_at_start
from metarl.plugins.agent_files import naming_file
from metarl.plugins.user_files import at_fault
from metarl.rollouts.tally import sampled_inputs
from metarl.types import Rollout

OUTER_STEP, INNER_STEP = ("outer_lr", "max_kl"), ("inner_lr",)  # agents' settings of how far steps go


class DivergedError(MetarlError):
    """An agent with numbers that are not finite."""


def divergence(agent: MetaLearner, inputs: Inputs) -> str:
    """Describe what of an agent is not finite; empty if it acts."""
    for name, value in agent.state().tensors.items():
        if not value.isfinite().all():
            return f"its parameter {name!r} is not finite"
    actor = agent.initial_actor(len(inputs.observations), np.random.default_rng(0))
    finite = acts_finitely(actor, inputs)
    return "" if finite else "its actions are not finite"


def acts_finitely(actor: Actor, inputs: Inputs) -> bool:
    """Return whether all drawn actions are finite."""
    generator = torch.Generator(actor.device).manual_seed(0)
    on_device = Inputs(*(part.to(actor.device) for part in inputs))
    action = act_at_start(actor, on_device, generator)
    return bool(action.actions.isfinite().all() and action.log_probs.isfinite().all())


def check_update(
    agent: MetaLearner, config: AgentConfig, inputs: Inputs, metrics: Mapping[str, float], iteration: int
) -> None:
    """Check an updated agent, or raise :class:`DivergedError`."""
    broken = [name for name, value in metrics.items() if not math.isfinite(value)]
    wrong = divergence(agent, inputs) or (f"its metric {broken[0]!r} is not finite" if broken else "")
    if wrong:
        wrong = f"after the update of iteration {iteration} {wrong}"
        raise diverged(config, wrong, OUTER_STEP + INNER_STEP)


def check_loaded(agent: MetaLearner, inputs: Inputs, source: str, mend: str) -> None:
    """Check that the agent of ``source`` acts, or raise :class:`DivergedError`."""
    if wrong := divergence(agent, inputs):
        raise DivergedError(f"The agent {source} has diverged: {wrong}. {mend}")


def check_adapted(actor: Actor, config: AgentConfig, rollout: Rollout) -> None:
    """Check an adapted policy, or raise :class:`DivergedError`."""
    if not acts_finitely(actor, sampled_inputs(rollout)):
        raise diverged(config, "after adapting its actions are not finite", INNER_STEP + OUTER_STEP)


@contextmanager
def naming_agent(config: AgentConfig) -> Iterator[None]:
    """Name the agent in errors of its own: of a file's agent, or of actions.

    Raises:
        DivergedError: instead of the error that names the task.
        MetarlError: as :func:`metarl.plugins.agent_files.naming_file`.
    """
    try:
        with naming_file(config):
            yield
    except NonFiniteActionError as error:
        where = "" if error.step is None else f" at step {error.step} of an episode"
        wrong = f"its action{where} is not finite"
        raise diverged(config, wrong, INNER_STEP + OUTER_STEP) from error


@contextmanager
def taking_state(config: AgentConfig, source: str) -> Iterator[None]:
    """Say in a sentence that an agent cannot take a state.

    Raises:
        MetarlError: instead of another exception of the agent, whose traceback is a note; says what to do.
    """
    try:
        yield
    except (MetarlError, Stopped, OSError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        wrong = at_fault(error, f"The agent {config.kind} cannot take the state {source}")
        refused = MetarlError(
            f"{wrong} If its code or its settings have changed since then, take those of the training."
        )
        refused.add_note("".join(traceback.format_exception(error)))
        raise refused from error


def diverged(config: AgentConfig, wrong: str, settings: Sequence[str]) -> DivergedError:
    """Return the error, with the agent's step ``settings``."""
    sizes = [(name, getattr(config, name, None)) for name in settings]
    options = [f"--agent.{name.replace('_', '-')} ({size})" for name, size in sizes if size is not None]
    mend = f"Lower {' or '.join(options)}." if options else "Lower its step size."
    return DivergedError(f"The agent {config.kind} has diverged: {wrong}. {mend}")
