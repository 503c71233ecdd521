"""Grasping objects of many shapes with Sawyer."""
