"""Bridge to stable-baselines3 (Raffin et al. 2021)."""
