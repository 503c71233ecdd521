"""Functions of ``import metarl`` for scripts and notebooks."""
