"""Gradient steps of PEARL and of its soft actor-critic, beside stable-baselines3's SAC.

    .venv/bin/python -m benchmarks.speed.pearl

All three have the same layers of policy and Q functions, read states of the same size, and learn from as many
transitions a step, which each draws from its own replay buffer. PEARL's step has its encoder on top, and the
context that it reads. Contenders take turns; ratios are of the same turn.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import gymnasium
import numpy as np
import stable_baselines3
import torch
from gymnasium.spaces import Box
from rich.table import Table
from stable_baselines3.common.logger import Logger

from benchmarks.program import run
from benchmarks.workloads import Bar, bars_table, in_turn, machine, ratios, spread, wide_console
from metarl.agents.pearl import PEARL, Networks, PEARLConfig
from metarl.learning.replay import ReplayBuffer
from metarl.learning.sac import SAC, Noise, SACBatch, States
from metarl.meta_learner import never
from metarl.networks.posterior_actor import ActionRange
from metarl.types import Params, Rollout, Task

OBSERVATION, ACTION = 39, 4
"""Sizes of Meta-World."""
TASKS, EPISODES, HORIZON = 20, 2, 50
"""Content of the replay buffers."""
BAR = 1.0
SB3 = "SAC of stable-baselines3"


def main(
    *,
    config: PEARLConfig = PEARLConfig(),  # noqa: B008 - frozen
    steps: int = 20,
    repeats: int = 15,
) -> None:
    """Time gradient steps.

    Args:
        config: PEARL's settings; networks and batches are the same for all.
        steps: gradient steps of a measurement.
        repeats: measurements of each, after one for warming up.
    """
    torch.set_num_threads(1)  # as a run has it
    console = wide_console()
    console.print(machine())
    contenders = {
        SB3: stable_baselines(config),
        "SAC of metarl": plain_sac(config),
        "PEARL, encoder and context included": pearl(config),
    }
    in_turn({name: timed(run, steps) for name, run in contenders.items()}, 1)
    seconds = in_turn({name: timed(run, steps) for name, run in contenders.items()}, repeats)
    rows = config.tasks_per_step * config.batch_size
    table = Table(title=f"{rows} transitions a step, layers of {config.hidden_sizes} units")
    for column in ("", "steps per second", "times stable-baselines3's"):
        table.add_column(column, justify="right" if column else "left")
    bars = []
    for name, taken in seconds.items():
        faster = ratios(seconds[SB3], taken)
        table.add_row(name, spread([steps / one for one in taken], ".0f"), spread(faster, ".2f"))
        if name != SB3:
            bars.append(Bar(f"{name} / {SB3}", BAR, statistics.median(faster)))
    console.print(table)
    console.print(bars_table(bars))


def timed(run: Callable[[int], None], steps: int) -> Callable[[], float]:
    """Return a function that takes steps and returns the seconds."""

    def measure() -> float:
        start = time.perf_counter()
        run(steps)
        return time.perf_counter() - start

    return measure


class Blank(gymnasium.Env[np.ndarray, np.ndarray]):
    """Spaces alone: no step is ever taken."""

    def __init__(self, state_size: int) -> None:
        self.observation_space = Box(-np.inf, np.inf, (state_size,), np.float32)
        self.action_space = Box(-1, 1, (ACTION,), np.float32)


def sb3_model(config: PEARLConfig) -> stable_baselines3.SAC:
    """Return SAC of stable-baselines3 with the same layers and an empty buffer."""
    model = stable_baselines3.SAC(
        "MlpPolicy",
        Blank(OBSERVATION + config.latent_size),
        policy_kwargs={"net_arch": list(config.hidden_sizes)},
        buffer_size=TASKS * EPISODES * HORIZON,
        seed=0,
        device="cpu",
    )
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model


def stable_baselines(config: PEARLConfig) -> Callable[[int], None]:
    """Return gradient steps of stable-baselines3."""
    model, draw = sb3_model(config), np.random.default_rng(0)
    assert model.replay_buffer is not None
    for _ in range(TASKS * EPISODES * HORIZON):
        states, following = draw.normal(size=(2, 1, OBSERVATION + config.latent_size))
        actions = draw.uniform(-1, 1, (1, ACTION))
        model.replay_buffer.add(states, following, actions, draw.normal(size=1), np.zeros(1), [{}])
    rows = config.tasks_per_step * config.batch_size
    return lambda steps: model.train(steps, rows)


def plain_sac(config: PEARLConfig) -> Callable[[int], None]:
    """Return gradient steps of soft actor-critic without an encoder."""
    size = OBSERVATION + config.latent_size
    networks, generator = Networks.of(config, OBSERVATION, ACTION), torch.Generator().manual_seed(0)
    learner = SAC.of(
        networks.policy,
        networks.critic,
        config,
        networks.initial_params(generator, config.initial_temperature),
        {},
    )
    buffer, rng, tasks = ReplayBuffer(10**6), np.random.default_rng(0), drawn_tasks()
    buffer.add(tasks, [drawn_rollout(size)])
    state = learner.start()
    rows = config.tasks_per_step * config.batch_size

    def run(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            chosen = [tasks[place] for place in rng.choice(TASKS, config.tasks_per_step, replace=False)]
            drawn = buffer.sample(chosen, config.batch_size, rng)
            states = States(*(part.flatten(0, 1) for part in (drawn.observations, drawn.next_observations)))
            batch = SACBatch(drawn.actions.flatten(0, 1), drawn.rewards.flatten(), drawn.terminated.flatten())
            noise = Noise(*(torch.randn(rows, ACTION, generator=generator) for _ in range(2)))

            def look(_: Params, states: States = states) -> States:
                return states

            state, _ = learner.step(state, batch, look, noise)

    return run


def pearl(config: PEARLConfig) -> Callable[[int], None]:
    """Return PEARL's own gradient steps."""
    networks, generator = Networks.of(config, OBSERVATION, ACTION), torch.Generator().manual_seed(0)
    params = networks.initial_params(generator, config.initial_temperature)
    agent = PEARL(config, networks, params, ActionRange(torch.zeros(ACTION), torch.ones(ACTION)))
    agent.remember([drawn_rollout(OBSERVATION)], drawn_tasks())
    rng = np.random.default_rng(0)

    def run(steps: int) -> None:
        agent.learned, _ = agent.gradient_steps(steps, EPISODES, rng, never)

    return run


def drawn_tasks() -> list[Task]:
    """Return the tasks of the buffers."""
    return [Task("drawn", (float(place),), str(place)) for place in range(TASKS)]


def drawn_rollout(observation: int) -> Rollout:
    """Draw episodes of full length."""
    generator = torch.Generator().manual_seed(0)
    shape = (TASKS, EPISODES, HORIZON)
    last = torch.zeros(shape, dtype=torch.bool)
    last[..., -1] = True
    return Rollout(
        observations=torch.randn(*shape, observation, generator=generator),
        actions=torch.rand(*shape, ACTION, generator=generator) * 2 - 1,
        log_probs=torch.zeros(shape),
        rewards=torch.randn(shape, generator=generator),
        mask=torch.ones(shape, dtype=torch.bool),
        terminated=torch.zeros(shape, dtype=torch.bool),
        truncated=last,
        final_observations=torch.randn(TASKS, EPISODES, observation, generator=generator),
    )


if __name__ == "__main__":
    run(main)
