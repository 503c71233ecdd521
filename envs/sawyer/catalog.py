"""All 50 tasks of Meta-World v3 by name."""

from __future__ import annotations

from metarl.envs.sawyer import buttons, carrying, doors, handles, plates, reach, sweeping, tools
from metarl.envs.sawyer.task import SawyerTask

_FAMILIES = (reach, carrying, sweeping, tools, buttons, handles, doors, plates)

TASKS: dict[str, SawyerTask] = {name: task for family in _FAMILIES for name, task in family.TASKS.items()}
