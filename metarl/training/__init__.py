"""Train, stop, resume and repeat experiments."""
