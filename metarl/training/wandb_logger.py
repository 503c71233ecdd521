"""Metrics to Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from metarl.config import ExperimentConfig, to_json
from metarl.errors import MetarlError


class WandbLogger:
    """Weights & Biases; WANDB_MODE=offline needs no account.

    A run that is resumed is another run of the same group, named after its folder. Files go to ``RUN/wandb``.
    """

    def __init__(self, config: ExperimentConfig, folder: Path) -> None:
        try:
            import wandb  # noqa: PLC0415  # optional
        except ImportError as error:
            raise MetarlError(
                "The logger 'wandb' needs Weights & Biases: pip install 'metarl-toolkit[wandb]'."
            ) from error
        settings = to_json(config)
        self._run = wandb.init(
            project="metarl", name=folder.name, group=folder.name, dir=folder, config=settings
        )

    def log(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Log a row."""
        self._run.log(dict(metrics), step=iteration)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()
