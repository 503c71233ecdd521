"""Functions for scripts and notebooks, which ``import metarl`` offers."""
