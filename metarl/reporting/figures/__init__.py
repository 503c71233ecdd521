"""Figures of training, adaptation, agents and settings."""
