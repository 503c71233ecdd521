"""The checker against suites that try to fool it: none passes or fails that should not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import Pipe
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit

from metarl.cli.main import main
from metarl.config import SuiteConfig
from metarl.envs import from_gymnasium
from metarl.envs.custom.from_gymnasium import ProcessTasks
from metarl.envs.custom.from_vector_env import VectorTasks
from metarl.errors import MetarlError
from metarl.plugins.suite_check import examine
from metarl.plugins.suite_effects import Trace, read_back
from metarl.plugins.suite_findings import Fault, Findings
from metarl.plugins.suite_plays import play_plans, siblings, standard_plans
from metarl.plugins.suite_secrets import told_by_family
from metarl.vector_env import Array, TaskVectorEnv
from support.adversarial_suites import (
    HORIZON,
    Choosing,
    Circling,
    Deaf,
    Dying,
    Echoing,
    Falling,
    Fogged,
    Fuelled,
    Geared,
    Gusty,
    Hasty,
    Heavy,
    Hunting,
    Lifted,
    Limited,
    Loaded,
    Misread,
    Overwriting,
    Placed,
    Settled,
    Shaken,
    Sparse,
    Thrifty,
    Touching,
    Unreached,
    Unread,
    Walk,
    Windy,
    angles,
    goals,
    goals_and_masses,
    goals_and_things,
    leak,
    listed,
    one,
    suite,
)

Make = Callable[[], VectorTasks]
NOTHING = np.zeros(2)


def way(walk: Walk) -> Array:
    return np.asarray(walk.goal - walk.place)


def distance(walk: Walk) -> float:
    return float(np.linalg.norm(way(walk)))


LEAKS: dict[str, Make] = {
    "shown": lambda: suite(leak(2, lambda walk: walk.goal)),
    "scaled and shifted": lambda: suite(leak(2, lambda walk: 0.01 * np.asarray(walk.goal) + 7)),
    "negative": lambda: suite(leak(2, lambda walk: -np.asarray(walk.goal))),
    "rounded": lambda: suite(leak(2, lambda walk: np.round(walk.goal, 1))),
    "in single precision": lambda: suite(leak(2, lambda walk: np.asarray(walk.goal, np.float32))),
    "after the first step": lambda: suite(leak(2, lambda walk: walk.goal if walk.steps else NOTHING)),
    "late": lambda: suite(leak(2, lambda walk: walk.goal if walk.steps > 20 else NOTHING)),
    "in the last observation": lambda: suite(
        leak(2, lambda walk: walk.goal if walk.steps == 24 else NOTHING)
    ),
    "in a flash": lambda: suite(leak(2, lambda walk: walk.goal if walk.steps == 7 else NOTHING)),
    "now and then": lambda: suite(leak(2, lambda walk: walk.goal if walk.steps % 5 == 4 else NOTHING)),
    "goal minus position": lambda: suite(leak(2, way)),
    "goal minus position, late": lambda: suite(
        leak(2, lambda walk: way(walk) if walk.steps > 3 else NOTHING)
    ),
    "goal minus position, rounded": lambda: suite(leak(2, lambda walk: np.round(way(walk), 1))),
    "in place of the position": lambda: suite(Hunting),
    "distance": lambda: suite(leak(1, distance)),
    "distance squared": lambda: suite(leak(1, lambda walk: np.square(way(walk)).sum())),
    "distance, late": lambda: suite(leak(1, lambda walk: distance(walk) if walk.steps else 0.0)),
    "sine and cosine": lambda: suite(
        leak(2, lambda walk: [np.sin(walk.angle), np.cos(walk.angle)], Circling), angles
    ),
    "cosine alone": lambda: suite(leak(1, lambda walk: np.cos(walk.angle), Circling), angles),
    "sum of the goal's entries": lambda: suite(leak(1, lambda walk: np.sum(walk.goal))),
    "with noise": lambda: suite(Shaken),
    "a listed task's number": lambda: listed(leak(1, lambda walk: walk.index)),
    "a listed task, one-hot": lambda: listed(leak(6, lambda walk: np.eye(8)[walk.index][:6])),
    "the mass": lambda: suite(leak(1, lambda walk: walk.mass, Heavy), one("mass")),
    "the mass, late": lambda: suite(
        leak(1, lambda walk: walk.mass if walk.steps > 5 else 0.0, Heavy), one("mass")
    ),
    "sine and cosine of the bearing": lambda: suite(leak(2, lambda walk: way(walk) / distance(walk))),
    "clipped": lambda: suite(leak(2, lambda walk: np.clip(way(walk), -0.5, 0.5))),
    "distance beside a reward out of reach": lambda: suite(leak(1, distance, Unreached)),
    "steps that are left": lambda: suite(
        leak(1, lambda walk: walk.limit - walk.steps, Limited),
        lambda rng: {"limit": int(rng.integers(5, 25))},
    ),
    "in an episode of one step": lambda: suite(leak(2, lambda walk: walk.goal), horizon=1),
    "goal minus position while masses differ": lambda: suite(
        leak(3, lambda walk: [*way(walk), walk.mass], Heavy), goals_and_masses
    ),
}
OPEN: dict[str, Make] = {
    "hidden in the position's digits": lambda: suite(Fogged),
    "a goal, while a mass stays hidden": lambda: suite(
        leak(2, lambda walk: walk.goal, Heavy), goals_and_masses
    ),
    "a thing in sight": lambda: suite(Placed, goals_and_things),
    "a sensor that is off": lambda: suite(Misread, lambda rng: {"offset": rng.uniform(-1.0, 1.0, 2)}),
    "physics within the reset": lambda: suite(Settled, one("mass")),
    "a bearing after the first step": lambda: suite(
        leak(1, lambda walk: np.cos(way(walk)[0]) if walk.steps else 0)
    ),
    "a reward that is out of reach": lambda: suite(Unreached),
    "a reward out of reach beside a cost": lambda: suite(Thrifty),
    "a number that no step uses": lambda: suite(Unread),
}
HONEST: dict[str, Make] = {
    "goals": lambda: suite(Walk),
    "masses": lambda: suite(Heavy, one("mass")),
    "masses and goals": lambda: suite(Heavy, goals_and_masses),
    "gravity": lambda: suite(Falling, one("gravity")),
    "wind along one axis": lambda: suite(Windy, one("wind", -1.0, 1.0)),
    "wind against friction": lambda: suite(Gusty, one("wind", -1.0, 1.0)),
    "one weak motor": lambda: suite(Geared, one("gain")),
    "a force that is felt": lambda: suite(Loaded, one("load")),
    "the last reward": lambda: suite(Echoing),
    "a goal that is felt when touched": lambda: suite(Touching),
    "a thing in sight that is declared": lambda: suite(Placed, goals_and_things, observed=["thing"]),
    "a sparse reward that held actions reach": lambda: suite(Sparse),
    "a reward that a held lever frees": lambda: suite(Lifted),
    "tasks that differ in their end alone": lambda: suite(
        Choosing, lambda rng: {"limit": int(rng.integers(2, 20)), "index": rng.random()}
    ),
    "limits of each task's own": lambda: suite(
        Limited, lambda rng: {"limit": int(rng.integers(5, 25)), "goal": rng.random(2)}
    ),
    "cuts that depend on the actions": lambda: suite(Fuelled),
    "early ends": lambda: suite(Dying),
}
FAULTS: dict[str, tuple[Make, str]] = {
    "deaf": (lambda: suite(Deaf), "setting a task changes nothing in the environment"),
    "overwritten": (lambda: suite(Overwriting), "not set anew by reset"),
    "hasty": (lambda: suite(Hasty), "but are at step 9. Give horizon=9"),
}


@pytest.mark.parametrize(
    ("observed", "sentence"),
    [
        (["thin"], "There is no parameter in observed called 'thin'; did you mean 'thing'?"),
        ("thing", "observed must be a list of names of parameters, but it is 'thing'."),
    ],
)
def test_observed_names_parameters(observed: Sequence[str], sentence: str) -> None:
    with pytest.raises(MetarlError) as refusal:
        suite(Placed, goals_and_things, observed=observed)
    assert str(refusal.value) == sentence


@dataclass(frozen=True, kw_only=True)
class Named(SuiteConfig):
    """Stands for a suite on the command line."""

    kind: ClassVar[str] = "walk"
    env: type[Walk] = Walk

    def build(self) -> VectorTasks:
        return suite(self.env)


@pytest.mark.parametrize("name", LEAKS)
def test_leak_is_a_fault(name: str) -> None:
    findings = examine(LEAKS[name]())
    assert any("Observations show" in fault.what for fault in findings.faults), findings
    assert len(findings.faults) == 1


@pytest.mark.parametrize("name", OPEN)
def test_question_that_no_episode_answers_is_a_doubt(name: str) -> None:
    findings = examine(OPEN[name]())
    assert not findings.faults
    assert len(findings.doubts) == 1
    assert findings.doubts[0].what.startswith("Could not tell")


@pytest.mark.parametrize("name", HONEST)
def test_honest_suite_passes(name: str) -> None:
    findings = examine(HONEST[name]())
    assert not findings.faults
    assert not findings.doubts


def families_shown(entries: int, tell: Callable[[int], object]) -> Findings:
    """Check plays of three families of walks, each with entries of its own."""
    looked = []
    for family in range(3):
        tasks = suite(leak(entries, lambda _, family=family: tell(family)))  # type: ignore[misc]  # a default
        with closing(tasks.make_vector_env(3)) as env:
            plans = standard_plans(tasks.action_space, 5)
            looked.append(play_plans(env, siblings(tasks, "walk", 3), plans))
    found = list(told_by_family(looked))
    return Findings([each for each in found if isinstance(each, Fault)])


@pytest.mark.parametrize(
    ("entries", "tell", "leaks"),
    [
        (1, lambda family: family, True),
        (3, lambda family: np.eye(3)[family], True),
        (1, lambda family: 0.1 * family**2, False),  # the height of a thing in sight, say
        (2, lambda _: [0.0, 1.0], False),
    ],
    ids=["number", "one-hot", "a thing's height", "the same in all"],
)
def test_number_of_a_family_is_a_leak(entries: int, tell: Callable[[int], object], leaks: bool) -> None:
    assert bool(families_shown(entries, tell).faults) == leaks


def set_goal(env: gymnasium.Env[Array, Array], task: Mapping[str, object]) -> None:
    """Set the goal on whatever the factory returned."""
    env.goal = task["goal"]  # type: ignore[attr-defined]  # that is what is wrong with a wrapper


def set_typo(env: gymnasium.Env[Array, Array], task: Mapping[str, object]) -> None:
    env.gaol = task["goal"]  # type: ignore[attr-defined]  # that is what is wrong


def in_processes(
    env: Callable[[], gymnasium.Env[Array, Array]],
    apply: Callable[[gymnasium.Env[Array, Array], Mapping[str, object]], None] = set_goal,
) -> ProcessTasks:
    return from_gymnasium(env, sample=goals, apply=apply, horizon=HORIZON, name="walk")  # type: ignore[arg-type]  # its own arrays


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        (lambda: in_processes(lambda: TimeLimit(Walk(), 100)), Trace(["goal"], ["goal"], False)),
        (lambda: in_processes(Unreached), Trace(["goal"], [], False)),
        (lambda: in_processes(Unreached, set_typo), Trace(["gaol"], [], True)),
        (lambda: in_processes(Overwriting), Trace([], [], False)),
    ],
    ids=["on a wrapper", "sparse", "misspelt", "overwritten"],
)
def test_state_that_a_task_sets_is_read_back(
    tasks: Callable[[], ProcessTasks], expected: Trace, suite_env: TaskVectorEnv
) -> None:
    made = tasks()
    assert read_back(made, suite_env, made.tasks("train")[:3]) == expected


@pytest.fixture(scope="module")
def suite_env() -> Iterator[TaskVectorEnv]:
    env = suite(Walk).make_vector_env(2)
    yield env
    env.close()


def test_state_in_other_processes_cannot_be_read() -> None:
    tasks = suite(Walk)
    ours, theirs = Pipe()
    with closing(tasks.make_vector_env(1)) as env, ours, theirs:
        env.worker = ours  # type: ignore[attr-defined]  # as environments in processes have
        assert read_back(tasks, env, tasks.tasks("train")[:2]) is None


@pytest.mark.parametrize(
    ("env", "code", "line"),
    [
        (Walk, 0, "walk keeps every promise."),
        (Unread, 0, "walk has no fault, but 1 question is open."),
        (leak(2, lambda walk: walk.goal), 2, "metarl: walk has 1 fault."),
    ],
    ids=["pass", "open", "fault"],
)
def test_last_line_and_exit_code_tell_three_cases_apart(
    env: type[Walk], code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("metarl.plugins.registry.suite_named", lambda _: Named(env=env))
    assert main(["check", "walk"]) == code
    said = capsys.readouterr()
    assert (said.out + said.err).splitlines()[-1] == line


@pytest.mark.parametrize("name", FAULTS)
def test_fault_names_its_cause(name: str) -> None:
    make, sentence = FAULTS[name]
    told = [str(fault) for fault in examine(make()).faults]
    assert any(sentence in each for each in told), told
