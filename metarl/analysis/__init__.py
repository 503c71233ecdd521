"""Measure each layer's change by adapting, and gain."""
