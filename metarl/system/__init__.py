"""The machine: cores, threads, signals and caches."""
