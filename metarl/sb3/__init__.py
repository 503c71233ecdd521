"""Bridge to and from stable-baselines3.

It has its view of our environments, its agents and its files (Raffin et al. 2021).
"""
