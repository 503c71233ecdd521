"""Predicts iterations on many ranks from pieces that are measured here: ML45 by MAML-TRPO and by RL².

    .venv/bin/python -m benchmarks.speed.rank_model

One process measures, in processor seconds, physics, the policy's calls and the update, and notes each
message that ranks would exchange; a few processes time messages. Episodes of two short lengths, in as many
chunks as whole ones would be, are extrapolated. The model adds up what a rank of so many does, one part after
another. Waiting for slower ranks, and memory that many cores share, are not in it. The network is one of
10 Gbit/s and 50 µs, or what the options say, but no faster than a processor here sends and receives.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from rich.table import Table

from benchmarks.program import run
from benchmarks.workloads import machine, wide_console
from metarl.cli.commands.options import configured
from metarl.config import ExperimentConfig
from metarl.envs.metaworld.suite import MetaWorldConfig
from metarl.functional.random_streams import Purpose, make_rng
from metarl.meta_learner import Actor, inputs_at_start, never
from metarl.rollouts.collect import collect
from metarl.system import sharing, threads
from metarl.system.ranks import Ranks, Traffic, joined
from metarl.training.experiment import Experiment
from metarl.types import Rollout

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

MESSAGES = (0, 2**14, 2**18, 2**22)
"""Bytes that each rank sends; of none there is one message instead of two."""
REPEATS = 20


class Exchange(NamedTuple):
    """A message of all ranks together."""

    items: int
    """Tasks or chunks in it, which are shared out."""
    size: int
    """Bytes."""
    episodes: bool

    def received(self, ranks: int) -> float:
        """Return the bytes that a rank receives; every message is as long as the longest."""
        return (ranks - 1) * self.size * math.ceil(self.items / ranks) / self.items


@dataclass(frozen=True)
class Pieces:
    """What one iteration is made of, in processor seconds of one core."""

    tasks: int
    episodes: int
    rollouts: int
    horizon: int
    physics: float
    """Of a step of one environment."""
    acting: float
    """Of the policy's step for all episodes of all tasks."""
    learning: float
    """Of all chunks of adapting and of the update."""
    apart: float
    """Of what the update does outside its chunks, on every rank."""
    parameters: int
    exchanges: tuple[Exchange, ...]

    @property
    def env_steps(self) -> int:
        """Environment steps of an iteration."""
        return self.tasks * self.episodes * self.rollouts * self.horizon

    @property
    def chunks(self) -> int:
        """Chunks of the largest exchange of learning."""
        return max((each.items for each in self.exchanges if not each.episodes), default=1)


class Network(NamedTuple):
    """What a message costs."""

    hop: float
    """Seconds from one rank to the next; a message of all takes one fewer than there are ranks."""
    bandwidth: float
    """Bytes a second."""


class Prediction(NamedTuple):
    """Seconds of the parts of an iteration."""

    physics: float
    acting: float
    learning: float
    apart: float
    messages: float


def predict(pieces: Pieces, ranks: int, cores: int, network: Network) -> Prediction:
    """Predict an iteration's seconds on ranks of so many cores each."""
    steps = pieces.rollouts * pieces.horizon
    worlds = math.ceil(pieces.tasks / ranks) * pieces.episodes
    learning = [each.items for each in pieces.exchanges if not each.episodes]
    rounds = sum(math.ceil(math.ceil(items / ranks) / cores) for items in learning)
    received = sum(each.received(ranks) for each in pieces.exchanges)
    hops = 2 * len(pieces.exchanges) * (ranks - 1)  # each message comes after one of its length
    return Prediction(
        physics=steps * math.ceil(worlds / cores) * pieces.physics,
        acting=steps * pieces.acting,
        learning=pieces.learning * rounds / max(1, sum(learning)),
        apart=pieces.apart,
        messages=hops * network.hop + received / network.bandwidth,
    )


def main(
    *,
    ranks: tuple[int, ...] = (1, 4, 16, 64),
    cores: int = 16,
    tasks: int = 64,
    horizons: tuple[int, int] = (20, 60),
    gigabits: float = 10.0,
    hop: float = 50e-6,
    processes: tuple[int, ...] = (2, 4, 8),
) -> None:
    """Print the measured pieces and the prediction.

    Args:
        ranks: to predict for.
        cores: of each rank.
        tasks: of a meta-batch, at least one a rank.
        horizons: steps of the measured episodes; those of 500 steps are extrapolated.
        gigabits: of the network, a second.
        hop: seconds of a message from one machine to another.
        processes: that time messages here.
    """
    console = wide_console()
    console.print(machine())
    timed = {size: messages_among(size) for size in processes}
    console.print(messages_table(timed))
    least, others = timed[processes[0]], processes[0] - 1
    network = Network(
        hop=max(hop, least[0].processor / others),
        bandwidth=min(gigabits * 1e9 / 8, others * MESSAGES[-1] / least[MESSAGES[-1]].processor),
    )
    for title, agent in (("MAML-TRPO", "maml-trpo"), ("RL²", "rl2")):
        options = ("--agent", agent, "--sampling.meta-batch-size", str(tasks))
        pieces = measure(configured("ml45", options, "metarl train ml45"), horizons)
        console.print(pieces_table(title, pieces))
        console.print(prediction_table(title, pieces, ranks, cores, network))


class Noted(Ranks):
    """A single rank that notes what several would exchange."""

    def __init__(self) -> None:
        self.rank, self.size = 0, 1
        self.traffic, self.agreed = Traffic(), False
        self.exchanges: list[Exchange] = []
        self.sampled = False
        """Whether the next message is of episodes."""

    def exchange(self, message: torch.Tensor) -> list[torch.Tensor]:
        """Note a message."""
        if len(message):
            items = int(message[:8].clone().view(torch.int64))
            self.exchanges.append(Exchange(items, len(message), self.sampled))
        self.sampled = False
        return [message]

    def on_step(self, running: int) -> None:
        """Expect episodes."""
        self.sampled = True


def measure(config: ExperimentConfig, horizons: tuple[int, int]) -> Pieces:
    """Measure iterations of short and longer episodes, and return the pieces of one of whole episodes."""
    short, longer = horizons
    at = {horizon: iteration_of(config, horizon) for horizon in (min(10, short), short, longer)}
    last = at[longer]
    worlds = config.sampling.meta_batch_size * config.sampling.episodes

    def of_whole(part: str) -> float:
        # resets and optimisers cost the same whatever the horizon, the rest grows with it
        less, more = at[short].seconds[part], last.seconds[part]
        return more + (more - less) / (longer - short) * (suite_of(config).horizon - longer)

    steps = suite_of(config).horizon * last.rollouts
    acting = steps * last.acting
    return Pieces(
        tasks=config.sampling.meta_batch_size,
        episodes=config.sampling.episodes,
        rollouts=last.rollouts,
        horizon=suite_of(config).horizon,
        physics=(of_whole("sampling") - acting) / (steps * worlds),
        acting=last.acting,
        learning=of_whole("shared"),
        apart=of_whole("learning") - of_whole("shared"),
        parameters=last.parameters,
        exchanges=tuple(
            Exchange(config.sampling.meta_batch_size, each.size * suite_of(config).horizon // longer, True)
            if each.episodes
            else each
            for each in last.exchanges
        ),
    )


def suite_of(config: ExperimentConfig) -> MetaWorldConfig:
    """Return the suite of a Meta-World preset."""
    assert isinstance(config.suite, MetaWorldConfig)
    return config.suite


class Measured(NamedTuple):
    """An iteration of short episodes."""

    seconds: Mapping[str, float]
    acting: float
    rollouts: int
    parameters: int
    exchanges: list[Exchange]


def iteration_of(config: ExperimentConfig, horizon: int) -> Measured:
    """Collect and learn once on one thread, in as many chunks as whole episodes have."""
    experiment = Experiment(replace(config, suite=replace(suite_of(config), horizon=horizon)), Path())
    agent, sampling = experiment.agent, config.sampling
    noted, clock = Noted(), Clock()
    with (
        chunks_of(threads.WORK_PER_CHUNK * horizon / suite_of(config).horizon),
        threads.use_threads(1),
        sharing.sharing(noted, experiment.num_envs),
        closing(experiment.make_env()) as env,
        clock.of_shared(),
    ):
        rng = make_rng(0, Purpose.TRAINING, 0)
        tasks = experiment.suite.sample(sampling.meta_batch_size, rng)
        actor, rollouts = agent.initial_actor(len(tasks), rng), list[Rollout]()
        for step in range(agent.adaptation_steps + 1):
            if step > 0:
                with clock.timed("learning"):
                    actor = agent.adapt(actor, rollouts[-1], rng)
            with clock.timed("sampling"):
                rollout = collect(
                    env,
                    tasks,
                    actor,
                    episodes=sampling.episodes,
                    horizon=horizon,
                    rng=rng,
                    after=rollouts[-1] if rollouts and agent.trial == "sequential" else None,
                    on_step=noted.on_step,
                )
            rollouts.append(rollout)
        with clock.timed("learning"):
            agent.update(rollouts, tasks, rng, never)
        acting = seconds_to_act(actor, rollouts[-1])
    parameters = sum(value.numel() for value in agent.state().tensors.values())
    return Measured(clock.seconds, acting, len(rollouts), parameters, noted.exchanges)


def seconds_to_act(actor: Actor, rollout: Rollout) -> float:
    """Return the processor seconds of a step of the policy for all episodes."""
    observations = rollout.observations[:, :, 0]
    inputs = inputs_at_start(observations, rollout.actions.shape[-1])
    memory, generator = actor.initial_memory(observations.shape[1]), torch.Generator().manual_seed(0)
    begin = time.process_time()
    for _ in range(REPEATS):
        actor.act(inputs, memory, generator)
    return (time.process_time() - begin) / REPEATS


class Clock:
    """Processor seconds of parts."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the seconds of the block."""
        begin = time.process_time()
        yield
        self.seconds[part] += time.process_time() - begin

    @contextmanager
    def of_shared(self) -> Iterator[None]:
        """Count whatever ranks would share out, inside the block."""
        methods = {name: getattr(sharing.Shared, name) for name in ("map", "each")}

        def counted(method: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object) -> object:
                with self.timed("shared"):
                    return method(*arguments)

            return call

        for name, method in methods.items():
            setattr(sharing.Shared, name, counted(method))
        try:
            yield
        finally:
            for name, method in methods.items():
                setattr(sharing.Shared, name, method)


@contextmanager
def chunks_of(work: float) -> Iterator[None]:
    """Make chunks of so much work inside the block."""
    before = threads.WORK_PER_CHUNK
    threads.WORK_PER_CHUNK = int(work)
    try:
        yield
    finally:
        threads.WORK_PER_CHUNK = before


class Cost(NamedTuple):
    """Seconds of an exchange."""

    least: float
    processor: float
    """Mean of a rank's processor, whatever else the machine does."""


def messages_among(size: int) -> dict[int, Cost]:
    """Return the cost of an exchange among so many processes here, by bytes of a message."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    context = multiprocessing.get_context("fork")  # torch is imported once
    results: SimpleQueue[dict[int, Cost]] = context.SimpleQueue()
    processes = [context.Process(target=exchange, args=(rank, size, port, results)) for rank in range(size)]
    for process in processes:
        process.start()
    found_seconds = results.get()
    for process in processes:
        process.join()
    return found_seconds


def exchange(rank: int, size: int, port: int, results: SimpleQueue[dict[int, Cost]]) -> None:
    """Exchange messages with the other processes; the first reports."""
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    costs: dict[int, Cost] = {}
    with joined({}) as ranks:
        assert ranks is not None, "there are several"
        for length in MESSAGES:
            message = torch.zeros(length, dtype=torch.uint8)
            least, processor = math.inf, time.process_time()
            for _ in range(REPEATS):
                begin = time.perf_counter()
                ranks.exchange(message)
                least = min(least, time.perf_counter() - begin)
            costs[length] = Cost(least, (time.process_time() - processor) / REPEATS)
        if ranks.is_first:
            results.put(costs)
        ranks.wait_for_all()
        ranks.agreed = True
        ranks.close()


def messages_table(timed: dict[int, dict[int, Cost]]) -> Table:
    """Return what exchanges cost by the number of processes."""
    table = Table(title=f"milliseconds of an exchange here: the least of {REPEATS}; a rank's processor")
    table.add_column("bytes from each rank", justify="right")
    for size in timed:
        table.add_column(f"{size} ranks", justify="right")
    for length in MESSAGES:
        costs = [least[length] for least in timed.values()]
        table.add_row(
            f"{length:,}", *(f"{1e3 * cost.least:.2f}; {1e3 * cost.processor:.2f}" for cost in costs)
        )
    return table


def pieces_table(title: str, pieces: Pieces) -> Table:
    """Return what was measured of an agent."""
    table = Table(title=f"{title} on ML45, measured: one core", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    of_episodes = sum(each.size for each in pieces.exchanges if each.episodes)
    of_chunks = sum(each.size for each in pieces.exchanges if not each.episodes)
    rows = {
        "tasks x episodes x rollouts x steps": f"{pieces.tasks} x {pieces.episodes} x {pieces.rollouts} x "
        f"{pieces.horizon}",
        "physics, env steps/s": f"{1 / pieces.physics:,.0f}",
        "policy, ms for all tasks": f"{1e3 * pieces.acting:.2f}",
        "learning in chunks, s": f"{pieces.learning:.2f}",
        "learning outside them, s": f"{pieces.apart:.2f}",
        "parameters, with the optimiser's memory": f"{pieces.parameters:,}",
        "most chunks of one exchange": str(pieces.chunks),
        "exchanges": str(len(pieces.exchanges)),
        "MB of all ranks' episodes": f"{of_episodes / 1e6:.1f}",
        "MB of all ranks' chunks": f"{of_chunks / 1e6:.1f}",
        "the same, bytes for each parameter": f"{of_chunks / pieces.parameters:,.0f}",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def prediction_table(title: str, pieces: Pieces, ranks: Sequence[int], cores: int, network: Network) -> Table:
    """Return predicted seconds, and the bytes that a rank receives."""
    table = Table(
        title=f"{title} on ML45, predicted: seconds of an iteration on ranks of {cores} cores, network of "
        f"{network.bandwidth / 1e9:.2f} GB/s and {1e6 * network.hop:.0f} µs"
    )
    names = ("physics", "policy", "chunks", "outside", "messages")
    for column in ("ranks", *names, "all", "env steps/s", "binds first", "MB received"):
        table.add_column(column, justify="right")
    for size in ranks:
        parts = predict(pieces, size, cores, network)
        binds = names[max(range(len(parts)), key=parts.__getitem__)]
        received = sum(each.received(size) for each in pieces.exchanges) / 1e6
        table.add_row(
            str(size),
            *(f"{part:.2f}" for part in (*parts, sum(parts))),
            f"{pieces.env_steps / sum(parts):,.0f}",
            binds,
            f"{received:.1f}",
        )
    return table


if __name__ == "__main__":
    run(main)
