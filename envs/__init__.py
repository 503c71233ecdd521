"""Task distributions (suites) and the engines that step them; their names are registered with Gymnasium."""

from metarl.envs.registration import register_envs

register_envs()
