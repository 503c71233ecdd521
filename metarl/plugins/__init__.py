"""Registry of suites, agents and presets; their checks."""
