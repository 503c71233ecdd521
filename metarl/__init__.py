"""Meta-reinforcement learning on simulated robots."""

__version__ = "0.1.0"
