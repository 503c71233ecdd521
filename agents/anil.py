"""ANIL and BOIL: MAML that adapts only the policy's head, or only its body.

Sources: Raghu et al. 2020, ANIL (arXiv 1909.09157): MAML's inner loop changes little but the last layer, so
only that adapts, and the features are meta-learned. Oh et al. 2021, BOIL (arXiv 2008.08882): the last layer
stays, so that adapting must change the features. The outer step is a trust region, as in ANIL's own
experiments; BOIL has none in reinforcement learning.

    adapt:     head <- head - inner_lr * grad_head L(theta), body as it is    (ANIL; BOIL the other way round)

The head is the last layer and the deviation, the body all other layers. The deviation is a number of its own
for each action component, which no feature enters: like the last layer's bias it says how the features become
a distribution of actions. So each parameter adapts in one of the two.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from metarl.agents.maml_trpo import MAMLTRPO, MAMLTRPOConfig
from metarl.errors import require


@dataclass(frozen=True, kw_only=True)
class ANILConfig(MAMLTRPOConfig):
    """MAML that adapts the last layer and the deviation only."""

    kind: ClassVar[str] = "anil"
    source: ClassVar[str] = "Raghu et al. 2020, arXiv 1909.09157"


class ANIL(MAMLTRPO, built_from=ANILConfig):
    """The agent that adapts its head."""

    @property
    def adaptable(self) -> Collection[str]:
        """Names of the parameters that adapt."""
        return head(self.policy.shapes)


@dataclass(frozen=True, kw_only=True)
class BOILConfig(MAMLTRPOConfig):
    """MAML that adapts the hidden layers only."""

    kind: ClassVar[str] = "boil"
    source: ClassVar[str] = "Oh et al. 2021, arXiv 2008.08882"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.hidden_sizes) > 0, "BOIL needs a hidden layer to adapt", self.hidden_sizes)


class BOIL(MAMLTRPO, built_from=BOILConfig):
    """The agent that adapts its body."""

    @property
    def adaptable(self) -> Collection[str]:
        """Names of the parameters that adapt."""
        names = self.policy.shapes
        return [name for name in names if name not in head(names)]


def head(names: Collection[str]) -> list[str]:
    """Name a perceptron's last layer and deviation."""
    last = max(int(name.removeprefix("layer_").partition(".")[0]) for name in names if name != "log_std")
    return [name for name in names if name.startswith(f"layer_{last}.") or name == "log_std"]
