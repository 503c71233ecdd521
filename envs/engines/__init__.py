"""Engines for worlds: threads, processes, MuJoCo Warp.

No suite is known here.
"""
