"""RL² on push-v3: whole iterations, the update against PyTorch's own GRU, and sampling against the physics.

A meta-batch has trials of two episodes on each task. Each repeat does the following one after another, in
changing order and from the same state of the agent, so that all of it is about the same env steps:

* a whole iteration with the linear memory, which gives env steps per second;
* the update from the same trials, with the linear memory and with the GRU of this package;
* the same update with ``torch.nn.GRU`` in a plain module: the same widths, minibatches and loss, autograd and
  PyTorch's Adam, once with as many threads of PyTorch's and once with one. The faster counts;
* sampling with the policy, ``env.step`` with the actions that it took, and the physics of these steps alone.

With ``--memory`` a second process runs one iteration of ML10 with trials of 10 episodes of 500 steps, and
its peak memory is shown. The last table has the targets, which are for two quiet cores.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
from rich.table import Table

from benchmarks.program import run
from benchmarks.speed.bare_physics import PoolPhysics, drive
from benchmarks.speed.meta_iteration import flat, peak_memory
from benchmarks.workloads import Bar, bars_table, cores, in_turn, machine, ratios, spread, wide_console
from metarl.agents.rl2 import RL2, RL2Config
from metarl.envs.engines.threads.compiled import load
from metarl.envs.metaworld.suite import ML1Config, ML10Config
from metarl.functional.distributions import Gaussian
from metarl.functional.random_streams import Purpose, make_rng
from metarl.learning.ppo import ppo_loss
from metarl.meta_learner import never
from metarl.networks.recurrent_policy import Reading
from metarl.rollouts.history import join_trials
from metarl.system.threads import learning_threads, use_threads
from metarl.tasks import TaskDistribution
from metarl.training.meta_iteration import MetaIteration, meta_iteration
from metarl.types import Rollout, Task
from metarl.vector_env import TaskVectorEnv

ITERATION, SAMPLING = "iteration, linear", "sampling, linear"
LINEAR, GRU = "update, linear", "update, gru"
TORCH_ALL, TORCH_ONE = "update, nn.GRU, as many threads", "update, nn.GRU, one thread"
STEPPING, PHYSICS = "env.step, no policy", "physics alone"


def main(
    *,
    tasks: int = 50,
    trials: int = 2,
    horizon: int = 150,
    width: int = 128,
    repeats: int = 5,
    one_thread: bool = False,
    memory: bool = False,
) -> None:
    """Measure RL²'s speed on push-v3.

    Args:
        tasks: tasks of a meta-batch.
        trials: trials of each, of two episodes.
        horizon: steps of an episode.
        width: units of the embedding, the memory and the layers after it.
        repeats: repeats of each measurement, after one for warming up.
        one_thread: give everything one thread and count its processor seconds, of which other programs on the
            same cores change less.
        memory: also measure the memory of one iteration on ML10.
    """
    console = wide_console()
    console.print(machine())
    with use_threads(1 if one_thread else cores()):
        seconds = measure(tasks, trials, horizon, width, repeats)
    steps = tasks * trials * 2 * horizon
    table = Table(title=f"RL² on push-v3, {steps:,} env steps, median [least, greatest] of {repeats}")
    for column in ("", "seconds", "env steps/s"):
        table.add_column(column, justify="left" if not column else "right")
    for name, taken in seconds.items():
        table.add_row(name, spread(taken, ".2f"), spread([steps / each for each in taken], ",.0f"))
    console.print(table)
    bars = judge(seconds, steps)
    if memory:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
            bars.append(Bar("ML10, 10 episodes x 500: MiB", 3072, alone.submit(peak).result(), at_most=True))
    console.print(bars_table(bars))


def measure(tasks: int, trials: int, horizon: int, width: int, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of each contender, in order of repeats."""
    suite = ML1Config(task="push-v3", horizon=horizon).build()
    linear, gru = (
        RL2Config(cell=cell, memory_size=width, embedding_size=width, max_kl=0.0).recurrent(
            suite, seed=0, device=torch.device("cpu")
        )
        for cell in ("linear", "gru")
    )
    env = suite.make_vector_env(tasks * trials, num_workers=learning_threads())
    try:
        state = linear.state()
        sampled = iterate(linear, env, suite, tasks, trials, 0)
        of_gru = iterate(gru, env, suite, tasks, trials, 0).rollouts
        drawn = suite.sample(tasks, make_rng(0, Purpose.TRAINING, 0))
        sampling: list[float] = []

        def whole() -> float:
            # the same policy and seeds each time: a policy that has learned touches more, which costs physics
            linear.load_state(state)
            start = clock()
            done = iterate(linear, env, suite, tasks, trials, 0)
            seconds = clock() - start
            parts = done.seconds  # by the wall; their shares are those of the whole
            sampling.append(seconds * parts["sampling"] / sum(parts.values()))
            return seconds

        plain = PlainGRU(gru.policy.input_size, gru.policy.action_size, width)
        contenders: dict[str, Callable[[], float]] = {
            ITERATION: whole,
            LINEAR: lambda: update_seconds(linear, sampled.rollouts),
            GRU: lambda: update_seconds(gru, of_gru),
            TORCH_ONE: lambda: plain.update_seconds(gru, of_gru, 1),
            STEPPING: lambda: stepping_seconds(env, drawn, trials, sampled.rollouts),
            PHYSICS: lambda: physics_seconds(drawn, trials, sampled.rollouts),
        }
        if learning_threads() > 1:
            contenders[TORCH_ALL] = lambda: plain.update_seconds(gru, of_gru, learning_threads())
        for warm_up in contenders.values():
            warm_up()
        sampling.clear()
        found = in_turn(contenders, repeats)
        return {ITERATION: found.pop(ITERATION), SAMPLING: sampling, **found}
    finally:
        env.close()


def clock() -> float:
    """Return wall-clock seconds, or processor seconds where there is one thread."""
    return time.perf_counter() if learning_threads() > 1 else time.process_time()


def iterate(
    agent: RL2, env: TaskVectorEnv, suite: TaskDistribution, tasks: int, trials: int, index: int
) -> MetaIteration:
    """Run a meta-iteration."""
    rng = make_rng(0, Purpose.TRAINING, index)
    drawn = suite.sample(tasks, rng)
    return meta_iteration(agent, env, drawn, episodes=trials, horizon=suite.horizon, rng=rng)


def update_seconds(agent: RL2, rollouts: Sequence[Rollout]) -> float:
    """Return the seconds of an update, and restore the agent."""
    state = agent.state()
    start = clock()
    agent.update(rollouts, (), np.random.default_rng(0), never)
    seconds = clock() - start
    agent.load_state(state)
    return seconds


class PlainGRU(torch.nn.Module):
    """The agent's network as a module of PyTorch's layers."""

    def __init__(self, inputs: int, actions: int, width: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Linear(inputs, width)
        self.memory = torch.nn.GRU(width, width)
        self.policy_hidden, self.value_hidden = (torch.nn.Linear(2 * width, width) for _ in range(2))
        self.policy, self.value = torch.nn.Linear(width, actions), torch.nn.Linear(width, 1)
        self.log_std = torch.nn.Parameter(torch.zeros(actions))

    def forward(self, features: torch.Tensor, memory: torch.Tensor) -> Reading:
        """Return policy and values of sequences ``[S, B, I]`` that begin with a memory ``[B, H]``."""
        embedded = torch.tanh(self.embedding(features))
        states, _ = self.memory(embedded, memory.unsqueeze(0))
        both = torch.cat([embedded, states], dim=-1)
        mean = self.policy(torch.tanh(self.policy_hidden(both)))
        values = self.value(torch.tanh(self.value_hidden(both))).squeeze(-1)
        return Reading(Gaussian(mean, self.log_std.expand_as(mean)), values)

    def update_seconds(self, agent: RL2, rollouts: Sequence[Rollout], threads: int) -> float:
        """Return the seconds of the agent's epochs and minibatches with this network and PyTorch's Adam."""
        config, before = agent.config, torch.get_num_threads()
        optimizer = torch.optim.Adam(self.parameters(), lr=config.learning_rate)
        rng = np.random.default_rng(0)
        torch.set_num_threads(threads)
        start = clock()
        sequences = agent.sequences(join_trials(rollouts))
        for _ in range(config.epochs):
            order = torch.from_numpy(rng.permutation(len(sequences.memory)))
            minibatches = order.chunk(config.minibatches)
            for chosen in minibatches:
                part = sequences.experience.of_trials(chosen)
                policy, values = self(sequences.features[:, chosen], sequences.memory[chosen])
                taken = sequences.acted[:, chosen] if chosen is minibatches[-1] else None
                acted = None if taken is None else agent.policy.distribution(agent.params, taken)
                loss = ppo_loss(policy, values, acted, part, config).loss
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.parameters(), config.max_gradient_norm)
                optimizer.step()
        seconds = clock() - start
        torch.set_num_threads(before)
        return seconds


def stepping_seconds(
    env: TaskVectorEnv, drawn: Sequence[Task], trials: int, rollouts: Sequence[Rollout]
) -> float:
    """Return the seconds of the rollouts' actions in the environment, resets included."""
    actions = [flat(rollout) for rollout in rollouts]
    start = clock()
    for episode in actions:
        env.set_tasks([task for task in drawn for _ in range(trials)])
        env.reset(seed=0)
        for row in episode:
            env.step(row)
    return clock() - start


def physics_seconds(drawn: Sequence[Task], trials: int, rollouts: Sequence[Rollout]) -> float:
    """Return the seconds of the rollouts' physics, stepped as the engine steps it."""
    seconds = 0.0
    for rollout in rollouts:
        given = drive([task for task in drawn for _ in range(trials)], flat(rollout))
        physics = PoolPhysics(
            given.families,
            free=False,
            stepper="compiled" if load() is not None else "portable",
            reuse_forward=True,
            threads=learning_threads(),
        )
        try:
            physics.prepare(given)
            start = clock()
            physics.run()
            seconds += clock() - start
        finally:
            physics.close()
    return seconds


def peak() -> float:
    """Return the peak MiB of an iteration on ML10: 20 tasks, a trial of 10 episodes of 500 steps."""
    suite = ML10Config(horizon=500).build()
    config = RL2Config(cell="linear", trial_episodes=10, max_kl=0.0)
    agent = config.recurrent(suite, seed=0, device=torch.device("cpu"))
    env = suite.make_vector_env(20)
    try:
        with use_threads(cores()), peak_memory() as watched:
            iterate(agent, env, suite, 20, 1, 0)
    finally:
        env.close()
    return watched.mib


def judge(seconds: dict[str, list[float]], steps: int) -> list[Bar]:
    """Compare medians of ratios within a repeat with the targets for two quiet cores."""
    plain = [seconds[name] for name in (TORCH_ALL, TORCH_ONE) if name in seconds]
    fastest = [min(several) for several in zip(*plain, strict=True)]
    shares = {
        "env steps/s in all": (12_000, [steps / each for each in seconds[ITERATION]]),
        "update: nn.GRU / linear": (3, ratios(fastest, seconds[LINEAR])),
        "update: nn.GRU / gru": (1, ratios(fastest, seconds[GRU])),
        "sampling: physics / all": (0.75, ratios(seconds[PHYSICS], seconds[SAMPLING])),
    }
    return [Bar(name, least, statistics.median(found)) for name, (least, found) in shares.items()]


if __name__ == "__main__":
    run(main)
