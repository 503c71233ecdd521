"""Batched rollouts: episodes of many tasks at once."""
