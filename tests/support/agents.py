"""Names of agents, by what they adapt by."""

from __future__ import annotations

from metarl.agents.gradient_based import GradientBasedConfig
from metarl.plugins.entry_points import AGENTS, names
from metarl.plugins.registry import agent

GRADIENT_BASED = [name for name in names(AGENTS) if issubclass(agent(name), GradientBasedConfig)]
"""Those that adapt by gradient; the tests of each other agent are its own."""
