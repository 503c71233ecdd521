"""Suites, agents, presets and commands by name or file, and checks."""
