"""Worlds of one model in MuJoCo Warp: one (Model, Data, CUDA graph), seen as tensors.

Tensors and Warp's arrays share their memory, and no array is bound anew after a graph has been captured: all
that changes is written in place.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import mujoco
import mujoco_warp as mjw
import torch
import warp as wp

from metarl.envs.engines.threads.batched import WorldState
from metarl.envs.engines.threads.worlds import BAD_NUMBER, Finish
from metarl.envs.engines.warp.fields import own, put_model
from metarl.envs.engines.warp.starts import VELOCITIES, StartReader, stacked
from metarl.errors import MetarlError

WORLD_BYTES = 500_000  # estimated, with default buffers; most of them serve to collide convex shapes
_LOST = (
    mjw.OverflowType.NEFC
    | mjw.OverflowType.NJMAX_NNZ
    | mjw.OverflowType.BROADPHASE
    | mjw.OverflowType.NARROWPHASE
    | mjw.OverflowType.CCD
)  # overflows that lose a contact or constraint
_CHECKED = ("qpos", "qvel", "qacc")


@dataclass(frozen=True)
class BufferSizes:
    """Buffer sizes of a world.

    The most contacts and constraints seen in 500 random substeps of the 50 tasks is 53 and 215.
    """

    contacts: int = 64  # mean of a world; the worlds of a batch share one buffer
    constraints: int = 256  # rows of each world
    convex: int = 48  # mean pairs of convex geoms per world


@dataclass(frozen=True)
class BatchPlan:
    """How worlds are kept and stepped."""

    sizes: BufferSizes = field(default_factory=BufferSizes)
    expanded: tuple[str, ...] = ()  # model fields of each world's own
    finish: Finish = Finish.FORWARD  # the computation after the last substep of a step


class WarpBatch:
    """Worlds of one MuJoCo model, which stays as it is, on ``"cpu"`` or ``"cuda:0"``.

    If Warp cannot step the model, or memory is short, ``MetarlError`` says so and how many worlds fit.
    """

    def __init__(self, model: mujoco.MjModel, num_worlds: int, device: torch.device, plan: BatchPlan) -> None:
        self.num_worlds, self.device, self.plan = num_worlds, device, plan
        self.reader = StartReader(model, plan.expanded)
        self._graphs: dict[int, wp.Graph] = {}
        self._fields: dict[str, torch.Tensor] = {}
        with wp.ScopedDevice(str(device)), _told_what_fits(num_worlds, device):
            self._model, self._data = _put(model, num_worlds, plan)
            # tensors that share memory with Warp's arrays
            self.contact = {
                name: wp.to_torch(getattr(self._data.contact, name))
                for name in ("geom", "worldid", "efc_address")
            }
            self.forces = wp.to_torch(self._data.efc.force)
            # every world starts in the model's initial state
            initial = stacked([self.reader.initial()])
            self._start = {
                name: torch.as_tensor(values, device=device).repeat_interleave(num_worlds, dim=0)
                for name, values in initial.items()
            }
        self.restore(torch.ones(num_worlds, dtype=torch.bool, device=device))

    def field(self, name: str) -> torch.Tensor:
        """Return a live field of Warp's data or of the worlds' model, ``[N, ...]``."""
        if name not in self._fields:
            is_own = name in self.plan.expanded
            self._fields[name] = wp.to_torch(own(self._model, name) if is_own else getattr(self._data, name))
        return self._fields[name]

    def state(self, row: int) -> WorldState:
        """Return a world's state for MuJoCo C."""
        names = self._start.keys()
        return self.reader.state({name: self.field(name)[row].cpu().numpy() for name in names})

    def prepare(self, rows: torch.Tensor, starts: Mapping[str, torch.Tensor]) -> None:
        """Set the states ``[R, ...]`` from which some worlds start at their next :meth:`restore`."""
        for name, values in starts.items():
            self._start[name].index_copy_(0, rows, values)

    def restore(self, mask: torch.Tensor) -> None:
        """Put the worlds of ``mask [num_worlds]`` where they start; change no other's memory."""
        self._restore(mask, tuple(self._start))

    def step(self, num_substeps: int) -> None:
        """Step every world, then follow the plan."""
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
        """Return worlds that lost a contact or hold bad numbers, ``[num_worlds]``; put them back.

        Put back, they do no harm to the others, with whom they share buffers.
        """
        broken = (self.field("overflow") & int(_LOST)) != 0
        for name in _CHECKED:
            values = self.field(name)
            broken |= ~((values.abs() <= BAD_NUMBER).all(dim=1))
        self.field("overflow").zero_()
        self._restore(broken, ("qpos", "qvel", "act", "qacc_warmstart", *VELOCITIES))
        return broken

    def copy_from(self, other: WarpBatch) -> None:
        """Copy a batch of the same model, smaller or with fewer own fields, into the first worlds."""
        for name in other._start:
            self.field(name)[: other.num_worlds] = other.field(name)
            self._start[name][: other.num_worlds] = other._start[name]

    def _restore(self, mask: torch.Tensor, names: tuple[str, ...]) -> None:
        for name in names:
            field, start = self.field(name), self._start[name].view_as(self.field(name))
            torch.where(mask.view(-1, *[1] * (field.ndim - 1)), start, field, out=field)

    def _advance(self, num_substeps: int) -> None:
        for _ in range(num_substeps):
            mjw.step(self._model, self._data)
        if self.plan.finish is Finish.FORWARD:
            mjw.forward(self._model, self._data)
        elif self.plan.finish is Finish.RNE:
            mjw.rne_postconstraint(self._model, self._data)

    def _capture(self, num_substeps: int) -> wp.Graph:
        """Record a step; leave every state unchanged.

        Warp loads kernels at their first launch, which must not fall into a capture; and PyTorch's default
        stream cannot be captured, so this is done on Warp's own.
        """
        # capturing needs a step that has run before, so the worlds' state is put back afterwards
        kept = {name: self.field(name).clone() for name in self._start}
        torch.cuda.synchronize(self.device)
        with wp.ScopedDevice(str(self.device)):
            self._advance(num_substeps)
            wp.synchronize_device()
            with wp.ScopedCapture() as capture:
                self._advance(num_substeps)
        wp.synchronize_device(str(self.device))
        for name, values in kept.items():
            self.field(name).copy_(values)
        self.field("overflow").zero_()
        return capture.graph


def _put(model: mujoco.MjModel, num_worlds: int, plan: BatchPlan) -> tuple[mjw.Model, mjw.Data]:
    """Copy model and initial state to the device; raise ``MetarlError`` if Warp cannot step the model."""
    primitive = copy.copy(model)
    # Two boxes then meet by their own collider; its contacts are a hundred times nearer to MuJoCo's.
    primitive.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_NATIVECCD)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    there = put_model(primitive, plan.expanded, num_worlds)
    there.opt.warn_overflow = 0  # it is counted and reported by task
    placed = mjw.put_data(
        model,
        data,
        nworld=num_worlds,
        nconmax=plan.sizes.contacts,
        njmax=plan.sizes.constraints,
        nccdmax=plan.sizes.convex,
    )
    return there, placed


@contextmanager
def _told_what_fits(num_worlds: int, device: torch.device) -> Iterator[None]:
    """Turn a want of memory into a MetarlError of one sentence."""
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
    """Return a device's free memory, for the CPU the machine's."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024
