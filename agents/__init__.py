"""Meta-reinforcement-learning agents, one file per algorithm, and the presets that train them."""
