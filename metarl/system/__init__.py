"""The machine that a program runs on: cores, threads, signals, caches."""
