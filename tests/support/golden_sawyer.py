"""What holds under any MuJoCo, recorded under Meta-World's own: ``python tests/support/golden_sawyer.py``.

For each family one task, what its reset left, and one step later in the episode: the numbers that were read
from the physics, and what was shown and rewarded for them.
"""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS

from metarl.envs.metaworld.models import environment_class
from metarl.envs.metaworld.threads import SawyerVectorEnv
from metarl.types import Task
from support.physics import rand_vec, random_actions

GOLDEN = Path(__file__).with_name("golden") / "sawyer-mujoco-3.3.0.npz"
STEPS = 12
Columns = dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]


def golden() -> dict[str, Columns]:
    """Return the recorded numbers of each family."""
    found: dict[str, Columns] = {}
    with np.load(GOLDEN) as archive:
        for name in archive.files:
            family, _, column = name.partition("/")
            found.setdefault(family, {})[column] = archive[name]
    return found


def record(family: str) -> Columns:
    """Play one episode's beginning and return its reset and its last step."""
    vector = rand_vec(environment_class(family)(), 0)
    task = Task(family, tuple(vector.tolist()), family)
    env = SawyerVectorEnv(families=[family], default_tasks=[task], num_envs=1, horizon=500)
    columns = {"rand_vec": vector, "reset_observation": env.reset()[0][0]}
    for actions in random_actions(0, STEPS, 1):
        columns["frame_before"] = env._tables.frames[0].copy()
        columns["constants_before"] = env._tables.constants[0].copy()
        env.step(actions.astype(np.float64))
    columns |= {
        "action": env._tables.actions[0].astype(np.float64),
        "features": env._tables.features[0].copy(),
        "observation": env._tables.observations[0].copy(),
        "outcomes": env._tables.outcomes[0].copy(),
    }
    env.close()
    return columns


def main() -> None:
    """Write the file."""
    if mujoco.__version__ != "3.3.0":
        raise SystemExit(f"The file is to be written under mujoco 3.3.0, and this is {mujoco.__version__}.")
    rows = {
        f"{family}/{name}": values
        for family in sorted(ALL_V3_ENVIRONMENTS)
        for name, values in record(family).items()
    }
    GOLDEN.parent.mkdir(exist_ok=True)
    np.savez_compressed(GOLDEN, allow_pickle=False, **rows)


if __name__ == "__main__":
    main()
