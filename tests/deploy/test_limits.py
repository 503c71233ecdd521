"""No action leaves its limits, whatever the policy draws."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.spaces import Box
from hypothesis import given
from hypothesis import strategies as st

from metarl.deploy.limits import ActionLimits
from metarl.deploy.settings import SafetySettings
from metarl.errors import MetarlError

floats = st.floats(-1e6, 1e6, allow_nan=False)
DTYPES = (np.float32, np.float64, np.float16, np.int32)


@st.composite
def limited_spaces(draw: st.DrawFn) -> tuple[Box, SafetySettings]:
    """Draw a space, and limits of one's own that leave it some action."""
    dtype = draw(st.sampled_from(DTYPES))
    size = draw(st.integers(1, 3))
    top = 6e4 if dtype == np.float16 else 1e6
    ends = st.floats(-top, top)
    bounds = [sorted((draw(ends), draw(ends))) for _ in range(size)]
    low, high = np.array(bounds).T
    if dtype == np.int32:
        low, high = np.floor(low), np.ceil(high)
    space = Box(low.astype(dtype), high.astype(dtype), dtype=dtype)
    if draw(st.booleans()):
        return space, SafetySettings()
    inner = [draw(st.floats(0.0, 1.0)) for _ in range(2)]
    wide = space.high.astype(float) - space.low.astype(float)
    low, high = (space.low.astype(float) + share * wide for share in sorted(inner))
    if dtype == np.int32:
        low, high = np.floor(low), np.ceil(high)
    if dtype != np.float64 and (low.astype(dtype) != low).any():  # keep a number of the dtype in between
        low, high = space.low.astype(float), space.high.astype(float)
    change = draw(st.floats(1e-3, 1e6))
    return space, SafetySettings(low=tuple(low), high=tuple(np.maximum(low, high)), max_change=(change,))


@given(limited_spaces(), st.lists(st.lists(floats, min_size=3, max_size=3), min_size=1, max_size=8))
def test_no_action_ever_leaves_its_limits(case: tuple[Box, SafetySettings], drawn: list[list[float]]) -> None:
    space, safety = case
    limits = ActionLimits(space, safety)
    before = None
    for wanted in drawn:
        sent = limits(np.array(wanted[: space.shape[0]]), before).action
        assert sent.dtype == space.dtype
        assert space.contains(sent)
        low, high = (
            np.array(bound or (default,)) for bound, default in ((safety.low, -np.inf), (safety.high, np.inf))
        )
        assert (low <= sent).all()
        assert (sent <= high).all()
        if before is not None and safety.max_change:
            step = np.abs(sent.astype(float) - before)
            rounding = np.spacing(np.abs(sent)).astype(float) if sent.dtype.kind == "f" else 0
            assert (step <= safety.max_change[0] + rounding + 1e-9).all()
        before = sent.astype(float)


def test_a_jump_is_slowed_and_a_small_move_is_not() -> None:
    limits = ActionLimits(Box(-1, 1, (2,)), SafetySettings(max_change=(0.25, 10.0)))
    first = limits(np.array([0.5, -3.0]), None)
    assert (first.action.tolist(), first.clipped, first.slowed) == ([0.5, -1.0], True, False)
    second = limits(np.array([-0.5, 1.0]), first.action.astype(float))
    assert (second.action.tolist(), second.clipped, second.slowed) == ([0.25, 1.0], False, True)
    third = limits(np.array([0.25, 1.0]), second.action.astype(float))
    assert (third.clipped, third.slowed) == (False, False)


def test_a_limit_between_two_numbers_of_the_dtype_is_rounded_inwards() -> None:
    tenth = 0.1  # float32's nearest is above
    sent = ActionLimits(Box(-1, 1, (1,), np.float32), SafetySettings(high=(tenth,)))(
        np.array([5.0]), None
    ).action
    assert float(sent[0]) <= tenth
    assert float(np.nextafter(sent, np.float32(1))[0]) > tenth


@pytest.mark.parametrize(
    ("safety", "message"),
    [
        ({"low": (0.0, 0.0, 0.0)}, "must have 1 or 2 values"),
        ({"low": (2.0,)}, "must meet the action space"),
    ],
)
def test_limits_that_do_not_fit_are_refused(safety: dict[str, tuple[float, ...]], message: str) -> None:
    with pytest.raises(MetarlError, match=message):
        ActionLimits(Box(-1, 1, (2,)), SafetySettings(**safety))  # type: ignore[arg-type]  # no field but these


def test_crossed_limits_are_refused() -> None:
    with pytest.raises(MetarlError, match="lower limit"):
        SafetySettings(low=(1.0,), high=(0.0,))
