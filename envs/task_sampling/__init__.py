"""Draw tasks: parameters, ranges, settings, splits."""
