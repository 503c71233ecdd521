"""Worlds of Meta-World and locomotion on a GPU, stepped by MuJoCo Warp (extra ``warp``).

https://github.com/google-deepmind/mujoco_warp. Without CUDA everything runs on Warp's CPU device.
"""
