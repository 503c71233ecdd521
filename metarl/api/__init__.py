"""Functions for scripts and notebooks, offered by ``import metarl``."""
