"""Stateless mathematics of tensors and arrays."""
