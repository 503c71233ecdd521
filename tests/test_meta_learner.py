"""Checks of what an agent says of itself."""

from __future__ import annotations

import re

import pytest

from metarl.errors import AgentFormError
from metarl.meta_learner import check_learner, state_of
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


def test_state_of_another_type_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "stride" in state_of(tiny.StrideAgent()).tensors
    monkeypatch.setattr(tiny.StrideAgent, "state", lambda self: {})
    with pytest.raises(AgentFormError, match=r"to return a metarl\.types\.State, got a dict"):
        state_of(tiny.StrideAgent())
