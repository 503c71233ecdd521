"""Settings of policy networks, and how they are built and drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Protocol

import gymnasium
import torch
from annotated_types import Ge, Gt, Le

from metarl.errors import require
from metarl.networks.policies import ACTIVATIONS, MAX_STD, CategoricalMLPPolicy, GaussianMLPPolicy
from metarl.settings import Settings
from metarl.spaces import action_size, observation_size
from metarl.tasks import TaskDistribution
from metarl.types import Params


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Settings):
    """Layers of the policy, and its deviations' range."""

    hidden_sizes: tuple[Annotated[int, Ge(1), Le(4096)], ...] = (64, 64)
    """Units of each hidden layer."""
    activation: str = "tanh"
    """Nonlinearity: "tanh" or "relu"."""
    initial_std: Annotated[float, Gt(0), Le(1000)] = 1.0
    """Initial standard deviation of every action component."""
    min_std: float = 1e-6
    """Standard deviations never fall below this.
    At it, a gradient that points upwards raises them."""
    max_std: float = MAX_STD
    """Standard deviations never act above this."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.activation in ACTIVATIONS,
            f"activation must be one of {sorted(ACTIVATIONS)}",
            repr(self.activation),
        )
        require(
            0 < self.min_std <= self.initial_std <= self.max_std <= MAX_STD,
            f"Expected 0 < min_std <= initial_std <= max_std <= {MAX_STD:.0f}",
            (self.min_std, self.initial_std, self.max_std),
        )

    def build_policy(self, suite: TaskDistribution) -> GaussianMLPPolicy | CategoricalMLPPolicy:
        """Return the suite's network: categorical for one choice of several, or else Gaussian.

        Raises:
            MetarlError: if observations are no vectors, or actions neither vectors nor choices.
        """
        observations, actions = observation_size(suite.observation_space), action_size(suite.action_space)
        # a choice has no deviation, so its policy takes fewer settings
        if isinstance(suite.action_space, gymnasium.spaces.Discrete):
            return CategoricalMLPPolicy(
                observation_size=observations,
                action_size=actions,
                hidden_sizes=self.hidden_sizes,
                activation=self.activation,
            )
        return GaussianMLPPolicy(
            observation_size=observations,
            action_size=actions,
            hidden_sizes=self.hidden_sizes,
            activation=self.activation,
            initial_std=self.initial_std,
            min_std=self.min_std,
            max_std=self.max_std,
        )


class DrawnPolicy(Protocol):
    """A policy that can draw its first parameters."""

    def initial_params(self, generator: torch.Generator) -> Params:
        """Draw the parameters from the generator."""


def draw_params(policy: DrawnPolicy, seed: int, device: torch.device) -> Params:
    """Draw first parameters, the same on every device."""
    params = policy.initial_params(torch.Generator().manual_seed(seed))
    return {name: value.to(device) for name, value in params.items()}
