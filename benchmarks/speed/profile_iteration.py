"""A meta-iteration of MAML-TRPO on ML10 under PyTorch's profiler, with a Chrome trace.

    python -m benchmarks.speed.profile_iteration --output trace.json          # open it at chrome://tracing
    .venv-warp/bin/python -m benchmarks.speed.profile_iteration --engine warp --device cuda

The physics of the engine on threads is no operator of PyTorch: it shows as the gap between the calls of the
policy, and in the parts' seconds. A profiler slows everything down.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.program import run
from metarl.agents.maml_trpo import MAMLTRPOConfig
from metarl.config import SamplingConfig, check_device
from metarl.envs.metaworld.suite import ML10Config
from metarl.functional.random_streams import Purpose, make_rng
from metarl.training.meta_iteration import meta_iteration


def main(
    *,
    output: Path = Path("trace.json"),
    engine: str = "auto",
    device: str = "cpu",
    tasks: int = 20,
    episodes: int = 10,
    horizon: int = 100,
) -> None:
    """Profile the second of two meta-iterations.

    Args:
        output: file of the Chrome trace.
        engine: engine that steps the environments.
        device: device of the policy, the adaptation and the update.
        tasks: tasks of the meta-batch.
        episodes: episodes of each task.
        horizon: steps of an episode.
    """
    check_device(device)
    suite = ML10Config(horizon=horizon).build()
    agent = MAMLTRPOConfig().build(suite, seed=0, device=torch.device(device), sampling=SamplingConfig())
    env = suite.make_vector_env(tasks * episodes, engine=engine)

    def iterate(index: int) -> dict[str, float]:
        rng = make_rng(0, Purpose.TRAINING, index)
        batch = suite.sample(tasks, rng)
        return meta_iteration(agent, env, batch, episodes=episodes, horizon=horizon, rng=rng).seconds

    iterate(0)
    on_gpu = torch.device(device).type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        seconds = iterate(1)
    env.close()
    profiler.export_chrome_trace(str(output))
    whole = sum(seconds.values())
    for part, taken in seconds.items():
        print(f"{part}: {taken:.2f} s, {100 * taken / whole:.0f} %")
    order = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    print(profiler.key_averages().table(sort_by=order, row_limit=12, max_name_column_width=40))
    print(f"Wrote {output}.")


if __name__ == "__main__":
    run(main)
