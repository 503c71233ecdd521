"""Policies and values as functions of parameters."""
