"""Engines that step worlds and know no suite: threads, processes, MuJoCo Warp."""
