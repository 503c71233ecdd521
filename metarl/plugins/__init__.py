"""Suites, agents, presets and commands by name or from files, and their checks."""
