"""Worlds in the memory of a GPU, stepped by MuJoCo Warp: Meta-World and locomotion; needs the extra ``warp``.

https://github.com/google-deepmind/mujoco_warp. Without CUDA everything runs on Warp's CPU device.
"""
