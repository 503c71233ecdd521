"""Whole experiments by name."""
