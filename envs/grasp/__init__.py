"""Grasping objects of many shapes with the Sawyer arm."""
