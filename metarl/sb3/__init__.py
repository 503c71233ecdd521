"""Bridge between metarl and stable-baselines3 (Raffin et al. 2021)."""
