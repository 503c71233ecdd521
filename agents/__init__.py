"""Meta-reinforcement-learning agents, one file per algorithm."""
