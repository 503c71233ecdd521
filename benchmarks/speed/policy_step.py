"""Latency of one step of a policy: PyTorch beside the exported graph in ONNX Runtime.

Policies of the sizes that are usual on a robot choose actions one by one. All their parameters are drawn; a
trained policy takes the same time.

    python -m benchmarks.speed.policy_step
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from rich.table import Table

from benchmarks.program import run
from benchmarks.workloads import in_turn, machine, ratios, spread, wide_console
from metarl.agents.maml_trpo import MAMLTRPOConfig
from metarl.agents.rl2 import RL2Config
from metarl.config import AgentConfig, SamplingConfig
from metarl.deploy.onnx_file import OnnxPolicy
from metarl.deploy.onnx_policy import policy_model
from metarl.deploy.policy import Acting, Policy
from metarl.envs.metaworld.suite import ML1Config
from metarl.spaces import action_size, observation_size
from metarl.system.threads import one_thread

POLICIES: dict[str, AgentConfig] = {
    "perceptron 64 × 64": MAMLTRPOConfig(hidden_sizes=(64, 64)),
    "GRU 128 (RL²)": RL2Config(cell="gru", memory_size=128),
    "linear 128 (RL²)": RL2Config(cell="linear", memory_size=128),
    "linear 128 with changes (RL²)": RL2Config(cell="linear", memory_size=128, changes=True),
}


def main(*, steps: int = 2000, repeats: int = 9) -> None:
    """Measure every policy, and print a table.

    Args:
        steps: of each measurement, which is their median.
        repeats: measurements of each, in turn; the ratio is of those of one repeat.
    """
    table = Table(title=f"Microseconds a step, median [least, greatest] of {repeats}")
    for column in ("policy", "PyTorch", "ONNX Runtime", "times as fast"):
        table.add_column(column)
    for name, config in POLICIES.items():
        seconds = measure(config, steps, repeats)
        torch_seconds, onnx_seconds = seconds["torch"], seconds["onnx"]
        columns = (spread([1e6 * value for value in found], ".0f") for found in (torch_seconds, onnx_seconds))
        table.add_row(name, *columns, spread(ratios(torch_seconds, onnx_seconds), ".1f"))
    console = wide_console()
    console.print(table)
    console.print(machine())


@one_thread()
def measure(config: AgentConfig, steps: int, repeats: int) -> dict[str, list[float]]:
    """Return the median seconds of a step, by repeat."""
    suite = ML1Config(task="reach-v3").build()
    agent = config.build(suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig())
    actor = agent.initial_actor(1, np.random.default_rng(0))
    exported = OnnxPolicy(policy_model(actor, suite, {}).SerializeToString())
    observation = np.random.default_rng(0).normal(size=observation_size(suite.observation_space))
    seen, size = observation.astype(np.float32), action_size(suite.action_space)

    acting = Acting(Policy(actor), size, torch.Generator(), deterministic=True)
    return in_turn(
        {
            "torch": lambda: _median(lambda: acting.act(seen).actions.view(-1).numpy(), steps),
            "onnx": lambda: _median(lambda: exported.act(seen, 0.0, False), steps),
        },
        repeats,
    )


def _median(step: Callable[[], object], steps: int) -> float:
    seconds = []
    for _ in range(steps):
        begin = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


if __name__ == "__main__":
    run(main)
