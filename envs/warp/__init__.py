"""Meta-World's worlds in the memory of a GPU, stepped by MuJoCo Warp; needs the environment of the extra ``warp``.

https://github.com/google-deepmind/mujoco_warp. On a machine without CUDA everything runs on Warp's CPU device.
"""
