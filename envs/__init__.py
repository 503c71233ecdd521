"""Task distributions (suites) and their engines, with names registered with Gymnasium."""

from metarl.envs.custom.from_gymnasium import from_gymnasium
from metarl.envs.registration import register_envs

__all__ = ["from_gymnasium", "register_envs"]

register_envs()
