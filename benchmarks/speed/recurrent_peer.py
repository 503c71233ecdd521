"""RL² on ML10 beside metaworld-algorithms, which trains it with JAX: whole iterations, in turn.

Give a checkout of https://github.com/rainx0r/metaworld-algorithms and a Python interpreter with what its
lock file names (JAX for CPUs, and ``metaworld``). The peer runs its own training loop in a process of its
own, with the settings of its example for ML10, but for the size of a meta-batch. Three contenders take turns
on the same cores, each with as many tasks, episodes and steps:

* the peer: perceptron of two layers, GRU of 256 units, linear baseline, chunks of 250 steps that overlap by
  50, 10 epochs of as many minibatches as there are chunks;
* metarl with the same: an embedding of one layer, a GRU of as many units, and a head of one layer;
* metarl with the agent of its preset ``ml10``.

No update stops early. The table has seconds, environment steps per second, and how many times as fast as the
peer each is within a repeat, also by the processor time of all processes, which other programs change less.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeAlias

import torch
from rich.table import Table

from benchmarks.program import run
from benchmarks.speed.contenders import processor_seconds
from benchmarks.workloads import Bar, bars_table, cores, in_turn, machine, ratios, spread, wide_console
from metarl.agents.rl2 import RL2Config
from metarl.config import SamplingConfig
from metarl.envs.metaworld.suite import ML10Config
from metarl.errors import MetarlError
from metarl.functional.random_streams import Purpose, make_rng
from metarl.presets.agent_settings import agent_config_for
from metarl.system.threads import use_threads
from metarl.training.meta_iteration import meta_iteration
from metarl.vector_env import TaskVectorEnv

WORKER = Path(__file__).with_name("recurrent_peer_worker.py")
PEER, ALIKE, PRESET = "metaworld-algorithms", "metarl, the same settings", "metarl, preset ml10"
WANTED = 6.0
PROCESSORS = "processors"
Seconds: TypeAlias = dict[str, float]  # wall-clock time of sampling and update, and that of all processors


@dataclasses.dataclass(frozen=True)
class Work:
    """An iteration, and the peer's settings of it."""

    tasks: int = 20
    """Tasks of a meta-batch, with a trial each; a multiple of ML10's 10 families."""
    episodes: int = 2
    """Episodes of a trial; the peer's example has 10."""
    horizon: int = 500
    """Steps of an episode."""
    width: int = 256
    """Units of every layer."""
    epochs: int = 10
    """Passes over a meta-batch."""
    chunk_steps: int = 250
    """Steps of a chunk."""
    overlap: int = 50
    """Steps that a chunk of the peer's shares with the next."""

    @property
    def env_steps(self) -> int:
        """Environment steps of an iteration."""
        return self.tasks * self.episodes * self.horizon

    @property
    def chunks(self) -> int:
        """The peer's minibatches in an epoch."""
        return 1 + (self.episodes * self.horizon - self.chunk_steps) // (self.chunk_steps - self.overlap)


def main(
    checkout: Path, python: Path, /, *, work: Work = Work(), repeats: int = 5, warm_ups: int = 1
) -> None:
    """Compare iterations of RL² with those of metaworld-algorithms.

    Args:
        checkout: folder of metaworld-algorithms.
        python: interpreter that has the peer's packages.
        work: the iteration.
        repeats: iterations of each.
        warm_ups: iterations of each before; JAX compiles in them.
    """
    if work.tasks % 10 or work.chunks < 1:
        raise MetarlError(f"Expected tasks in tens and trials of a chunk of steps at least, got {work}.")
    console = wide_console()
    console.print(machine())
    with use_threads(cores()), peer(checkout, python, work) as (versions, iterate_peer):
        console.print(f"{PEER}: {versions}")
        with metarl(work, alike(work)) as iterate_alike, metarl(work, preset(work)) as iterate_preset:
            contenders = {
                name: partial(turn, iterate)
                for name, iterate in ((PEER, iterate_peer), (ALIKE, iterate_alike), (PRESET, iterate_preset))
            }
            in_turn(contenders, warm_ups)
            found = in_turn(contenders, repeats)
    console.print(table(found, work))
    times = statistics.median(ratios(whole(found[PEER]), whole(found[PRESET])))
    console.print(bars_table([Bar("preset ml10, times the peer", WANTED, times)]))


def turn(iterate: Iterator[Seconds]) -> Seconds:
    """Return the seconds of a contender's next iteration."""
    before = processor_seconds()
    seconds = next(iterate)
    return {**seconds, PROCESSORS: processor_seconds() - before}


def whole(several: Sequence[Seconds]) -> list[float]:
    """Return the wall-clock seconds of iterations."""
    return [each["sampling"] + each["update"] for each in several]


def table(found: Mapping[str, Sequence[Seconds]], work: Work) -> Table:
    """Return each contender's seconds and rates, and how many times as fast as the peer it is."""
    repeats = len(found[PEER])
    table = Table(title=f"RL² on ML10, {work.env_steps:,} env steps, median [least, greatest] of {repeats}")
    for column in ("", "sampling, s", "update, s", "env steps/s", "times the peer", "by processor time"):
        table.add_column(column, justify="left" if not column else "right")
    busy = {name: [each[PROCESSORS] for each in several] for name, several in found.items()}
    for name, several in found.items():
        table.add_row(
            name,
            *(spread([each[part] for each in several], ".2f") for part in ("sampling", "update")),
            spread([work.env_steps / seconds for seconds in whole(several)], ",.0f"),
            spread(ratios(whole(found[PEER]), whole(several)), ".1f"),
            spread(ratios(busy[PEER], busy[name]), ".1f"),
        )
    return table


def alike(work: Work) -> RL2Config:
    """Return the peer's settings, as far as metarl has them."""
    return RL2Config(
        cell="gru",
        memory_size=work.width,
        embedding_size=work.width,
        baseline="linear",
        learning_rate=5e-4,
        epochs=work.epochs,
        minibatches=work.chunks,
        chunk_steps=work.chunk_steps,
        entropy_weight=5e-3,
        trial_episodes=work.episodes,
        max_kl=0.0,
    )


def preset(work: Work) -> RL2Config:
    """Return the preset's settings, with trials as long as the peer's and no early stop."""
    config = agent_config_for("ml10", "rl2")
    assert isinstance(config, RL2Config)
    return dataclasses.replace(config, trial_episodes=work.episodes, max_kl=0.0)


@contextmanager
def metarl(work: Work, config: RL2Config) -> Iterator[Iterator[Seconds]]:
    """Give iterations of an agent, one after another."""
    suite = ML10Config(horizon=work.horizon).build()
    agent = config.build(suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig())
    env: TaskVectorEnv = suite.make_vector_env(work.tasks)

    def iterate() -> Iterator[Seconds]:
        index = 0
        while True:
            rng = make_rng(0, Purpose.TRAINING, index)
            drawn = suite.sample(work.tasks, rng)
            done = meta_iteration(agent, env, drawn, episodes=1, horizon=work.horizon, rng=rng)
            yield {part: done.seconds[part] for part in ("sampling", "update")}
            index += 1

    try:
        yield iterate()
    finally:
        env.close()


@contextmanager
def peer(checkout: Path, python: Path, work: Work) -> Iterator[tuple[str, Iterator[Seconds]]]:
    """Give the peer's versions and its iterations, one after another.

    Raises:
        MetarlError: if the checkout, the interpreter or a package is missing, or the peer fails.
    """
    if not (checkout / "metaworld_algorithms").is_dir():
        raise MetarlError(f"Expected a checkout of metaworld-algorithms, got {checkout}.")
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    with tempfile.TemporaryFile("w+") as log:
        try:
            worker = subprocess.Popen(
                [str(python), str(WORKER), json.dumps(dataclasses.asdict(work))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**environment, "PYTHONPATH": str(checkout.resolve()), "JAX_PLATFORMS": "cpu"},
            )
        except OSError as error:
            raise MetarlError(f"Expected a Python interpreter, got {python}: {error.strerror}.") from None

        def answer() -> dict[str, object]:
            assert worker.stdout is not None
            line = worker.stdout.readline()
            if not line:
                log.seek(0)
                raise MetarlError(f"{PEER} ended: {(log.read().strip().splitlines() or ['no message'])[-1]}")
            said: dict[str, object] = json.loads(line)
            return said

        def iterate() -> Iterator[Seconds]:
            assert worker.stdin is not None
            while True:
                with suppress(BrokenPipeError):  # its answer is then empty
                    os.write(worker.stdin.fileno(), b"\n")
                yield {part: float(str(seconds)) for part, seconds in answer().items()}

        with worker:
            said = answer()
            if "error" in said:
                raise MetarlError(f"{python} does not run {PEER}: {said['error']}")
            versions = said["versions"]
            assert isinstance(versions, dict)
            yield " ".join(f"{name} {version}" for name, version in versions.items()), iterate()


if __name__ == "__main__":
    run(main)
