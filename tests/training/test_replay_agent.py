"""An agent with a replay buffer keeps the contract of agents."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from metarl.config import AgentConfig
from support import agent_contract
from support.replay_agent import ReplayAgentConfig

CLAIMS = [claim for claim in agent_contract.AGENT_CLAIMS if claim.__name__ != "experience_changes_the_policy"]
"""The agent does not adapt."""


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_agent_contract(claim: Callable[[AgentConfig], None]) -> None:
    claim(ReplayAgentConfig(hidden_sizes=(8,)))
