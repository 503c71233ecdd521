"""Suites, agents, presets and commands, with checks.

They are found by name or in files.
"""
