"""The programs that measure: that every contender does the same work, and that verdicts are said right."""

from __future__ import annotations

import importlib
import math
import re
from pathlib import Path
from types import ModuleType
from typing import Annotated

import numpy as np
import pytest
import torch
from annotated_types import Ge, Le

from metarl.agents.e_maml import EMAMLConfig
from metarl.agents.maml_vpg import MAMLVPGConfig
from metarl.agents.pearl import Networks, PEARLConfig
from metarl.config import SamplingConfig, construct
from metarl.envs.engines.threads.compiled import load
from metarl.envs.engines.threads.features import Array
from metarl.envs.metaworld.models import Actions
from metarl.envs.metaworld.suite import MetaWorldTasks
from metarl.envs.registration import SUITES
from metarl.envs.toy.point import PointTasks
from metarl.errors import MetarlError
from metarl.rollouts.collect import collect
from metarl.types import Task

PARAMETERS = {
    "reach-v3": (
        0.06648852816008435,
        0.6212339110678275,
        0.02,
        -0.063,
        0.8304242242959539,
        0.18118910790805948,
    ),
    "door-open-v3": (0.03342383186960608, 0.9284896977111468, 0.15),
}
TASKS = tuple(Task(family, vector, f"{family}/0") for family, vector in PARAMETERS.items())
CPU = torch.device("cpu")
SUITE = MetaWorldTasks(name="pair", train=TASKS, test=(), horizon=12)


@pytest.fixture(autouse=True)
def beside_the_benchmarks(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_prediction_for_ranks_adds_up_what_each_of_them_does() -> None:
    model = importlib.import_module("benchmarks.speed.rank_model")
    pieces = model.Pieces(
        tasks=4,
        episodes=2,
        rollouts=2,
        horizon=10,
        physics=0.001,
        acting=0.01,
        learning=6.0,
        apart=0.5,
        parameters=7,
        exchanges=(model.Exchange(4, 4000, True), model.Exchange(3, 300, False)),
    )
    # a rank has 4 worlds on 2 cores and at most 2 of 3 chunks; it receives 2000 and 200 bytes
    expected = (20 * 2 * 0.001, 20 * 0.01, 6 / 3, 0.5, 2 * 2 * 0.001 + 2200 / 1e4)
    assert model.predict(pieces, 2, 2, model.Network(0.001, 1e4)) == pytest.approx(expected)


def test_no_program_answers_ctrl_c_with_a_traceback(root: Path) -> None:
    ends = {
        path.name: path.read_text().partition('if __name__ == "__main__":\n')[2].strip()
        for path in (root / "benchmarks").rglob("*.py")
    }
    caught = ("run(main", "sys.exit(exit_code(main")
    # these are started by others, or say only what the machine is
    exempt = {"busy_machine_worker.py", "envpool_worker.py", "recurrent_peer_worker.py", "workloads.py"}
    assert {name for name, end in ends.items() if end and not end.startswith(caught)} == exempt


def works(*, output: Path | None = None) -> None:
    """Stand for the work of a program."""
    raise AssertionError(output)


def test_program_finds_before_its_work_that_its_output_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = importlib.import_module("benchmarks.program").run
    for output in ("/sys/metarl/table.csv", "/sys/metarl"):
        monkeypatch.setattr("sys.argv", ["program", "--output", output])
        with pytest.raises(SystemExit) as end:
            run(works)
        assert end.value.code == 2
        assert f"metarl: {output} cannot be written: " in capsys.readouterr().err
    (tmp_path / "v1.5").mkdir()
    for output in ("None", str(tmp_path / "v1.5")):  # a folder that is there may have a dot
        monkeypatch.setattr("sys.argv", ["program", "--output", output])
        with pytest.raises(AssertionError, match=output):
            run(works)


def bounded(*, goals: Annotated[int, Ge(1)] = 3, shares: tuple[Annotated[float, Le(1)], ...] = ()) -> None:
    """Stand for a program with bounds of its options."""
    raise AssertionError(goals, shares)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--goals", "0"), "Expected goals >= 1, got 0."),
        (("--shares", "0.5", "2"), "Expected every value of shares <= 1, got (0.5, 2.0)."),
    ],
)
def test_program_refuses_an_option_beyond_its_bounds_before_its_work(
    options: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = importlib.import_module("benchmarks.program").run
    monkeypatch.setattr("sys.argv", ["program", *options])
    with pytest.raises(SystemExit) as end:
        run(bounded)
    assert end.value.code == 2
    assert capsys.readouterr().err == f"metarl: {message}\n"


@pytest.fixture
def contenders() -> ModuleType:
    return importlib.import_module("benchmarks.speed.contenders")


@pytest.fixture
def bare_physics() -> ModuleType:
    return importlib.import_module("benchmarks.speed.bare_physics")


def engine_states(contenders: ModuleType, slots: list[Task], actions: Actions) -> list[Array]:
    """Let the engine run the episodes; return its worlds' integration states."""
    env = contenders.sawyer(SUITE, len(slots), "portable")
    env.set_tasks(slots)
    env.reset()
    for row in actions:
        env.step(row)
    states = env._physics.get_state(range(len(slots)))
    env.close()
    return [state.integration for state in states]


@pytest.mark.parametrize("kind", ["threads", "pool", "free pools", "portable pool"])
def test_limit_simulates_what_the_engine_does(
    contenders: ModuleType, bare_physics: ModuleType, kind: str
) -> None:
    if kind in ("pool", "free pools") and load() is None:
        pytest.skip("there is no C compiler")
    slots = [task for task in TASKS for _ in range(2)]
    actions = np.random.default_rng(0).uniform(-1.5, 1.5, (12, 4, 4)).astype(np.float32)
    given = bare_physics.drive(slots, actions)
    physics = {
        "threads": lambda: bare_physics.ThreadPhysics(given.families),
        "pool": lambda: bare_physics.PoolPhysics(given.families, free=False),
        "free pools": lambda: bare_physics.PoolPhysics(given.families, free=True),
        "portable pool": lambda: bare_physics.PoolPhysics(given.families, free=False, stepper="portable"),
    }[kind]()
    physics.prepare(given)
    assert physics.run() > 0
    states = physics.states()
    physics.close()
    wanted = engine_states(contenders, slots, actions)
    assert [state.tobytes() for state in states] == [state.tobytes() for state in wanted]


def test_collecting_takes_the_drawn_actions(contenders: ModuleType) -> None:
    (draw,) = contenders.draws(SUITE, 2, 4, 6, 1)
    env = contenders.sawyer(SUITE, 4, "portable")
    agent = importlib.import_module("benchmarks.workloads").AGENT.build(
        SUITE, seed=0, device=torch.device("cpu"), sampling=SamplingConfig()
    )
    actor = contenders.Overruled(agent.initial_actor(2), draw)
    rollout = collect(env, draw.tasks, actor, episodes=2, horizon=6, rng=np.random.default_rng(0))
    env.close()
    flat = importlib.import_module("benchmarks.speed.meta_iteration").flat(rollout)
    assert flat.tobytes() == draw.actions.tobytes()


def test_ratios_to_the_limit_take_the_fastest_physics(contenders: ModuleType) -> None:
    sampling = importlib.import_module("benchmarks.speed.sampling")
    slow, fast, ours = (contenders.Taken(100, seconds, 0.0, 1.0) for seconds in (2.0, 1.0, 1.25))
    results = {sampling.LIMITS[0]: [slow], sampling.LIMITS[1]: [fast], sampling.COMPILED: [ours]}
    by_name = {bar.what: bar for bar in sampling.bars({20: results})}
    bar = by_name["20 worlds: compiled, rewards at every step / limit"]
    assert (bar.measured, bar.verdict) == (0.8, "yes")


@pytest.mark.parametrize(
    ("measured", "at_most", "verdict"),
    [
        (2.0, True, "yes"),
        (2.1, True, "NO"),
        (2.0, False, "yes"),
        (1.9, False, "NO"),
        (None, True, "not measured"),
    ],
)
def test_verdict_on_a_bar_of_two(measured: float | None, at_most: bool, verdict: str) -> None:
    bar = importlib.import_module("benchmarks.workloads").Bar("it", 2.0, measured, at_most)
    assert bar.verdict == verdict


def test_sampling_prints_limit_and_bars(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sampling = importlib.import_module("benchmarks.speed.sampling")
    sampling.main(ml10=(), ml45=(), tasks=("reach-v3",), task_worlds=(20,), horizon=3, repeats=1)
    out = capsys.readouterr().out
    assert "ml1-reach-v3 x 20, 3 steps" in out
    assert "the limit is physics" in out
    assert "not measured" in out


def test_versions_are_compared_layout_by_layout(tmp_path: Path) -> None:
    program = importlib.import_module("benchmarks.parity.mujoco_versions")
    marks = {"3.17.0": "++++++++--", "3.3.0": "-+++++++++", "3.8.1-soft-peg": "-+++++++++"}
    for name, solved in marks.items():
        (tmp_path / name).write_text(f"family,solved,layouts\nreach-v3,{solved.count('+')},{solved}\n")
    found = {name: program.read(tmp_path / name) for name in sorted(marks, key=program.by_version)}
    assert list(found) == ["3.3.0", "3.8.1-soft-peg", "3.17.0"]
    same, other = program.changes(found)
    assert same == ("reach-v3", "3.8.1-soft-peg", 9, 9, 0, 0, 1.0)
    # two layouts lost and one gained: all three tosses of a coin that are as uneven
    assert other == ("reach-v3", "3.17.0", 9, 8, 2, 1, 1.0)
    assert program.share(found["3.3.0"]) == "90.0 [55.5, 99.7]"


def test_scatter_of_gradients_is_the_trace_of_their_covariance() -> None:
    program = importlib.import_module("benchmarks.learning.gradient_variance")
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(30, 5)) + 2.0
    products, draws = gradients @ gradients.T, rng.multinomial(30, np.full(30, 1 / 30), size=4)
    found = program.variance(products, draws.astype(np.float64))
    again = [np.repeat(gradients, counts, axis=0) for counts in draws]
    assert found == pytest.approx([np.cov(sample.T).trace() for sample in again])
    one = program.scatter(products, np.array([1.0, 2.0, 3.0]))
    assert one.variance == pytest.approx(np.cov(gradients.T).trace())
    mean = gradients.mean(axis=0)
    assert one.mean**2 == pytest.approx(mean @ mean - one.variance / 30)


def test_length_of_a_mean_that_scatter_hides_is_not_made_up() -> None:
    program = importlib.import_module("benchmarks.learning.gradient_variance")
    gradients = np.array([[1.0, 0.0], [-1.0, 0.0]])
    one = program.scatter(gradients @ gradients.T, np.array([1.0]))
    assert (one.mean, one.variance) == (0.0, 2.0)
    assert np.isnan(one.relative)


def test_outer_update_lists_parts_and_agents(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outer_update = importlib.import_module("benchmarks.speed.outer_update")
    outer_update.main(tasks=2, episodes=2, horizon=5, repeats=1, agents=("reptile",), inner_steps=())
    out = capsys.readouterr().out
    assert "meta-gradient" in out
    (row,) = (line.split() for line in out.splitlines() if " reptile " in line)
    assert row[row.index("reptile") + 2] == "2"


def test_cost_of_an_agent_that_does_not_adapt_in_training_is_of_one_rollout() -> None:
    agent_costs = importlib.import_module("benchmarks.speed.agent_costs")
    costs = agent_costs.measure(agent_costs.Work("multi-task", (2, 2, 5)), 2)
    assert costs.rollouts == 1
    assert {name: len(values) for name, values in costs.seconds.items()} == dict.fromkeys(
        ("adapt", "update", "plain"), 2
    )
    assert costs.peak >= costs.data > 0


def test_memory_is_told_for_each_rollout() -> None:
    agent_costs = importlib.import_module("benchmarks.speed.agent_costs")
    grown = {steps: agent_costs.Costs(steps + 1, {}, 100.0, 100.0 + 30 * (steps + 1)) for steps in (1, 4)}
    table = agent_costs.memory_table({"it": grown})
    assert [list(column.cells) for column in table.columns] == [["it"], ["60 (30)"], ["150 (30)"]]


def test_the_measured_gradient_is_not_cut_off_at_the_bounds_of_deviations() -> None:
    program = importlib.import_module("benchmarks.learning.gradient_variance")
    suite, rng = PointTasks(horizon=4), np.random.default_rng(0)
    theta = MAMLVPGConfig().build(suite, seed=0, device=CPU, sampling=SamplingConfig())
    batch = program.meta_batch(theta, suite, suite.make_vector_env(20), 2, rng)

    def measured(step: float) -> Array:
        # so much credit that a step of 1 leaves deviations of 1e-6 to 1e4 behind
        settings = {**program.PLAIN, "credit_weight": 1000.0, "outer_lr": step}
        learner = construct(EMAMLConfig, settings).build(suite, seed=0, device=CPU, sampling=SamplingConfig())
        return np.asarray(program.gradient(program.unbounded(learner), theta.params, batch)) / step

    whole = measured(1.0)
    assert np.abs(whole).max() > 100
    assert whole == pytest.approx(measured(2.0**-16), rel=1e-2, abs=0.1)


def test_accepted_steps_are_those_of_agents_with_a_trust_region_and_of_some_seeds() -> None:
    program = importlib.import_module("benchmarks.learning.accepted_steps")
    with pytest.raises(MetarlError, match=r"Expected agents with a trust region: .*maml-trpo.* \['rl2'\]"):
        program.main(agents=("maml-trpo", "rl2"))
    with pytest.raises(MetarlError, match="seeds must have a value at least, but it is empty"):
        program.main(seeds=())


def test_accepted_steps_are_told_for_every_agent_and_horizon(capsys: pytest.CaptureFixture[str]) -> None:
    program = importlib.import_module("benchmarks.learning.accepted_steps")
    own = {"anil", "boil", "cavia", "maml-trpo", "meta-lstm", "meta-sgd", "multi-task"}
    assert own <= set(program.TRUST_REGION)  # and those of packages
    program.main(iterations=1, seeds=(1,), horizons=(1, 2), agents=("multi-task",))
    out = capsys.readouterr().out
    (row,) = (line for line in out.splitlines() if "multi-task" in line)
    assert row.count("%") == 2
    assert "bar: at least 90%" in out


def test_every_suite_but_points_and_meta_worlds_is_measured() -> None:
    assert set(importlib.import_module("benchmarks.speed.families").CONFIGS) == {*SUITES} - {
        "bandits",
        "point",
    }


def test_suite_of_processes_only_is_measured_against_async_vector_env() -> None:
    taken = importlib.import_module("benchmarks.speed.families").measure(
        "cart-pole", worlds=2, steps=3, repeats=1
    )
    assert list(taken) == ["processes", "AsyncVectorEnv"]
    assert all(one.clock > 0 for them in taken.values() for one in them)


def test_replay_is_measured_against_both_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    importlib.import_module("benchmarks.speed.replay").main(megabytes=2, checkpoints=12, folder=tmp_path)
    out = capsys.readouterr().out
    assert "2 MB in 12 checkpoints" in out
    assert re.search(r"space on disk / size of the buffer +│ at most 1.2 ", out)
    assert "of the space and" in out


@pytest.mark.slow
def test_training_of_sb3_is_measured_beside_its_own_processes(capsys: pytest.CaptureFixture[str]) -> None:
    program = importlib.import_module("benchmarks.speed.sb3_training")
    program.main(slots=2, rollout=8, batches=(16,), turns=1)
    out = capsys.readouterr().out
    assert "PPO on reach-v3, 2 slots: median [least, greatest] of 1 turns" in out
    assert re.search(r"batch_size 16: metarl / SubprocVecEnv +│ at least 4 ", out)


def test_recurrent_updates_are_timed_beside_pytorchs_gru(capsys: pytest.CaptureFixture[str]) -> None:
    recurrent = importlib.import_module("benchmarks.speed.recurrent")
    recurrent.main(tasks=4, trials=1, horizon=3, width=8, repeats=1, one_thread=True)
    out = capsys.readouterr().out
    assert "24 env steps" in out
    assert "update: nn.GRU / linear" in out


def test_plain_module_computes_what_the_agents_gru_does() -> None:
    recurrent = importlib.import_module("benchmarks.speed.recurrent")
    policy = (
        recurrent.RL2Config(memory_size=5, embedding_size=5)
        .build(SUITE, seed=0, device=CPU, sampling=SamplingConfig())
        .policy
    )
    module = recurrent.PlainGRU(policy.input_size, policy.action_size, 5)
    names = {
        "cell.input_weight": "memory.weight_ih_l0",
        "cell.memory_weight": "memory.weight_hh_l0",
        "cell.input_bias": "memory.bias_ih_l0",
        "cell.memory_bias": "memory.bias_hh_l0",
    }
    params = policy.initial_params(torch.Generator().manual_seed(1))
    module.load_state_dict({names.get(name, name): value for name, value in params.items()})
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(6, 2, policy.input_size, generator=generator)
    memory = torch.randn(2, 5, generator=generator)
    with torch.no_grad():
        ours = policy.sequence(params, features, memory, torch.ones(6, 2, dtype=torch.bool))
        theirs = module(features, memory)
    torch.testing.assert_close(ours.policy.mean, theirs.policy.mean, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(ours.values, theirs.values, rtol=1e-4, atol=1e-6)


def test_pearl_is_measured_beside_stable_baselines3(capsys: pytest.CaptureFixture[str]) -> None:
    config = PEARLConfig(
        hidden_sizes=(8,), encoder_sizes=(8,), tasks_per_step=2, batch_size=4, context_size=4
    )
    importlib.import_module("benchmarks.speed.pearl").main(config=config, steps=1, repeats=1)
    out = capsys.readouterr().out
    assert "8 transitions a step, layers of (8,) units" in out
    assert re.search(r"PEARL, encoder and context included / SAC of stable-baselines3 +│ at least 1 ", out)


def test_contenders_of_pearl_have_the_same_networks_and_batch() -> None:
    module = importlib.import_module("benchmarks.speed.pearl")
    config = PEARLConfig(hidden_sizes=(8, 6), latent_size=3, tasks_per_step=2, batch_size=4)
    model = module.sb3_model(config)
    theirs = sum(value.numel() for value in model.critic.parameters())
    networks = Networks.of(config, module.OBSERVATION, module.ACTION)
    assert sum(math.prod(shape) for shape in networks.critic.network.shapes.values()) == theirs
    actor = sum(value.numel() for value in model.actor.parameters())
    assert sum(math.prod(shape) for shape in networks.policy.network.shapes.values()) == actor
