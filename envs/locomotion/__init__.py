"""Gymnasium's MuJoCo robots as task distributions."""
