"""Sessions: every family adapts, nothing is lost, and going on gives the same policy."""

from __future__ import annotations

import errno
import json
import logging
import random
import re
import shutil
import signal
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from stable_baselines3 import PPO

from metarl import deploy
from metarl.agents.multi_task import MultiTaskConfig
from metarl.cli.commands.adapt import ends_by
from metarl.cli.main import main
from metarl.deploy import running
from metarl.deploy.episodes import episode_file, read_episode, read_episodes
from metarl.deploy.running import Outcome
from metarl.deploy.settings import DeploySettings, GuardSettings, SafetySettings
from metarl.deploy.user_env import make_env, record_of, workspace_at
from metarl.errors import MetarlError, Stopped
from metarl.functional.random_streams import Purpose, make_rng
from metarl.meta_learner import inputs_at_start
from metarl.rollouts.collect import collect
from metarl.storage.locks import locked
from metarl.storage.run_checkpoints import open_checkpoint
from metarl.storage.run_folder import ADAPTATION, ADAPTED, CHECKPOINTS, WEIGHTS
from metarl.training import runs
from support.programs import Trap, errors, finish, start
from support.robots import FAMILIES, HORIZON, Table, untrained_run

UNGUARDED = GuardSettings(enabled=False)
BRIEF = DeploySettings(adaptation_steps=2, adaptation_episodes=2, horizon=HORIZON, guard=UNGUARDED)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return untrained_run(tmp_path / "run")


def adapt(run: Path, env: object = None, settings: DeploySettings = BRIEF, name: str = "session") -> Outcome:
    return deploy.adapt(run, Table() if env is None else env, run.parent / name, settings)


def test_session_says_that_its_environment_has_another_mujoco(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    robot = adapt(run, name="robot")
    env = Table()
    env.model = mujoco.MjModel.from_xml_string("<mujoco/>")  # type: ignore[attr-defined]  # as Gymnasium's have
    monkeypatch.setattr(running.metadata, "version", lambda name: "9.9.9")
    simulated = adapt(run, env, name="simulated")
    # whatever level other tests have set: episodes are told at INFO
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"The version of MuJoCo differs: {mujoco.__version__} in training, 9.9.9 here."
    ]
    recorded = [json.loads((each.folder / ADAPTATION).read_text())["about"] for each in (robot, simulated)]
    assert [about["physics"]["evaluated"] for about in recorded] == [
        {},
        {"engine": "mujoco", "mujoco": "9.9.9"},
    ]
    assert runs.trained_under(open_checkpoint(simulated.folder, pytest.fail))["mujoco"] == mujoco.__version__


def choice(outcome: Outcome) -> torch.Tensor:
    """Return the adapted policy's actions for some observations."""
    actor = outcome.adapted.initial_actor(1, make_rng(0, Purpose.FILM))
    inputs = inputs_at_start(torch.linspace(-1, 1, 10).view(1, 5, 2), 2)
    action, _ = actor.act(inputs, actor.initial_memory(5), None)
    return action.actions


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_adapts_and_opens_again(family: str, tmp_path: Path) -> None:
    run = untrained_run(tmp_path / "run", FAMILIES[family])
    outcome = adapt(run)
    sequential = outcome.agent.trial == "sequential"
    assert len(outcome.episodes) == (3 if sequential else 6)
    assert [decision.outcome for decision in outcome.decisions] == ["kept", "kept"]
    opened = runs.open_trained(outcome.folder, pytest.fail)
    unadapted = runs.open_trained(run, pytest.fail)
    inputs = inputs_at_start(torch.linspace(-1, 1, 10).view(1, 5, 2), 2)
    chosen = []
    for agent in (outcome.adapted, opened.agent, unadapted.agent):
        actor = agent.initial_actor(1, make_rng(0, Purpose.FILM))
        action, memory = actor.act(inputs, actor.initial_memory(5), None)
        chosen.append((action.actions, action.log_probs))
        assert all(value.shape[:2] == (1, 5) for value in memory.values())
    assert all(map(torch.equal, chosen[0], chosen[1]))
    assert not all(map(torch.equal, chosen[0], chosen[2]))


def test_agent_that_trains_without_adapting_adapts_once_on_a_robot(tmp_path: Path) -> None:
    run = untrained_run(tmp_path / "run", MultiTaskConfig(hidden_sizes=(8,)))
    outcome = adapt(run, settings=DeploySettings(adaptation_episodes=2, horizon=5, guard=UNGUARDED))
    assert ([each.outcome for each in outcome.decisions], len(outcome.episodes)) == (["kept"], 4)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_learned_from_is_what_collect_would_have_collected(family: str, tmp_path: Path) -> None:
    """The same actor on the same task, by the loop of training: equal shapes, masks, returns and memories."""
    run = untrained_run(tmp_path / "run", FAMILIES[family])
    settings = DeploySettings(adaptation_steps=1, adaptation_episodes=1, horizon=20, guard=UNGUARDED)
    experiment = runs.open_trained(run, pytest.fail)
    task = experiment.suite.tasks("test")[0]
    outcome = adapt(run, Table(mark=(task.parameters[0], task.parameters[1])), settings)
    learned = outcome.adaptation.path[0]
    env = experiment.make_env()
    actor = experiment.agent.initial_actor(1, make_rng(0, Purpose.DEPLOYMENT, "start", 0))
    collected = collect(
        env, [task], actor, episodes=1, horizon=20, rng=np.random.default_rng(0), deterministic=True
    )
    env.close()
    one, other = learned.tensors(), collected.tensors()
    assert {name: value.shape for name, value in one.items()} == {
        name: value.shape for name, value in other.items()
    }
    assert all(one[name].dtype == other[name].dtype for name in one)
    assert torch.equal(learned.mask, collected.mask)
    assert torch.equal(learned.truncated, collected.truncated)


def test_actions_drawn_again_from_an_episode_are_those_that_were_taken(run: Path) -> None:
    outcome = adapt(run)
    episode = outcome.episodes[0]
    fresh = deploy.go_on(outcome.folder, Table(), episodes=6)  # replays all from disk
    assert torch.equal(choice(outcome), choice(fresh))
    rollout = fresh.adaptation.path[0]
    assert np.array_equal(rollout.actions[0, 0].numpy(), episode.actions)
    # in -0.1..0.1, where the table moves: rewards follow from the actions that were sent
    places = np.cumsum(np.clip(episode.actions.astype(float), -0.1, 0.1), axis=0)
    rewards = -np.linalg.norm(places - np.array([0.3, -0.25]), axis=1)
    assert episode.rewards == pytest.approx(rewards, rel=1e-6)


def trace(folder: Path) -> list[object]:
    """Return all that must not depend on stops: whole episodes without times, the adapted policy."""
    rows = []
    for number in range(len(read_episodes(folder / "episodes"))):
        lines = episode_file(folder / "episodes", number).read_text().splitlines()
        rows.append([{k: v for k, v in json.loads(line).items() if k != "latency"} for line in lines])
    return [rows, (folder / ADAPTED).read_bytes(), json.loads((folder / "decisions.json").read_text())]


@pytest.mark.parametrize("family", FAMILIES)
def test_stopped_at_any_step_and_gone_on_with_the_policy_is_the_same(family: str, tmp_path: Path) -> None:
    run = untrained_run(tmp_path / "run", FAMILIES[family])
    whole = trace(adapt(run, name="whole").folder)
    rng, stops = random.Random(0), 0
    folder, begun = run.parent / "stopped", False
    steps_taken = run.parent / "steps"
    while True:
        left = rng.randint(1, 11)

        def should_stop() -> bool:
            nonlocal left
            left -= 1
            return left < 0

        env = Table(steps_file=steps_taken)
        try:
            if begun:
                outcome = deploy.go_on(folder, env, should_stop=should_stop)
            else:
                outcome = deploy.adapt(run, env, folder, BRIEF, should_stop=should_stop)
            break
        except Stopped:
            begun, stops = True, stops + 1
            assert env.halted == env.resets
    assert stops >= 2
    assert trace(outcome.folder) == whole
    written = [
        line
        for path in (folder / "episodes").iterdir()
        for line in path.read_text().splitlines()
        if "reward" in json.loads(line)
    ]
    assert len(written) == len(steps_taken.read_text().splitlines())


ROBOT = """
from pathlib import Path
from support.robots import Table

def table():
    return Table(steps_file=Path("steps"))
"""
TRAPS = (
    ("metarl.deploy.episodes:Journal.step", 25),
    ("metarl.deploy.episodes:Journal.finish", 4),
    ("metarl.deploy.session:write_path", 2),
)
"""Functions before which a process is killed, and the most calls of them until then."""


@pytest.mark.slow
def test_killed_at_twenty_random_moments_nothing_is_lost_and_the_policy_is_the_same(tmp_path: Path) -> None:
    kills, episodes = 20, 90
    untrained_run(tmp_path / "run")
    (tmp_path / "robot.py").write_text(ROBOT)
    begin = (
        *("adapt", "run", "--env", "robot.py:table", "--guard.no-enabled", "--episodes", str(episodes)),
        *("--adaptation-steps", "40", "--adaptation-episodes", "2", "--horizon", str(HORIZON), "--output"),
    )
    assert finish(start(tmp_path, (*begin, "whole"))) == 0, errors(tmp_path)
    (tmp_path / "steps").unlink()
    rng = random.Random(kills)
    for _ in range(kills):
        function, most = rng.choice(TRAPS)
        words = ("adapt", "--resume", "killed") if (tmp_path / "killed").exists() else (*begin, "killed")
        trap = Trap(function, rng.randint(1, most))
        assert finish(start(tmp_path, words, trap)) == -signal.SIGKILL, errors(tmp_path)
    assert finish(start(tmp_path, ("adapt", "--resume", "killed"))) == 0, errors(tmp_path)
    assert trace(tmp_path / "killed") == trace(tmp_path / "whole")
    taken = len((tmp_path / "steps").read_text().splitlines())
    written = sum(
        '"reward"' in line
        for path in (tmp_path / "killed" / "episodes").iterdir()
        for line in path.read_text().splitlines()
    )
    # a kill between a step's end and its line loses that one step at most
    assert taken - kills <= written <= taken


def test_summary_says_that_an_adaptation_is_not_yet_judged(run: Path) -> None:
    outcome = adapt(run, settings=DeploySettings(**{**vars(BRIEF), "episodes": 2}))
    assert not outcome.adapted.path
    assert ", 0 undone, another not yet judged: more episodes decide; return" in outcome.summary()
    assert "not yet judged" not in deploy.go_on(outcome.folder, Table(), episodes=3).summary()


def test_more_episodes_go_on_from_the_last(run: Path) -> None:
    whole = adapt(run, settings=DeploySettings(**{**vars(BRIEF), "episodes": 6}), name="whole")
    first = adapt(run, settings=DeploySettings(**{**vars(BRIEF), "episodes": 3}))
    assert len(first.episodes) == 3
    with pytest.raises(MetarlError, match="The session has 3 episodes, so --episodes must be 3 or more"):
        deploy.go_on(first.folder, Table(), episodes=2)
    longer = deploy.go_on(first.folder, Table(), episodes=6)
    assert trace(longer.folder) == trace(whole.folder)


def test_going_on_that_is_refused_leaves_the_session_of_another_process_as_it_is(run: Path) -> None:
    outcome = adapt(run)
    before = (outcome.folder / ADAPTATION).read_bytes()
    with locked(outcome.folder), pytest.raises(MetarlError, match="is still going on in process"):
        deploy.go_on(outcome.folder, Table(), episodes=9)
    assert (outcome.folder / ADAPTATION).read_bytes() == before
    deploy.go_on(outcome.folder, Table(), episodes=7)
    assert json.loads((outcome.folder / ADAPTATION).read_text())["settings"]["episodes"] == 7


def test_session_that_safety_ends_in_its_last_episode_did_not_stop_early(run: Path) -> None:
    env = Table()
    env.at_step = lambda count: (np.zeros(2), 0.0, False, False, {"stop": env.resets == 2})
    settings = DeploySettings(**{**vars(BRIEF), "episodes": 2})
    outcome = adapt(run, env, settings, name="whole")
    assert (len(outcome.episodes), str(outcome.episodes[-1].end)) == (2, "the environment asked to stop")
    assert outcome.stopped == ""
    env.resets = 0
    early = adapt(run, env, DeploySettings(**{**vars(BRIEF), "episodes": 3}), name="early")
    assert (len(early.episodes), early.stopped) == (2, "the environment asked to stop")


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (
            (np.array([np.nan, 0.0]), 0.0, False, False, {}),
            "Entry 0 of the observation at step 3 is not finite",
        ),
        ((np.zeros(2), np.inf, False, False, {}), "The reward at step 3 is not finite"),
        ((np.zeros(3), 0.0, False, False, {}), "Expected an observation of shape .2,."),
        ((np.zeros(2), 0.0, "no", False, {}), "Expected terminated to be True, False"),
        (
            (np.zeros(2), 0.0, False, {}),
            "Expected .observation, reward, terminated, truncated, info. of step",
        ),
        (ConnectionError("the cable is loose"), "The environment fails at step 3.*the cable is loose"),
        (SystemExit("bye"), "The environment fails at step 3.*bye"),
    ],
)
def test_a_fault_is_one_sentence_and_what_was_experienced_is_kept(
    run: Path, returned: object, message: str
) -> None:
    def fault(step: int) -> object:
        if step == 3 and isinstance(returned, BaseException):
            raise returned
        return returned if step == 3 else None

    env = Table(at_step=fault)
    with pytest.raises(MetarlError, match=message) as caught:
        adapt(run, env)
    assert "\n" not in str(caught.value)
    assert env.halted == 1
    folder = run.parent / "session"
    assert len((folder / "episodes" / "0000.jsonl").read_text().splitlines()) == 2
    assert read_episode(folder / "episodes" / "0000.jsonl") is None
    # with the fault mended, the session goes on as if it had not been there
    assert trace(deploy.go_on(folder, Table()).folder) == trace(adapt(run, name="whole").folder)
    assert (folder / "episodes" / "0000-interrupted-1.jsonl").is_file()


def test_log_counts_an_interrupted_episode_as_it_counts_the_others(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(step: int) -> object:
        if step == 2:
            raise ConnectionError("the cable is loose")
        return None

    with pytest.raises(MetarlError):
        adapt(run, Table(at_step=fault))
    caplog.set_level("INFO", logger="metarl.deploy")
    deploy.go_on(run.parent / "session", Table(), episodes=1)
    told = [record.message for record in caplog.records if record.message.startswith("Episode")]
    assert [message.split()[1] for message in told] == ["1", "1"]
    assert "interrupted" in told[0]


FAULTY = """
import gymnasium, numpy as np
class Robot(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-0.1, 0.1, ({},), np.float64)
    def reset(self, *, seed=None, options=None):
        return np.zeros(2), {{}}
    def step(self, action):
        raise ConnectionError("the cable is loose")
"""


def test_command_says_how_to_go_on_after_a_fault_if_a_session_began(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for actions, begins in ((2, True), (3, False)):
        file, folder = run.parent / f"robot{actions}.py", run.parent / f"session{actions}"
        file.write_text(FAULTY.format(actions), encoding="utf-8")
        words = ("adapt", str(run), "--env", f"{file}:Robot", "--output", str(folder))
        assert main(words) == 2
        printed = "".join(capsys.readouterr().out.split())
        assert (f"resumewith:metarladapt--resume{folder}" in printed) is begins


def test_interrupt_of_the_environments_own_says_how_to_go_on(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = run.parent / "interrupted.py", run.parent / "interrupted"
    file.write_text(FAULTY.format(2).replace('ConnectionError("the cable is loose")', "KeyboardInterrupt"))
    assert main(("adapt", str(run), "--env", f"{file}:Robot", "--output", str(folder))) == 130
    printed = "".join(capsys.readouterr().out.split())
    assert printed.endswith(f"Stopped;resumewith:metarladapt--resume{folder}")


SIGNALLED = """
import signal
from support.robots import Table

class Robot(Table):
    def step(self, action):
        for number in {}:
            signal.raise_signal(number)
        result = super().step(action)
        print("stepped")
        return result
    def halt(self):
        print("halted")
    def close(self):
        raise OSError("gone")
"""


@pytest.mark.parametrize(
    ("signals", "steps"),
    [((signal.SIGHUP,), 1), ((signal.SIGINT, signal.SIGINT), 0), ((signal.SIGTERM, signal.SIGINT), 0)],
)
def test_signal_ends_the_session_before_the_next_step_and_a_second_one_at_once_with_the_robot_held_still(
    run: Path,
    signals: tuple[int, ...],
    steps: int,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    file, folder = run.parent / "signalled.py", run.parent / "signalled"
    file.write_text(SIGNALLED.format(tuple(map(int, signals))))
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup around the tests would have it ignored
    try:
        assert main(("adapt", str(run), "--env", f"{file}:Robot", "--output", str(folder))) == 130
    finally:
        signal.signal(signal.SIGHUP, before)
    printed = capsys.readouterr().out
    assert (printed.count("stepped"), printed.count("halted")) == (steps, 1)
    assert "".join(printed.split()).endswith(f"Stopped;resumewith:metarladapt--resume{folder}")
    # a robot that cannot be closed either hides nothing
    assert "The environment fails when it is closed: OSError: gone" in caplog.text


def test_a_terminal_that_is_lost_under_nohup_does_not_end_the_session() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert ends_by() == [signal.SIGINT, signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before)


def test_full_disk_halts_the_robot_and_says_how_to_go_on(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(descriptor: int, line: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("metarl.deploy.episodes.os.write", full)
    file, folder = run.parent / "robot.py", run.parent / "full"
    file.write_text(SIGNALLED.format(()))
    assert main(("adapt", str(run), "--env", f"{file}:Robot", "--output", str(folder))) == 2
    printed = capsys.readouterr()
    assert printed.out.count("halted") == 1
    assert f"resumewith:metarladapt--resume{folder}" in "".join(printed.out.split())
    assert printed.err == f"metarl: {folder}/episodes/0000.jsonl: No space left on device.\n"


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (
            "no_such_package:Arm-v0",
            "The environment no_such_package:Arm-v0 cannot be built: ModuleNotFoundError",
        ),
        ("Arm-v0", "Expected my_robot.py:make_env or an environment's id, got 'Arm-v0'"),
    ],
)
def test_environments_that_gymnasium_cannot_make_are_refused(env: str, message: str) -> None:
    with pytest.raises(MetarlError, match=re.escape(message)):
        make_env(env)


def test_result_of_several_runs_says_once_which_weights_it_takes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (checkpoint,) = (untrained_run(tmp_path / "run") / CHECKPOINTS).iterdir()
    for seed in ("seed0", "seed1"):
        shutil.copytree(checkpoint, tmp_path / "result" / WEIGHTS / seed)
    settings = DeploySettings(episodes=1, horizon=HORIZON)
    deploy.adapt(tmp_path / "result", Table(), tmp_path / "session", settings)
    assert sum("has the weights of 2 runs" in record.getMessage() for record in caplog.records) == 1


def test_names_of_our_environments_are_known_before_any_run_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "import gymnasium\nimport metarl\n\ndef make():\n    return gymnasium.make('metarl/point')\n"
    (tmp_path / "named.py").write_text(text)
    for place in ("metarl/point", f"{tmp_path}/named.py:make"):
        monkeypatch.delitem(gymnasium.registry, "metarl/point")
        env = make_env(place)
        assert isinstance(env, gymnasium.Env)
        env.close()


def test_change_of_the_workspace_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "robot.py"
    file.write_text("def inside(seen): return True")
    recorded = record_of(f"{file}:inside", "workspace")
    assert workspace_at(f"{file}:inside", recorded) is not None
    assert not caplog.text
    file.write_text("def inside(seen): return False")
    workspace_at(f"{file}:inside", recorded)
    assert f"{file} has changed since this run was started" in caplog.text


class NoReset:
    """Something that is no environment."""


class WithoutReset(gymnasium.Env[np.ndarray, np.ndarray]):
    """An environment whose author forgot the reset; Gymnasium's own returns nothing."""

    observation_space, action_space = Box(-1, 1, (2,)), Box(-0.1, 0.1, (2,))


class Refuses(Table):
    """An environment that cannot be reset."""

    def reset(self, **_: object) -> object:  # type: ignore[override]  # wrong on purpose
        raise RuntimeError("no power")


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (NoReset(), "Expected a gymnasium.Env, got a NoReset"),
        (WithoutReset(), "Expected .observation, info. .*reset"),
        (Refuses(), "The environment fails at its reset.*no power"),
        (Table, "Expected a gymnasium.Env, got a EnvMeta|Expected a gymnasium.Env, got a type"),
        (
            Table(observation_space=Box(-1, 1, (3,))),
            "Expected observations of 2 numbers, as point has, got 3",
        ),
        (Table(action_space=Box(-1, 1, (1,))), "Expected actions as point has"),
        (gymnasium.Env(), "Expected the environment.s observation_space to be a Gymnasium space, got None"),
    ],
)
def test_what_is_no_working_environment_is_refused(run: Path, env: object, message: str) -> None:
    with pytest.raises(MetarlError, match=message):
        adapt(run, env)


def test_spaces_are_refused_before_a_folder_is_made(run: Path) -> None:
    with pytest.raises(MetarlError):
        adapt(run, Table(observation_space=Box(-1, 1, (3,))))
    assert not (run.parent / "session").exists()


def test_a_damaged_adaptation_is_made_anew_from_the_episodes(run: Path) -> None:
    folder = adapt(run).folder
    whole = (folder / ADAPTED).read_bytes()
    (folder / ADAPTED).write_bytes(b"nothing")
    with pytest.raises(MetarlError, match="metarl adapt --resume writes it"):
        runs.open_trained(folder, pytest.fail)
    deploy.go_on(folder, Table())
    assert (folder / ADAPTED).read_bytes() == whole


def test_a_session_is_neither_started_twice_nor_trained_nor_adapted_again(run: Path) -> None:
    folder = adapt(run).folder
    with pytest.raises(MetarlError, match="resume it with: metarl adapt --resume"):
        adapt(run)
    with pytest.raises(MetarlError, match="resume it with: metarl adapt --resume"):
        runs.resume(folder, pytest.fail)
    with pytest.raises(MetarlError, match="Expected a run, got a session"):
        deploy.adapt(folder, Table(), run.parent / "other")
    with pytest.raises(MetarlError, match="Expected the folder of metarl adapt"):
        deploy.go_on(run, Table())


def test_no_limit_of_actions_is_left_by_any_family(tmp_path: Path) -> None:
    safety = SafetySettings(low=(-0.05, -0.02), high=(0.03,), max_change=(0.01,))
    for name, agent in FAMILIES.items():
        env = Table()
        settings = DeploySettings(**{**vars(BRIEF), "safety": safety})
        deploy.adapt(untrained_run(tmp_path / f"{name}-run", agent), env, tmp_path / name, settings)
        sent = np.array(env.sent).reshape(-1, HORIZON, 2)
        assert (sent >= [-0.05, -0.02]).all()
        assert (sent <= 0.03).all()
        assert (np.abs(np.diff(sent, axis=1)) <= 0.01 + 1e-12).all()


def test_adapted_policy_is_exported(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = adapt(run)
    monkeypatch.chdir(run.parent)
    task = runs.open_trained(run, pytest.fail).suite.tasks("test")[0].id
    words = ("export", str(outcome.folder), "--task", task, "--adaptation-steps", "0", "--output")
    assert main([*words, "policy.zip"]) == 0
    exported = PPO.load("policy.zip", device="cpu")
    states = torch.linspace(-1, 1, 10).view(5, 2).numpy()
    chosen, _ = exported.predict(states, deterministic=True)
    # stable-baselines3 clips to the suite's actions
    assert chosen == pytest.approx(choice(outcome)[0].clamp(-0.1, 0.1).numpy(), abs=1e-6)
