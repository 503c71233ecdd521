"""Policies and value functions as functions of their parameters."""
