"""Meta-World's 50 tasks as functions of arrays.

They compute observation, reward (v2) and info values of many worlds. A task
(:data:`~metarl.envs.metaworld.rewards.catalog.TASKS`, one family per module) names the MuJoCo features it
reads; an engine gathers those after each step, ``[F, worlds]``. From them
:func:`~metarl.envs.metaworld.rewards.observation.observe` makes the observation, and
:func:`~metarl.envs.metaworld.rewards.task.evaluate` reward and info values: at every step, or for a whole
rollout ``[F, steps, worlds]`` at once, from NumPy arrays as from torch tensors. The constants of a reset are
read by :func:`~metarl.envs.metaworld.rewards.constants.constants_of`.

Meta-World's quirks are kept, and marked "Quirk, kept" where they are.
"""
