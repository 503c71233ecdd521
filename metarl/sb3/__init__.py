"""To and from stable-baselines3 (Raffin et al. 2021): its view of our environments, its agents, its files."""
