"""Suites, agents, presets and commands by name or file, with checks of them."""
