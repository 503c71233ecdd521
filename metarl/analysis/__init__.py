"""Measure which layers adaptation changes, and the gain of each."""
