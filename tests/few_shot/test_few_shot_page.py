"""The code of docs/few_shot.md runs, and gives what the page says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def generators_kept() -> Iterator[None]:
    """Let modules draw their weights from the global generator, and put it back."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_the_pages_examples_run(root: Path) -> None:
    page = (root / "docs" / "few_shot.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for example in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(compile(example, "docs/few_shot.md", "exec"), names)
    losses, prototypes, metrics = (names[name] for name in ("losses", "prototypes", "metrics"))
    assert isinstance(losses, torch.Tensor)
    assert losses.shape == (1, 11)
    assert isinstance(prototypes, torch.Tensor)
    assert prototypes.shape == (3, 8)
    assert isinstance(metrics, dict)
    assert all(isinstance(value, float) for value in metrics.values())
