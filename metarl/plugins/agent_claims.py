"""The promises of every agent, as claims that are tried on a small probe.

Each claim is a function of an :class:`metarl.plugins.agent_probe.AgentProbe`; the first line of its docstring
is the promise. It raises :class:`BrokenPromise` with what was seen instead, or :class:`OpenQuestion` where it
does not apply.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import isfunction
from typing import TypeAlias

from metarl.plugins import agent_claims_acting as acting
from metarl.plugins import agent_claims_learning as learning
from metarl.plugins import agent_claims_memory as memory
from metarl.plugins.agent_probe import AgentProbe

Claim: TypeAlias = Callable[[AgentProbe], None]

# each public function of the three modules is a claim
CLAIMS: tuple[Claim, ...] = tuple(
    claim
    for module in (acting, memory, learning)
    for name, claim in vars(module).items()
    if isfunction(claim) and claim.__module__ == module.__name__ and not name.startswith("_")
)
