"""Data of the slots on the device: :class:`.slot_arrays.Tables` as tensors.

The arithmetic is the very same, :func:`.rewards.step.after_step`, in float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch

from metarl.envs.engines.arrays import Mask, tensor, vector
from metarl.envs.metaworld.models import Arm, hand_target
from metarl.envs.metaworld.reset_bank import Snapshot
from metarl.envs.metaworld.rewards.observation import FRAME_SIZE, OBSERVATION_SIZE, visible_goal
from metarl.envs.metaworld.rewards.step import after_step
from metarl.envs.metaworld.rewards.task import SawyerTask
from metarl.envs.metaworld.slot_arrays import OUTCOMES, num_constants, num_features

_ARM_WIDTHS = {"position": 3, "low": 3, "high": 3, "scale": 1}


class TensorTables:
    """Rows of slots, now and right after their next reset."""

    def __init__(self, num_envs: int, constants: int, device: torch.device) -> None:
        widths = {"observations": OBSERVATION_SIZE, "frames": FRAME_SIZE, "constants": constants}
        widths |= _ARM_WIDTHS
        # latest data, [N, ...]: observations clipped and not, reset constants, arms
        self.rows = {name: torch.zeros(num_envs, width, device=device) for name, width in widths.items()}
        # rows at the next reset, of the same shapes
        self._starts = {name: rows.clone() for name, rows in self.rows.items()}
        # whether an episode's first step comes next
        self.first = torch.zeros(num_envs, dtype=torch.bool, device=device)
        self.outcomes = torch.zeros(num_envs, len(OUTCOMES), device=device)  # of the last step: OUTCOMES

    def prepare(self, slots: Sequence[int], snapshots: Sequence[Snapshot]) -> None:
        """Set the snapshots with which some slots begin at their next :meth:`begin`."""
        device, width = self.first.device, self.rows["constants"].shape[1]
        columns = {name: [getattr(one.arm, name).reshape(-1) for one in snapshots] for name in Arm._fields}
        columns["observations"] = [one.observation for one in snapshots]
        columns["frames"] = [one.observation[:FRAME_SIZE] for one in snapshots]
        fixed = [one.constants["reward"] for one in snapshots]
        columns["constants"] = [np.pad(row, (0, width - len(row))) for row in fixed]
        index = torch.tensor(slots, device=device)
        for name, rows in columns.items():
            sent = torch.as_tensor(np.array(rows), dtype=torch.float32).to(device)
            self._starts[name].index_copy_(0, index, sent)

    def begin(self, mask: torch.Tensor) -> None:
        """Begin episodes in slots of ``mask [N]``; no other row changes."""
        for name, rows in self.rows.items():
            torch.where(mask[:, None], self._starts[name], rows, out=rows)
        self.first |= mask

    def act(self, actions: torch.Tensor, live: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Move live slots' arms by actions ``[N, 4]``; return fingers ``[N, 2]``, mocap ``[N, 1, 3]``."""
        arms = (vector(self.rows[name].T) for name in _ARM_WIDTHS)
        moved = tensor(hand_target(vector(actions.T), *arms)).T
        torch.where(live[:, None], moved, self.rows["position"], out=self.rows["position"])
        return torch.stack([actions[:, 3], -actions[:, 3]], dim=1), self.rows["position"][:, None]

    def advance(
        self,
        catalog: Mapping[int, SawyerTask],
        slots: Mapping[int, torch.Tensor],
        features: torch.Tensor,
        actions: torch.Tensor,
        sound: torch.Tensor,
    ) -> None:
        """Compute sound slots' observations and outcomes.

        ``catalog`` and ``slots`` are each family's task and slots; ``features [N, F]``, ``actions [N, 4]`` as
        the agent gave them, ``sound [N]``.
        """
        self.outcomes.zero_()
        for family, places in slots.items():
            self._advance(catalog[family], places, features[places], actions[places], sound[places, None])
        self.first &= ~sound

    def goals(
        self,
        catalog: Mapping[int, SawyerTask],
        slots: Mapping[int, torch.Tensor],
        features: torch.Tensor,
        *,
        clipped: bool,
    ) -> torch.Tensor:
        """Return the slots' goals, ``[N, 3]``, metres; the arguments are those of :meth:`advance`."""
        goals = torch.zeros(len(features), 3, device=features.device)
        for family, places in slots.items():
            task, constants = catalog[family], self.rows["constants"][places]
            arguments = (vector(rows.T) for rows in (features[places], constants))
            goals[places] = tensor(visible_goal(task, *arguments, clipped=clipped)).T
        return goals

    def _advance(
        self,
        task: SawyerTask,
        slots: torch.Tensor,
        features: torch.Tensor,
        actions: torch.Tensor,
        sound: torch.Tensor,
    ) -> None:
        # rows of this family's slots
        rows, fixed = {name: self.rows[name][slots] for name in self.rows}, num_constants(task)
        result = after_step(
            task,
            vector(features[:, : num_features(task)].T),
            vector(actions.T),
            vector(rows["constants"][:, :fixed].T),
            vector(rows["frames"].T),
            cast(Mask, self.first[slots]),
        )
        # slots that are not sound keep their rows: no branch waits for the device
        shown = {"frames": result.frame, "observations": result.observation}
        for name, values in shown.items():
            self.rows[name][slots] = torch.where(sound, tensor(values).T, rows[name])
        if task.latch is not None:
            constants = rows["constants"].clone()
            constants[:, :fixed] = tensor(result.constants).T
            self.rows["constants"][slots] = torch.where(sound, constants, rows["constants"])
        outcomes = [tensor(vars(result.outcome)[name]) for name in OUTCOMES]
        self.outcomes[slots] = torch.where(sound, torch.stack(outcomes, dim=1), 0.0)
