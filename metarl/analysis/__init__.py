"""Measurement of adaptation's changes, layer by layer.

It finds which layers adaptation changes, and the gain of each.
"""
