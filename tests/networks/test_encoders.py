"""The encoder of beliefs: a sequence is its steps, the past alone counts, and gradients are right."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from metarl.networks.encoders import LOG_VARIANCE_LIMIT, BeliefEncoder, Transition
from metarl.types import Params

STEPS, TRIALS = 7, 3
CELLS = ("gru", "linear")


def encoder_of(cell: str) -> BeliefEncoder:
    return BeliefEncoder(
        observation_size=3,
        action_size=2,
        latent_size=4,
        cell_name=cell,
        memory_size=5,
        observation_embedding=3,
        action_embedding=2,
        reward_embedding=2,
    )


def drawn(cell: str) -> tuple[BeliefEncoder, Params, Transition]:
    """Return an encoder, its parameters and transitions ``[S, B]``, in float64."""
    generator = torch.Generator().manual_seed(0)
    encoder = encoder_of(cell)
    params = encoder.initial_params(generator, torch.float64)
    params["belief.weight"] *= 10  # so that beliefs move

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(STEPS, TRIALS, *shape, generator=generator, dtype=torch.float64)

    starts = torch.zeros(STEPS, TRIALS, dtype=torch.bool)
    starts[0], starts[4] = True, True
    return encoder, params, Transition(normal(2), normal(), normal(3), starts)


@pytest.mark.parametrize("cell", CELLS)
def test_sequence_is_its_steps(cell: str) -> None:
    encoder, params, seen = drawn(cell)
    memory, states = torch.zeros(TRIALS, 5, dtype=torch.float64), []
    for step in range(STEPS):
        begun = torch.full((TRIALS,), step > 0)
        memory = encoder.step(params, Transition(*(part[step] for part in seen)), memory, begun)
        states.append(memory)
    torch.testing.assert_close(encoder.sequence(params, seen), torch.stack(states), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_first_belief_is_that_of_a_blank_memory_and_close_to_the_prior(cell: str) -> None:
    encoder, _, seen = drawn(cell)
    params = encoder.initial_params(torch.Generator().manual_seed(1), torch.float64)
    first = encoder.belief(params, encoder.sequence(params, seen)[0])
    blank = encoder.belief(params, torch.zeros(TRIALS, 5, dtype=torch.float64))
    for part, expected in zip(first, blank, strict=True):
        assert torch.equal(part, expected)
        torch.testing.assert_close(part, torch.zeros_like(part), rtol=0, atol=1e-9)  # mean 0, deviation 1


@pytest.mark.parametrize("chunk_steps", [1, 2, 3, 100])
def test_chunks_give_the_same_memory_and_stop_gradients(chunk_steps: int) -> None:
    encoder, params, seen = drawn("gru")
    watched = seen._replace(observations=seen.observations.clone().requires_grad_())
    chunked = encoder.sequence(params, watched, chunk_steps=chunk_steps)
    torch.testing.assert_close(chunked, encoder.sequence(params, seen), rtol=1e-12, atol=1e-12)
    (slopes,) = torch.autograd.grad(chunked[-1].sum(), watched.observations)
    # the last of the six steps that are read is in a chunk of this many
    reached = (STEPS - 2) % chunk_steps + 1
    flows = slopes.abs().sum(dim=(1, 2)) > 0
    assert flows.tolist() == [False] * (STEPS - reached) + [True] * reached


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("time", [0, 1, 4])
def test_belief_reads_the_past_alone(cell: str, time: int) -> None:
    encoder, params, seen = drawn(cell)
    floats = [part.clone().requires_grad_() for part in seen[:3]]
    beliefs = encoder.belief(params, encoder.sequence(params, Transition(*floats, seen.episode_starts)))
    total = torch.stack([part[time].sum() for part in beliefs]).sum()
    slopes = torch.autograd.grad(total, floats, materialize_grads=True)
    for slope in slopes:
        reads = slope.abs().flatten(1).sum(dim=1) > 0
        assert reads.tolist() == [1 <= step <= time for step in range(STEPS)]


@pytest.mark.parametrize("cell", CELLS)
def test_gradient_is_that_of_finite_differences(cell: str) -> None:
    encoder, params, seen = drawn(cell)
    names = list(params)

    def beliefs(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = dict(zip(names, values, strict=True))
        return tuple(encoder.belief(given, encoder.sequence(given, seen)))

    assert gradcheck(beliefs, tuple(value.requires_grad_() for value in params.values()))


def test_log_variances_stay_within_their_limit() -> None:
    encoder, params, _ = drawn("gru")
    wild = encoder.belief(
        params, 1e6 * torch.randn(9, 5, generator=torch.Generator().manual_seed(0)).double()
    )
    assert float(wild.log_std.abs().max()) <= 0.5 * LOG_VARIANCE_LIMIT
