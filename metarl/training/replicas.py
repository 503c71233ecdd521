"""The agents of several ranks, which must stay equal, and what the exchange costs."""

from __future__ import annotations

import hashlib

import torch

from metarl.errors import MetarlError
from metarl.meta_learner import MetaLearner
from metarl.system.ranks import Ranks, Traffic


def check_replicas(ranks: Ranks | None, agent: MetaLearner, iteration: int) -> None:
    """Check that all ranks have the agent of rank 0 after an iteration, or raise ``MetarlError``."""
    if ranks is None:
        return
    digests = ranks.exchange(torch.frombuffer(bytearray(digest(agent)), dtype=torch.uint8))
    other = [rank for rank, found in enumerate(digests) if not found.equal(digests[0])]
    if other:
        raise MetarlError(
            f"Expected equal agents on all ranks after iteration {iteration}, got other weights on rank "
            f"{', '.join(map(str, other))}: machines must have processors of one kind."
        )


def digest(agent: MetaLearner) -> bytes:
    """Return a sum of an agent's tensors."""
    tensors, values, _ = agent.state()
    found = hashlib.sha256(repr(sorted(values.items())).encode())
    for name, value in sorted(tensors.items()):
        found.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return found.digest()


def traffic_metrics(ranks: Ranks | None) -> dict[str, float]:
    """Return what exchanges cost since the last call; nothing in one process."""
    if ranks is None:
        return {}
    traffic, ranks.traffic = ranks.traffic, Traffic(ranks.traffic.exchanges)
    return {
        "ranks/received_bytes": float(traffic.received_bytes),
        "time/ranks_waiting": traffic.waiting,
        "time/ranks_transfer": traffic.transfer,
    }
