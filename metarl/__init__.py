"""Meta-reinforcement learning on simulated robots.

    import metarl

    run = metarl.train("point", iterations=20)
    adapted = run.adapt(run.suite.tasks("test")[0])

The names below are imported when they are first used, so ``import metarl`` is fast. After ``import
gymnasium`` it also registers the environments, such as ``"metarl/reach-v3"``, as ``import metarl.envs`` does.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metarl.api.runs import Run as Run
    from metarl.api.runs import evaluate as evaluate
    from metarl.api.runs import load as load
    from metarl.api.runs import train as train
    from metarl.config import AgentConfig as AgentConfig
    from metarl.config import ExperimentConfig as ExperimentConfig
    from metarl.config import SuiteConfig as SuiteConfig
    from metarl.envs import from_gymnasium as from_gymnasium
    from metarl.errors import MetarlError as MetarlError
    from metarl.meta_learner import MetaLearner as MetaLearner
    from metarl.plugins.registry import configure as preset  # noqa: F401  # offered
    from metarl.rollouts.collect import collect as collect
    from metarl.tasks import TaskDistribution as TaskDistribution
    from metarl.types import Rollout as Rollout
    from metarl.types import Task as Task
    from metarl.vector_env import TaskVectorEnv as TaskVectorEnv

__version__ = "0.1.0"

_PLACES = {
    "Run": "metarl.api.runs",
    "evaluate": "metarl.api.runs",
    "load": "metarl.api.runs",
    "train": "metarl.api.runs",
    "AgentConfig": "metarl.config",
    "ExperimentConfig": "metarl.config",
    "SuiteConfig": "metarl.config",
    "from_gymnasium": "metarl.envs",
    "MetarlError": "metarl.errors",
    "MetaLearner": "metarl.meta_learner",
    "preset": "metarl.plugins.registry",
    "collect": "metarl.rollouts.collect",
    "TaskDistribution": "metarl.tasks",
    "Rollout": "metarl.types",
    "Task": "metarl.types",
    "TaskVectorEnv": "metarl.vector_env",
}
_OTHER_NAMES = {"preset": "configure"}

__all__ = ["__version__", *_PLACES]  # strings all of them


def __getattr__(name: str) -> object:
    """Import a name at its first use."""
    if name not in _PLACES:
        raise AttributeError(f"module 'metarl' has no attribute {name!r}")
    found: object = getattr(importlib.import_module(_PLACES[name]), _OTHER_NAMES.get(name, name))
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """List the offered names, imported or not."""
    return sorted({*globals(), *_PLACES})


if "gymnasium" in sys.modules:  # else whoever makes an environment by name has yet to import it
    importlib.import_module("metarl.envs")
