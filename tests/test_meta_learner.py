"""Checks of what an agent says of itself."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from metarl.errors import AgentFormError
from metarl.meta_learner import Plan, check_device, check_learner, plan_of, state_of, steps_to_adapt
from metarl.types import State
from support import tiny


@pytest.mark.parametrize(
    ("part", "value", "sentence"),
    [
        ("trial", "sequental", "trial of StrideAgent to be 'parallel' or 'sequential', got 'sequental'"),
        ("adaptation_steps", -1, "adaptation_steps of StrideAgent to be an int >= 0, got -1"),
        ("adaptation_steps", 1.0, "adaptation_steps of StrideAgent to be an int >= 0, got 1.0"),
        ("adaptation_steps", None, "adaptation_steps of StrideAgent to be an int >= 0, got None"),
    ],
)
def test_slip_of_an_agent_about_its_trials_is_refused(
    monkeypatch: pytest.MonkeyPatch, part: str, value: object, sentence: str
) -> None:
    check_learner(tiny.StrideAgent())
    monkeypatch.setattr(tiny.StrideAgent, part, value)
    with pytest.raises(AgentFormError, match=f"^Expected {re.escape(sentence)}"):
        check_learner(tiny.StrideAgent())


@pytest.mark.parametrize(
    ("trial", "trained", "steps"),
    [("parallel", 0, 1), ("parallel", 3, 3), ("sequential", 0, 0), ("sequential", 2, 2)],
)
def test_new_task_is_adapted_to_at_least_once_by_steps(
    monkeypatch: pytest.MonkeyPatch, trial: str, trained: int, steps: int
) -> None:
    monkeypatch.setattr(tiny.StrideAgent, "trial", trial)
    monkeypatch.setattr(tiny.StrideAgent, "adaptation_steps", trained)
    assert steps_to_adapt(tiny.StrideAgent()) == steps


def test_state_of_another_type_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "stride" in state_of(tiny.StrideAgent()).tensors
    monkeypatch.setattr(tiny.StrideAgent, "state", lambda self: {})
    with pytest.raises(AgentFormError, match=r"to return a metarl\.types\.State, got a dict"):
        state_of(tiny.StrideAgent())


WEIGHT = {"weight": torch.zeros(2)}


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (State(WEIGHT, None), "values as a dict that JSON can hold, got None"),  # type: ignore[arg-type]  # the fault
        (State(None, {}), "tensors as a dict of tensors by name, got None"),  # type: ignore[arg-type]  # the fault
        (State({3: torch.zeros(2)}, {}), "tensors by name, got the name 3"),  # type: ignore[dict-item]  # the fault
        (State({"__metadata__": torch.zeros(2)}, {}), "by name, got the name '__metadata__'"),
        (State({"weight": np.zeros(2)}, {}), "'weight' as a dense torch.Tensor, got ndarray"),  # type: ignore[dict-item]  # the fault
        (State({"weight": torch.eye(2).to_sparse()}, {}), "dense torch.Tensor, got torch.sparse_coo"),
        (State(WEIGHT, {}, [1]), "segments as a tuple of metarl.types.Segment, got [1]"),  # type: ignore[arg-type]  # the fault
        (State(WEIGHT, {"seen": {1: 2}}), "values['seen'] with names that are strings, got the name 1"),  # type: ignore[dict-item]  # the fault
        (State(WEIGHT, {"seen": [0.0, math.nan]}), "values['seen'][1] as a finite number, got nan"),
        (State(WEIGHT, {"seen": np.int64(3)}), "values['seen'] as JSON can hold it, got np.int64(3)"),  # type: ignore[dict-item]  # the fault
    ],
)
def test_state_that_no_checkpoint_can_hold_is_refused(
    monkeypatch: pytest.MonkeyPatch, state: State, sentence: str
) -> None:
    monkeypatch.setattr(tiny.StrideAgent, "state", lambda self: state)
    with pytest.raises(AgentFormError, match=f"a State that can be saved: .*{re.escape(sentence)}"):
        state_of(tiny.StrideAgent())


def test_state_of_numbers_texts_and_lists_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    state = State(
        {**WEIGHT, "count": torch.zeros((), dtype=torch.int64)}, {"a": [1, None, {"b": (True, "c")}]}
    )
    monkeypatch.setattr(tiny.StrideAgent, "state", lambda self: state)
    assert state_of(tiny.StrideAgent()) is state


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (None, "return a metarl.meta_learner.Plan, got None"),
        (Plan(collects="everything"), "'meta-batch', 'all tasks', 'nothing', got 'everything'"),  # type: ignore[arg-type]  # the fault
        (Plan(adaptation_steps=-1), "adaptation_steps as an int >= 0, got -1"),
        (Plan(further_updates=0.5), "further_updates as an int >= 0, got 0.5"),  # type: ignore[arg-type]  # the fault
    ],
)
def test_plan_that_cannot_be_followed_is_refused(
    monkeypatch: pytest.MonkeyPatch, plan: Plan, sentence: str
) -> None:
    monkeypatch.setattr(tiny.StrideAgent, "remember", lambda *_: None, raising=False)
    monkeypatch.setattr(tiny.StrideAgent, "plan", lambda *_: plan, raising=False)
    with pytest.raises(AgentFormError, match=f"^Expected plan of StrideAgent to .*{re.escape(sentence)}"):
        plan_of(tiny.StrideAgent(), 0)


@pytest.mark.parametrize("device", ["cuda", torch.device("meta"), "nowhere", None])
def test_agent_on_another_device_than_it_was_built_for_is_refused(
    monkeypatch: pytest.MonkeyPatch, device: object
) -> None:
    check_device(tiny.StrideAgent(), torch.device("cpu"))
    monkeypatch.setattr(tiny.StrideAgent, "device", device)
    with pytest.raises(AgentFormError, match=f"that it was built for, cpu, got {device}.$"):
        check_device(tiny.StrideAgent(), torch.device("cpu"))


def test_plan_without_remember_is_refused() -> None:
    class Planner(tiny.StrideAgent):
        def plan(self, iteration: int) -> Plan:
            return Plan()

    with pytest.raises(AgentFormError, match="Planner, which has a plan, to have remember too"):
        check_learner(Planner())
