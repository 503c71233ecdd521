"""Worlds on a GPU, stepped by MuJoCo Warp.

They serve Meta-World and locomotion, and need the extra ``warp``.
https://github.com/google-deepmind/mujoco_warp. Without CUDA everything runs on Warp's CPU device.
"""
