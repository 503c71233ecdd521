"""No action leaves its limits, whatever the policy draws."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.spaces import Box
from hypothesis import given
from hypothesis import strategies as st

from metarl.deploy.environment import ActionMode, CheckedEnv
from metarl.deploy.limits import ActionLimits
from metarl.deploy.settings import SafetySettings
from metarl.envs.toy.bandits import BanditsConfig
from metarl.envs.toy.point import PointConfig
from metarl.errors import MetarlError
from support.robots import Table

floats = st.floats(-1e6, 1e6, allow_nan=False)
SUITE = PointConfig().build()
DTYPES = (np.float32, np.float64, np.float16, np.int32)


@st.composite
def limited_spaces(draw: st.DrawFn) -> tuple[Box, SafetySettings]:
    """Draw a space, and limits of one's own within it."""
    dtype = draw(st.sampled_from(DTYPES))
    top = 6e4 if dtype == np.float16 else 1e6
    bounds = [sorted((draw(st.floats(-top, top)), draw(st.floats(-top, top)))) for _ in range(2)]
    low, high = np.array(bounds).T
    if dtype == np.int32:
        low, high = np.floor(low), np.ceil(high)
    space = Box(low.astype(dtype), high.astype(dtype), dtype=dtype)
    low, high = space.low.astype(float), space.high.astype(float)
    shares = np.sort([[draw(st.floats(0.0, 1.0)) for _ in range(2)] for _ in range(2)], axis=0)
    own = [tuple(np.clip(low + share * (high - low), low, high)) for share in shares]
    change = draw(st.one_of(st.none(), st.floats(1e-3, 1e6)))
    return space, SafetySettings(
        low=draw(st.sampled_from([(), own[0]])),
        high=draw(st.sampled_from([(), own[1]])),
        max_change=() if change is None else (change,),
        start=draw(st.sampled_from([(), own[0]])) if dtype == np.float64 else (),
    )


def numbers_between(low: float, high: float, dtype: np.dtype[np.generic]) -> bool:
    """Return whether a number of the dtype is within limits."""
    if dtype.kind == "i":
        return any(low <= number <= high for number in (np.floor(low), np.floor(low) + 1))
    near = np.asarray(low).astype(dtype)
    return any(low <= float(number) <= high for number in (near, np.nextafter(near, dtype.type(np.inf))))


@given(
    limited_spaces(),
    st.sampled_from(["as-trained", "rescale", "clip"]),
    st.lists(st.lists(st.tuples(floats, floats), min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_no_action_ever_leaves_its_limits(
    case: tuple[Box, SafetySettings], mode: ActionMode, episodes: list[list[tuple[float, float]]]
) -> None:
    """Over random spaces, limits and policies, and over the starts of episodes."""
    space, safety = case
    low = np.array(safety.low or space.low, float)
    high = np.array(safety.high or space.high, float)
    between = [numbers_between(*each, space.dtype) for each in zip(low, high, strict=True)]
    env = Table(action_space=space)
    if space.dtype.kind == "i" and not all(between):
        with pytest.raises(MetarlError, match="must leave Box"):
            CheckedEnv(env, SUITE, safety, mode)
        return
    checked = CheckedEnv(env, SUITE, safety, mode)
    # limits nearer to each other than two numbers of the dtype stand for one of them
    slack = np.where(between, 0.0, np.abs(np.spacing(space.low)).astype(float))
    for drawn in episodes:
        checked.reset()
        before = np.array(safety.start) if safety.start else None
        for wanted in drawn:
            checked.send(np.array(wanted, np.float32))
            sent = env.sent[-1]
            assert sent.dtype == space.dtype
            assert space.contains(sent)
            assert (sent >= low - slack).all()
            assert (sent <= high + slack).all()
            if before is not None and safety.max_change:
                assert (np.abs(sent.astype(float) - before) <= safety.max_change[0] + 1e-9).all()
            before = sent.astype(float)


def test_a_joint_may_be_fixed_to_a_number_that_its_dtype_does_not_have() -> None:
    limits = ActionLimits(Box(-1, 1, (2,), np.float32), SafetySettings(low=(0.1,), high=(0.1,)))
    assert limits(np.array([-1.0, 1.0]), None).action.tolist() == [np.float32(0.1)] * 2


def test_the_first_action_changes_from_the_one_that_holds_at_the_start() -> None:
    env = Table(action_space=Box(-1, 1, (2,)))
    checked = CheckedEnv(env, SUITE, SafetySettings(max_change=(0.25,), start=(0.5, 0.0)), "clip")
    for _ in range(2):
        checked.reset()
        checked.send(np.ones(2, np.float32))
        assert (env.sent[-1].tolist(), checked.slowed) == ([0.75, 0.25], 1)


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
        ({"low": (0.5,), "start": (0.0,)}, "start must be within the limits"),
        ({"min_return": float("nan")}, "Expected min_return < inf, got nan"),
    ],
)
def test_limits_that_do_not_fit_are_refused(safety: dict[str, tuple[float, ...]], message: str) -> None:
    with pytest.raises(MetarlError, match=message):
        ActionLimits(Box(-1, 1, (2,)), SafetySettings(**safety))  # type: ignore[arg-type]  # no field but these


def test_crossed_limits_are_refused() -> None:
    with pytest.raises(MetarlError, match="lower limit"):
        SafetySettings(low=(1.0,), high=(0.0,))


@pytest.mark.parametrize("start", [0.7, -0.7])
def test_start_between_whole_numbers_is_refused(start: float) -> None:
    space = Box(-5, 5, (1,), np.int64)
    with pytest.raises(MetarlError, match="start must be whole numbers"):
        ActionLimits(space, SafetySettings(start=(start,)))
    limits = ActionLimits(space, SafetySettings(start=(2.0,), max_change=(1.0,)))
    assert limits(np.array([5.0]), limits.start).action.tolist() == [3]


@pytest.mark.parametrize("mode", ["rescale", "clip"])
def test_choices_are_neither_rescaled_nor_clipped(mode: ActionMode) -> None:
    suite = BanditsConfig(arms=3).build()
    env = Table()
    env.observation_space, env.action_space = suite.observation_space, suite.action_space  # type: ignore[assignment]  # choices
    with pytest.raises(MetarlError, match=rf"--actions {mode} needs actions that are numbers"):
        CheckedEnv(env, suite, SafetySettings(), mode)
    CheckedEnv(env, suite, SafetySettings(), "as-trained")
