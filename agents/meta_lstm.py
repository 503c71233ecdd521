"""Meta-LSTM: an LSTM as inner optimiser, with the policy's parameters as its cell state.

Source: Ravi and Larochelle 2017, "Optimization as a model for few-shot learning" (openreview.net, rJY0-Kcll),
algorithm 1, with the policy-gradient surrogate for the loss of the learner:

    adapt:     theta <- f * theta - i * grad L(theta)       gates f and i of each coordinate, by an LSTM
    outer:     what is learned is the LSTM's weights and its first cell state, which is theta

:mod:`metarl.learning.lstm_optimizer` makes the gates. They start so that a step is one of gradient descent
with ``inner_lr`` which forgets nearly nothing. The paper takes loss and gradient for constants, which is
``first_order``; without it the derivative is whole. The paper's outer step is Adam on a classification loss;
for reinforcement learning it is open, and here it is the trust region of :mod:`metarl.agents.maml_trpo`, over
the LSTM's weights and theta together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Gt, Le, Lt

from metarl.agents.gradient_based import device_of
from metarl.agents.maml_trpo import MAMLTRPO, MAMLTRPOConfig
from metarl.functional.params import join
from metarl.learning.adaptation import UpdateRule
from metarl.learning.lstm_optimizer import LSTMOptimizer
from metarl.types import Params


@dataclass(frozen=True, kw_only=True)
class MetaLSTMConfig(MAMLTRPOConfig):
    """A learned inner optimiser: an LSTM that all parameters share."""

    kind: ClassVar[str] = "meta-lstm"
    source: ClassVar[str] = "Ravi and Larochelle 2017, openreview rJY0-Kcll"

    inner_lr: Annotated[float, Gt(0), Lt(1)] = 0.1
    """Initial input gate, below 1, which multiplies gradients."""
    forget: Annotated[float, Gt(0), Lt(1)] = 0.99
    """Initial forget gate, below 1, which multiplies parameters."""
    lstm_size: Annotated[int, Ge(1), Le(1024)] = 8
    """Units of the LSTM; the paper has 20."""

    def inner_rule_params(self, params: Params, seed: int) -> Params:
        """Return the first weights of the LSTM."""
        weights = LSTMOptimizer(hidden_size=self.lstm_size).initial_weights(
            torch.Generator().manual_seed(seed), forget=self.forget, inner_lr=self.inner_lr
        )
        device = device_of(params)
        return {name: weight.to(device) for name, weight in weights.items()}


class MetaLSTM(MAMLTRPO, built_from=MetaLSTMConfig):
    """Meta-parameters theta, with the LSTM's weights."""

    config: MetaLSTMConfig

    def inner_rule(self, theta: Params) -> UpdateRule:
        """Return a step of the LSTM."""
        return self.optimizer.rule(theta)

    def per_task(self, theta: Params, num_tasks: int) -> Params:
        """Return each task's initial cell and inner state."""
        start = super().per_task(theta, num_tasks)
        return join(start, self.optimizer.blank_memory(start))

    @property
    def optimizer(self) -> LSTMOptimizer:
        """The learned inner step."""
        return LSTMOptimizer(hidden_size=self.config.lstm_size)
