"""Settings of the networks that form a belief and act on it, and how they are built.

Source: Zintgraf et al. 2020, VariBAD (arXiv 1910.08348), section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple, TypeAlias

import gymnasium
from annotated_types import Ge, Gt, Le

from metarl.errors import require
from metarl.networks.belief_policy import BeliefPolicy
from metarl.networks.decoders import LatentDecoder
from metarl.networks.encoders import BeliefEncoder
from metarl.networks.recurrent import CELLS
from metarl.settings import Settings
from metarl.spaces import action_size, observation_size
from metarl.tasks import TaskDistribution

Units: TypeAlias = Annotated[int, Ge(1), Le(4096)]


class BeliefNetworks(NamedTuple):
    """The four networks, as functions of their parameters."""

    encoder: BeliefEncoder
    reward_decoder: LatentDecoder
    state_decoder: LatentDecoder
    policy: BeliefPolicy


@dataclass(frozen=True, kw_only=True)
class BeliefNetworkConfig(Settings):
    """Sizes of networks, and the deviations' range."""

    latent_size: Units = 5
    """Size of the task embedding."""
    cell: str = "gru"
    """Encoder memory: "gru" or "linear".
    Updates of "linear" take a quarter of the time."""
    memory_size: Units = 128
    """Numbers that the encoder remembers."""
    observation_embedding: Units = 32
    """Units of the encoder's layer that reads observations."""
    action_embedding: Units = 16
    """Units of the encoder's layer that reads actions."""
    reward_embedding: Units = 16
    """Encoder units that read rewards and episode starts."""
    decoder_sizes: tuple[Units, ...] = (64, 32)
    """Units of each hidden layer of the decoders."""
    hidden_sizes: tuple[Units, ...] = (128, 128)
    """Units per hidden layer of policy and value."""
    tanh_mean: bool = False
    """Bound the mean action by tanh."""
    initial_std: float = 1.0
    """Initial standard deviation of every action component."""
    min_std: Annotated[float, Gt(0)] = 0.1
    """Standard deviations never fall below this."""
    max_std: Annotated[float, Le(1e4)] = 10.0
    """Standard deviations never rise above this."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.cell in CELLS, f"cell must be one of {sorted(CELLS)}", repr(self.cell))
        for name in ("decoder_sizes", "hidden_sizes"):
            require(len(getattr(self, name)) > 0, f"{name} must have one number or more", "none")
        require(
            self.min_std <= self.initial_std <= self.max_std,
            "Expected min_std <= initial_std <= max_std, as they say how far actions spread",
            (self.min_std, self.initial_std, self.max_std),
        )

    def build_networks(self, suite: TaskDistribution) -> BeliefNetworks:
        """Return the networks that fit the suite's spaces."""
        observations, actions = observation_size(suite.observation_space), action_size(suite.action_space)
        return BeliefNetworks(
            encoder=BeliefEncoder(
                observation_size=observations,
                action_size=actions,
                latent_size=self.latent_size,
                cell_name=self.cell,
                memory_size=self.memory_size,
                observation_embedding=self.observation_embedding,
                action_embedding=self.action_embedding,
                reward_embedding=self.reward_embedding,
            ),
            reward_decoder=LatentDecoder(
                name="reward_decoder",
                input_size=2 * observations + actions,  # p(r | s, a, s', m)
                latent_size=self.latent_size,
                output_size=1,
                hidden_sizes=self.decoder_sizes,
            ),
            state_decoder=LatentDecoder(
                name="state_decoder",
                input_size=observations + actions,  # p(s' | s, a, m)
                latent_size=self.latent_size,
                output_size=observations,
                hidden_sizes=self.decoder_sizes,
            ),
            policy=BeliefPolicy(
                input_size=observations + 2 * self.latent_size,
                action_size=actions,
                discrete=isinstance(suite.action_space, gymnasium.spaces.Discrete),
                hidden_sizes=self.hidden_sizes,
                tanh_mean=self.tanh_mean,
                initial_std=self.initial_std,
                min_std=self.min_std,
                max_std=self.max_std,
            ),
        )
