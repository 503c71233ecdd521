"""Worlds in the memory of a GPU, Meta-World's and locomotion's, stepped by MuJoCo Warp; needs the extra ``warp``.

https://github.com/google-deepmind/mujoco_warp. Without CUDA everything runs on Warp's CPU device.
"""
