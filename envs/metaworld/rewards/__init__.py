"""Compute Meta-World's 50 tasks as functions of arrays.

A task (:data:`~metarl.envs.metaworld.rewards.catalog.TASKS`, one family per module) names the MuJoCo features
that it reads; an engine gathers them after each step, ``[F, worlds]``. Then ``observation.observe`` makes the
observation and ``task.evaluate`` reward (v2) and info values, for one step or a whole rollout ``[F, steps,
worlds]``, in NumPy or torch. ``constants.constants_of`` reads the constants of a reset. Meta-World's quirks
are kept, and marked "Quirk, kept".
"""
