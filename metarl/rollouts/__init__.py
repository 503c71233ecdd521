"""Batched rollouts: collect episodes of many tasks at once."""
