"""Environments stepped by worker processes."""
