"""Worlds of one model in one (Model, Data, CUDA graph) of MuJoCo Warp, seen as tensors.

Tensors and Warp's arrays share their memory, and no array is bound anew after a graph has been captured: all
that changes is written in place.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mujoco
import mujoco_warp as mjw
import torch
import warp as wp

from metarl.envs.physics.sawyer import EXPANDED
from metarl.envs.warp.starts import POSES, START_FIELDS, STATE_FIELDS, VELOCITIES, StartReader, stacked
from metarl.errors import MetarlError

WORLD_BYTES = 500_000
"""An estimate of what a world takes with the default buffers, most of it to collide convex shapes."""
BAD_NUMBER = 1e10
"""MuJoCo calls a number bad that is NaN or larger than this."""
_LOST = (
    mjw.OverflowType.NEFC
    | mjw.OverflowType.NJMAX_NNZ
    | mjw.OverflowType.BROADPHASE
    | mjw.OverflowType.NARROWPHASE
    | mjw.OverflowType.CCD
)
"""Overflows after which a contact or a constraint is missing."""
_CHECKED = ("qpos", "qvel", "qacc")
_SEEN = (
    *(*STATE_FIELDS, *POSES, *VELOCITIES, "qacc"),
    *("xpos", "xquat", "xmat", "site_xpos", "site_xmat"),
    *("nacon", "overflow"),
)
"""What of Warp's data is seen as tensors."""


@dataclass(frozen=True)
class BufferSizes:
    """How much room a world has; the most seen in 500 random substeps of the 50 tasks is 53 and 215."""

    contacts: int = 64
    """Contacts of a world on average: the worlds of a batch share one buffer."""
    constraints: int = 256
    """Rows of constraints of each world."""
    convex: int = 48
    """Pairs of convex geoms of a world on average."""


class WarpBatch:
    """Worlds of one model.

    Args:
        model: MuJoCo's; it stays as it is.
        num_worlds: how many.
        device: ``"cpu"``, ``"cuda:0"``.
        sizes: of the buffers.

    Raises:
        MetarlError: if the device has not enough memory; it says how many worlds fit.
    """

    def __init__(
        self, model: mujoco.MjModel, num_worlds: int, device: torch.device, sizes: BufferSizes
    ) -> None:
        self.num_worlds, self.device = num_worlds, device
        self.reader = StartReader(model)
        self._graphs: dict[int, wp.Graph] = {}
        self.fields: dict[str, torch.Tensor] = {}
        """What of Warp's data, and of its model, is seen as tensors, ``[num_worlds, ...]`` each."""
        with wp.ScopedDevice(str(device)), _told_what_fits(num_worlds, device):
            self._model, self._data = _put(model, num_worlds, sizes)
            self.fields |= {name: wp.to_torch(getattr(self._data, name)) for name in _SEEN}
            self.fields |= {name: wp.to_torch(getattr(self._model, name)) for name in EXPANDED}
            self.contact = {
                name: wp.to_torch(getattr(self._data.contact, name))
                for name in ("geom", "worldid", "efc_address")
            }
            self.forces = wp.to_torch(self._data.efc.force)
            initial = stacked([self.reader.initial()])
            self._start = {
                name: torch.as_tensor(initial[name], device=device).repeat_interleave(num_worlds, dim=0)
                for name in START_FIELDS
            }
        self.restore(torch.ones(num_worlds, dtype=torch.bool, device=device))

    def prepare(self, rows: torch.Tensor, starts: Mapping[str, torch.Tensor]) -> None:
        """Let some worlds start from these states at their next :meth:`restore`, ``[R, ...]`` each."""
        for name, values in starts.items():
            self._start[name].index_copy_(0, rows, values)

    def restore(self, mask: torch.Tensor) -> None:
        """Put the worlds of ``mask [num_worlds]`` where they start; no other world's memory changes."""
        self._restore(mask, START_FIELDS)

    def step(self, num_substeps: int) -> None:
        """Step every world, and compute what belongs to the state they end in."""
        if self.device.type == "cpu":
            with wp.ScopedDevice("cpu"):
                self._advance(num_substeps)
            return
        if num_substeps not in self._graphs:
            with _told_what_fits(self.num_worlds, self.device):
                self._graphs[num_substeps] = self._capture(num_substeps)
        stream = wp.stream_from_torch(torch.cuda.current_stream(self.device))
        wp.capture_launch(self._graphs[num_substeps], stream=stream)

    def take_broken(self) -> torch.Tensor:
        """Return which worlds lost a contact or hold bad numbers, ``[num_worlds]``, and put these back.

        Put back, they do no harm to the others, with whom they share buffers.
        """
        broken = (self.fields["overflow"] & int(_LOST)) != 0
        for name in _CHECKED:
            values = self.fields[name]
            broken |= ~((values.abs() <= BAD_NUMBER).all(dim=1))
        self.fields["overflow"].zero_()
        self._restore(broken, ("qpos", "qvel", "act", "qacc_warmstart", *VELOCITIES))
        return broken

    def copy_from(self, other: WarpBatch) -> None:
        """Let the first worlds be those of a smaller batch of the same model."""
        for name in START_FIELDS:
            self.fields[name][: other.num_worlds] = other.fields[name]
            self._start[name][: other.num_worlds] = other._start[name]

    def _restore(self, mask: torch.Tensor, names: tuple[str, ...]) -> None:
        for name in names:
            field, start = self.fields[name], self._start[name].view_as(self.fields[name])
            torch.where(mask.view(-1, *[1] * (field.ndim - 1)), start, field, out=field)

    def _advance(self, num_substeps: int) -> None:
        for _ in range(num_substeps):
            mjw.step(self._model, self._data)
        mjw.forward(self._model, self._data)

    def _capture(self, num_substeps: int) -> wp.Graph:
        """Record a step, which leaves every world's state as it is.

        Warp loads kernels at their first launch, which must not fall into a capture; and PyTorch's default
        stream cannot be captured, so this is done on Warp's own.
        """
        kept = {name: self.fields[name].clone() for name in START_FIELDS}
        torch.cuda.synchronize(self.device)
        with wp.ScopedDevice(str(self.device)):
            self._advance(num_substeps)
            wp.synchronize_device()
            with wp.ScopedCapture() as capture:
                self._advance(num_substeps)
        wp.synchronize_device(str(self.device))
        for name, values in kept.items():
            self.fields[name].copy_(values)
        self.fields["overflow"].zero_()
        return capture.graph


def _put(model: mujoco.MjModel, num_worlds: int, sizes: BufferSizes) -> tuple[mjw.Model, mjw.Data]:
    """Copy a model and its initial state to the current device."""
    primitive = copy.copy(model)
    # Two boxes then meet by their own collider, whose contacts are a hundred times nearer to MuJoCo's.
    primitive.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_NATIVECCD)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    there = mjw.put_model(primitive, batch_sizes=dict.fromkeys(EXPANDED, num_worlds))
    there.opt.warn_overflow = 0  # it is counted and reported by task
    placed = mjw.put_data(
        model,
        data,
        nworld=num_worlds,
        nconmax=sizes.contacts,
        njmax=sizes.constraints,
        nccdmax=sizes.convex,
    )
    return there, placed


@contextmanager
def _told_what_fits(num_worlds: int, device: torch.device) -> Iterator[None]:
    """Turn a want of memory into one sentence.

    Raises:
        MetarlError: if there was one.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "alloc" not in str(error):
            raise
        free = free_bytes(device)
        raise MetarlError(
            f"{num_worlds} worlds of one model want about {num_worlds * WORLD_BYTES / 2**30:.1f} GiB; "
            f"{device} has {free / 2**30:.1f} GiB free, where about {free // WORLD_BYTES} fit."
        ) from error


def free_bytes(device: torch.device) -> int:
    """Return how much memory a device has left; of the CPU, how much the machine has."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024
