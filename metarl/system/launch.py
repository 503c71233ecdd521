"""How torchrun, or another launcher that sets its variables, has started this process."""

from __future__ import annotations

import os
from dataclasses import dataclass

from metarl.errors import MetarlError

HANG_SECONDS = 1800.0


@dataclass(frozen=True)
class Launch:
    """One rank of several."""

    rank: int
    size: int
    address: str
    port: int
    hosts_store: bool
    """Whether this process is to host the store that ranks meet in; torchrun hosts one itself."""
    hang_seconds: float
    """Seconds that ranks wait for one that lives but does not come to an exchange."""


def launched() -> Launch | None:
    """Return this process's place among several ranks; None if it is alone.

    Raises:
        MetarlError: if the variables make no sense.
    """
    size = _number("WORLD_SIZE", 1, least=1)
    if size == 1:
        return None
    rank = _number("RANK", -1)
    if not 0 <= rank < size:
        raise MetarlError(
            f"Expected RANK in 0..{size - 1} with WORLD_SIZE {size}, got {os.environ.get('RANK')}."
        )
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return Launch(
        rank,
        size,
        os.environ.get("MASTER_ADDR", "127.0.0.1"),
        _number("MASTER_PORT", 29500, least=1, most=65535),
        hosts_store=rank == 0 and not agent,
        hang_seconds=_number("METARL_RANK_TIMEOUT", int(HANG_SECONDS), least=1),
    )


def is_first_here() -> bool:
    """Return whether this is the machine's first rank, or a process on its own."""
    return os.environ.get("LOCAL_RANK", "0") == "0" or ranks_here() == 1


def ranks_here() -> int:
    """Return the number of ranks on this machine, which share its cores."""
    return max(1, _number("LOCAL_WORLD_SIZE", 1)) if _number("WORLD_SIZE", 1) > 1 else 1


def of_this_machine(count: int) -> int:
    """Return this rank's part of the machine's cores, at least 1."""
    here = ranks_here()
    return max(1, (count + here - 1 - local_rank()) // here)


def local_rank() -> int:
    """Return this process's place among the ranks of its machine, from 0."""
    return _number("LOCAL_RANK", 0, least=0)


def _number(name: str, default: int, *, least: int | None = None, most: int | None = None) -> int:
    value = os.environ.get(name, "").strip() or str(default)
    try:
        number = int(value)
    except ValueError:
        raise MetarlError(f"Expected {name} to be a whole number, got {value!r}.") from None
    if (least is not None and number < least) or (most is not None and number > most):
        bounds = f"{least} or more" if most is None else f"in {least}..{most}"
        raise MetarlError(f"Expected {name} to be {bounds}, got {number}.")
    return number
