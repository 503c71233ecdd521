"""Stable-Baselines3 at equal budgets."""
