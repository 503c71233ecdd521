"""``metarl watch``: what it says, what it writes, what it shows, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.backend_bases import CloseEvent
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from metarl.cli.commands import watch
from metarl.cli.main import main
from metarl.errors import MetarlError
from metarl.reporting.video import window
from metarl.vector_env import Picture
from support.programs import HORIZON, POINT, train_point

Said = Callable[..., tuple[int, str, str]]
FIRST = "point/test/0.09492711815506427,-0.3221291532842725"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_point(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """Return a function that runs ``metarl watch`` on small pictures in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> tuple[int, str, str]:
        code = main(["watch", *map(str, arguments), "--size", "64"])
        return code, *capsys.readouterr()

    return command


class FakeWindow:
    """Keeps what it is shown; a person closes it after some pictures."""

    patience = 10_000

    def __init__(self, title: str, on_close: Callable[[], None]) -> None:
        self.title, self.on_close = title, on_close
        self.pictures: list[Picture] = []
        self.repeated: Sequence[Picture] = ()
        opened.append(self)

    def show(self, picture: Picture) -> None:
        self.pictures.append(picture)
        if len(self.pictures) == self.patience:
            self.on_close()

    def repeat(self, frames: Sequence[Picture], frames_per_second: int) -> None:
        self.repeated = frames

    def close(self) -> None:
        self.closed = True


opened: list[FakeWindow] = []


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> list[FakeWindow]:
    """Return the windows that are opened."""
    opened.clear()
    monkeypatch.setattr(watch, "Window", FakeWindow)
    return opened


def test_video_is_written_into_the_runs_folder(said: Said, trained: Path) -> None:
    code, out, err = said(trained, "--task", FIRST)
    path = trained / "videos" / f"{FIRST.replace('/', '-')}.mp4"
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == f"maml-trpo after 1 iteration adapts to {FIRST} of point: 2 steps, 2 episodes each."
    assert lines[1].startswith("before adaptation: return ")
    assert lines[2].startswith("after 2 adaptation steps: return ")
    assert lines[3] == f"Wrote {path}."
    assert path.read_bytes()[4:8] == b"ftyp"


def test_without_a_task_it_takes_the_first_and_names_the_others(said: Said, trained: Path) -> None:
    code, out, _ = said(trained, "--output", "film.mp4", "--steps", 1)
    assert code == 0
    assert out.startswith(f"point has 40 held-out tasks, {FIRST} to ")
    assert "after 1 adaptation step: return " in out
    assert Path("film.mp4").exists()


def test_same_seed_is_the_same_film(said: Said, trained: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert said(trained, "--output", f"{name}.mp4", "--seed", seed)[0] == 0
    a, b, c = (Path(f"{name}.mp4").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_video_is_replaced_only_when_asked(said: Said, trained: Path) -> None:
    Path("film.mp4").write_bytes(b"mine")
    code, _, err = said(trained, "--output", "film.mp4")
    assert code == 2
    assert err == "metarl: film.mp4 exists already; choose another --output, or --overwrite it.\n"
    assert Path("film.mp4").read_bytes() == b"mine"
    assert said(trained, "--output", "film.mp4", "--overwrite")[0] == 0
    assert Path("film.mp4").read_bytes() != b"mine"


def test_unknown_task_is_told_the_nearest(said: Said, trained: Path) -> None:
    code, _, err = said(trained, "--task", "pont")
    assert (code, err) == (
        2,
        "metarl: There is no held-out task of point called 'pont'; did you mean 'point'?\n",
    )


def test_camera_that_there_is_not_is_one_sentence(said: Said, trained: Path) -> None:
    code, _, err = said(trained, "--camera", "topview", "--output", "film.mp4")
    assert code == 2
    assert err.count("\n") == 1
    assert "topview" in err
    assert not Path("film.mp4").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--output", "film.gif"), "The output must be a file that ends in .mp4, but it is film.gif."),
        (("--steps", "101"), "Expected steps in [0, 100], got 101."),
    ],
)
def test_options_of_no_use_are_refused_in_words(
    trained: Path, options: tuple[str, str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["watch", str(trained), *options])
    words = " ".join(capsys.readouterr().err.translate(str.maketrans("│╭╮╰╯─", "      ")).split())
    assert end.value.code == 2
    assert sentence in words


def test_folder_without_checkpoints_is_one_sentence(said: Said, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = said("empty")
    assert code == 2
    assert err == "metarl: empty is neither a run nor a checkpoint: it has no folder 'checkpoints'.\n"


def test_window_shows_every_rollout_then_both_films(
    said: Said, trained: Path, screen: list[FakeWindow]
) -> None:
    code, out, _ = said(trained, "--window", "--task", FIRST)
    assert code == 0
    assert screen[0].title == f"metarl: {FIRST}"
    assert len(screen[0].pictures) == 3 * (HORIZON + 1)
    assert len(screen[0].repeated) == HORIZON + 1
    assert screen[0].repeated[0].shape[1] > 2 * 64
    assert screen[0].closed
    assert "Wrote" not in out


def test_closing_the_window_stops_the_adaptation(
    said: Said, trained: Path, screen: list[FakeWindow], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeWindow, "patience", 5)
    code, out, _ = said(trained, "--window", "--task", FIRST)
    assert code == 130
    assert out.endswith("Stopped; unfinished results are not written.\n")
    assert len(screen[0].pictures) == 5


def test_window_without_a_screen_is_one_sentence() -> None:
    with pytest.raises(
        MetarlError, match=r"^No window can be opened: .*; leave --window out to get an MP4 file\.$"
    ):
        window.Window("title", lambda: None)


def test_window_without_a_screen_is_refused_before_anything_is_printed(said: Said, trained: Path) -> None:
    code, out, err = said(trained, "--window")
    assert (code, out) == (2, "")
    assert err.startswith("metarl: No window can be opened: ")


@pytest.fixture
def on_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let matplotlib's canvas in memory pass for one on a screen."""
    monkeypatch.setattr(FigureCanvasAgg, "required_interactive_framework", "memory")
    monkeypatch.setattr(Figure, "show", lambda self: None)


@pytest.mark.usefixtures("on_screen")
def test_window_draws_pictures_of_any_size_pixel_by_pixel() -> None:
    shown = window.Window("title", lambda: None)
    for height, width in ((40, 60), (30, 90)):
        picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        shown.show(picture)
        canvas = pyplot.gcf().canvas
        assert isinstance(canvas, FigureCanvasAgg)
        np.testing.assert_array_equal(np.asarray(canvas.buffer_rgba())[:, :, :3], picture)
    shown.close()


@pytest.mark.usefixtures("on_screen")
def test_film_is_repeated_until_the_window_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    shown = window.Window("title", lambda: closed.append(True))
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 5:
            canvas = pyplot.gcf().canvas
            canvas.callbacks.process("close_event", CloseEvent("close_event", canvas))
        assert len(pauses) <= 5

    monkeypatch.setattr(pyplot, "pause", pause)
    shown.repeat([np.zeros((40, 40, 3), np.uint8)] * 2, 20)
    assert pauses == [0.05] * 5
    assert closed == [True]


SUITE = """
import gymnasium
import numpy as np
from metarl.envs import from_gymnasium

class Dark(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (1,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    goal = 0.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), -abs(float(action[0]) - self.goal), False, False, {}

def set_goal(env, goal):
    env.unwrapped.goal = goal

dark = from_gymnasium(Dark, apply=set_goal, sample=[-1.0, -0.5, 0.5], test_sample=[0.75], horizon=5)
"""


def test_environment_that_cannot_be_drawn_is_refused_before_anything_is_printed(
    said: Said, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("suite.py").write_text(SUITE)
    words = POINT[POINT.index("--sampling.meta-batch-size") :]
    assert main(["train", "--suite", "suite.py:dark", "--name", "it", "--iterations", "1", *words]) == 0
    capsys.readouterr()
    code, out, err = said("runs/it")
    assert (code, out) == (2, "")
    assert "cannot draw itself" in err
    assert err.count("\n") == 1


def test_camera_that_is_not_there_is_refused_before_anything_is_printed(said: Said, trained: Path) -> None:
    code, out, _ = said(trained, "--camera", "nowhere")
    assert (code, out) == (2, "")
