"""An environment's side calls: building, closing, exiting, drawing, printing, starting slowly."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from metarl.envs import from_gymnasium
from metarl.envs.custom.from_gymnasium import ProcessTasks
from metarl.envs.engines.processes.env_pool import EnvPool
from metarl.envs.engines.processes.messages import (
    Blueprint,
    Draw,
    Episode,
    new_memory,
    shared_layout,
    shared_size,
)
from metarl.envs.engines.processes.vector_env import ProcessTaskVectorEnv
from metarl.envs.engines.processes.worker import Worker
from metarl.envs.engines.processes.worker_output import CappedOutput
from metarl.errors import EngineError, MetarlError
from metarl.plugins.user_modules import dumps
from support import task_envs
from support.task_envs import ACTION_SPACE, OBSERVATION_SPACE, Echo, Info, Vector, set_goal, walk_tasks


class Wordless(Exception):
    """Cannot even be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


ENDS: tuple[tuple[BaseException, str], ...] = (
    (SystemExit("licence expired"), "SystemExit: licence expired"),
    (KeyboardInterrupt(), "KeyboardInterrupt"),
    (GeneratorExit(), "GeneratorExit"),
    (EOFError("no more"), "EOFError: no more"),
    (BrokenPipeError(), "BrokenPipeError"),
    (Wordless(), "Wordless"),
    (ValueError("long " * 1000), "ValueError: long long"),
)


class Ending(Echo):
    """Raises what a test says, where it says."""

    where: str = ""
    error: BaseException = SystemExit()

    def fail(self, here: str) -> None:
        if here == self.where:
            raise self.error

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Vector, Info]:
        self.fail("reset")
        return super().reset(seed=seed, options=options)

    def step(self, action: Vector) -> tuple[Vector, float, bool, bool, Info]:
        self.fail("step")
        return super().step(action)

    def render(self) -> Vector:
        self.fail("render")
        return np.zeros(0, np.float32)

    def close(self) -> None:
        self.fail("close")


def ending(where: str, error: BaseException) -> ProcessTasks:
    kind = type("Ending", (Ending,), {"where": where, "error": error})
    return from_gymnasium(kind, sample=[0.5], test_sample=[0.7], apply=set_goal, horizon=4, name="mine")


def start(tasks: ProcessTasks) -> Worker:
    """Begin an episode in this process, as a worker does."""
    layout = shared_layout(1, 1, ("<f4", (3,)), ("<f4", (2,)))
    blueprint = Blueprint(0, range(1), layout, dumps(None), 0)
    worker = Worker(blueprint, new_memory(shared_size(layout)))
    worker._pool = EnvPool(tasks.env_factory, max_idle=0)
    worker.run([Episode(0, tasks.tasks("train")[0], 0, None, np.zeros((0, 2)))])
    worker._shared.live[:] = True
    return worker


@pytest.mark.parametrize(("error", "told"), ENDS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize(("where", "when"), [("reset", "at the reset"), ("step", "at step 1")])
def test_whatever_an_environment_raises_names_task_and_step(
    where: str, when: str, error: BaseException, told: str
) -> None:
    with pytest.raises(EngineError) as caught:
        start(ending(where, error)).step()
    assert f"family 'mine', task 'mine/train/0', failed {when}: {told}" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_exit_while_drawing_names_task_and_step() -> None:
    worker = start(ending("render", SystemExit("no screen")))
    worker.step()
    with pytest.raises(
        EngineError, match=r"'mine/train/0', after 1 steps, cannot draw itself \(SystemExit: no"
    ):
        worker.draw(Draw(0, "", None, 32, 32))


def test_exit_in_a_step_is_told_at_once_and_no_worker_is_started_again() -> None:
    env = ending("step", SystemExit("licence expired")).make_vector_env(1, num_workers=1)
    env.reset(seed=0)
    with pytest.raises(EngineError, match=r"'mine/train/0', failed at step 1: SystemExit: licence expired"):
        env.step(np.zeros((1, 2)))
    assert env.restarts == 0
    env.close()


def leave(*_: object) -> gymnasium.Env[Vector, Vector]:
    raise SystemExit("licence expired")


def refuse_port(*_: object) -> task_envs.Walk:
    raise OSError(98, "Address already in use")


def test_environment_that_cannot_be_built_is_named_in_this_process_too() -> None:
    with pytest.raises(EngineError, match=r"'mine' cannot be built: SystemExit: licence expired"):
        from_gymnasium(leave, sample=[0.5], test_sample=[0.7], apply=set_goal, horizon=4, name="mine")
    with pytest.raises(
        EngineError, match=r"No environment of family 'walk' can be built: SystemExit: licence"
    ):
        EnvPool(leave, 1).take("walk")  # type: ignore[arg-type]  # never returns


def test_port_that_is_taken_is_explained() -> None:
    with pytest.raises(EngineError, match=r"Address already in use\. There is an environment for each slot"):
        EnvPool(refuse_port, 1).take("walk")


@pytest.mark.parametrize("error", [RuntimeError("stuck"), SystemExit("stuck")], ids=repr)
def test_close_that_raises_is_a_warning_once(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tasks = ending("close", error)
        pool = EnvPool(tasks.env_factory, max_idle=0)
        for _ in range(2):
            pool.give_back("mine", tasks.env_factory("mine"))
        pool.trim()
    said = [f"{where} failed when it was closed: {type(error).__name__}: stuck." for where in CLOSED]
    assert caplog.messages == said


CLOSED = ("The environment 'mine'", "The environment of family 'mine'")


class Undrawn(Echo):
    """Names a render mode and takes no argument for it."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  # Gymnasium's own name for it


@pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning"
)  # Gymnasium's recommendations
def test_class_without_a_render_mode_can_be_trained_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spec = EnvSpec("Undrawn-v0", entry_point="test_side_calls:Undrawn")
    monkeypatch.setitem(gymnasium.registry, spec.id, spec)
    with caplog.at_level(logging.WARNING):
        tasks = from_gymnasium("Undrawn-v0", sample=[0.5], test_sample=[0.7], apply=set_goal, horizon=4)
    assert "Undrawn-v0 cannot be drawn: with a render mode, TypeError" in caplog.text
    assert tasks.env_factory("Undrawn-v0").reset(seed=0)[0].shape == (3,)


def test_slow_environment_is_given_up_after_two_tries_and_the_setting_is_named(tmp_path: Path) -> None:
    trap = task_envs.Trap(str(tmp_path), "hang", forever=True)
    tasks = walk_tasks(1)
    env = ProcessTaskVectorEnv(
        lambda family: task_envs.Trapped(trap),
        default_tasks=[tasks[0].__class__("walk", tasks[0].parameters, "trapped")],
        num_envs=1,
        num_workers=1,
        observation_space=OBSERVATION_SPACE,
        action_space=ACTION_SPACE,
        timeout=0.5,
    )
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.zeros((1, 2)))
    with pytest.raises(
        EngineError,
        match=r"no progress for 0\.5 s, in task 'trapped' at step 4; .*raise the limit: .*timeout=600",
    ):
        env.step(np.zeros((1, 2)))
    assert env.restarts == 1
    env.close()


def test_timeout_is_a_setting_of_a_distribution() -> None:
    def build(timeout: object) -> ProcessTasks:
        return from_gymnasium(
            Echo, sample=[0.5], test_sample=[0.7], apply=set_goal, horizon=4, timeout=timeout  # type: ignore[arg-type]
        )  # fmt: skip

    assert build(300).timeout == 300
    for wrong in (0, -1.0, float("nan"), "60", True):
        with pytest.raises(MetarlError, match=r"timeout must be a positive number of seconds"):
            build(wrong)


def test_an_endless_timeout_waits() -> None:
    suite = from_gymnasium(
        Echo, sample=[0.5], test_sample=[0.7], apply=set_goal, horizon=4, timeout=float("inf")
    )
    with closing(suite.make_vector_env(1, num_workers=1)) as env:
        env.reset()
        assert env.step(np.zeros((1, 2)))[0].shape == (1, *suite.observation_space.shape)


def test_output_is_passed_on_up_to_a_limit() -> None:
    target = io.StringIO()
    output = CappedOutput(target, most=12)
    for _ in range(5):
        print("hello", file=output)
    assert target.getvalue().startswith("hello\nhello\n\nThe environments of a worker have printed 12")
    assert target.getvalue().count("dropped") == 1


PRINTING = """
import os
import numpy as np
from metarl.envs import from_gymnasium
from support.task_envs import Echo, set_goal

class Loud(Echo):
    def step(self, action):
        print("loud " * 1000)
        os.write(1, b"from C\\n")
        return super().step(action)

env = from_gymnasium(
    Loud, sample=[0.5], test_sample=[0.7], apply=set_goal, horizon=100
).make_vector_env(1, num_workers=1)
env.reset(seed=0)
for _ in range(10):
    env.step(np.zeros((1, 2)))
env.close()
print("mine")
"""


def test_what_environments_print_stays_out_of_a_programs_output(
    run_script: Callable[[str], tuple[str, str]],
) -> None:
    out, err = run_script(PRINTING)
    assert out == "mine\n"
    assert "from C" in err
    assert 10_000 <= len(err) < 11_000


@pytest.fixture
def run_script(tmp_path: Path) -> Callable[[str], tuple[str, str]]:
    def run(text: str) -> tuple[str, str]:
        script = tmp_path / "script.py"
        script.write_text(text)
        folder = Path(__file__).resolve().parents[1]
        paths = {"PYTHONPATH": f"{folder}:{folder.parent}"}
        command = [sys.executable, str(script)]
        done = subprocess.run(
            command, env={**os.environ, **paths}, capture_output=True, text=True, timeout=120, check=True
        )
        return done.stdout, done.stderr

    return run
