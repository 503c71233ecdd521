"""Meta-World's task distributions."""
