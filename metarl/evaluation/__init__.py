"""Measure adaptation on held-out tasks, with honest intervals."""
