"""Meta-reinforcement-learning agents, one file per algorithm.

With them are the presets that train them.
"""
