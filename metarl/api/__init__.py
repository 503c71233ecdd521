"""Functions for scripts and notebooks.

``import metarl`` offers them.
"""
