"""Helpers of the tests: tasks, agents, runs, references."""
