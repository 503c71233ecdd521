"""``metarl report``: what is put together, what the page says, that it is whole, and what is refused."""

from __future__ import annotations

import base64
import html.parser
import itertools
import json
import os
import re
import shutil
import xml.etree.ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from metarl.cli.main import main
from metarl.errors import EngineError, MetarlError
from metarl.evaluation.official import OfficialEvaluation, OfficialSettings
from metarl.reporting import explanation_files
from metarl.reporting.evaluation_files import write_official
from metarl.reporting.figures.curves import Line
from metarl.reporting.html import videos
from metarl.reporting.html.figures import describe, episode_panels, learning_panels, over_seeds, panel
from metarl.reporting.html.page import headline, render, setting_values
from metarl.reporting.html.run_data import Group, gather, group_name, unique
from metarl.reporting.html.tables import (
    baseline_table,
    explained,
    family_table,
    official_table,
    policy_table,
    seed_table,
    task_table,
)
from metarl.reporting.html.videos import choose
from metarl.types import Json
from support.programs import POINT

Said = Callable[..., tuple[int, str, str]]
Spoil = Callable[[dict[str, Json]], None]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return ``runs`` with ``it-0`` and ``it-1`` of two seeds, and ``other`` of another config."""
    folder = tmp_path_factory.mktemp("trained")
    kinds = {"it-0": ("--seed", "0"), "it-1": ("--seed", "1"), "other": ("--agent.inner-lr", "0.3")}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, options in kinds.items():
            assert main([*POINT, "--iterations", "4", *options, "--name", name]) == 0
    return folder / "runs"


@pytest.fixture(scope="module")
def rendered(trained: Path) -> str:
    """Return the page about all runs, without videos."""
    groups = gather([trained / "it-0", trained / "it-1", trained / "other"], print)
    return render(groups, {}, {})


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may spoil."""
    return shutil.copytree(trained, tmp_path / "runs")


@pytest.fixture
def groups(runs: Path) -> list[Group]:
    return gather([runs / "it-0", runs / "it-1", runs / "other"], print)


@pytest.fixture
def said(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """Return a function that runs ``metarl report`` beside the runs."""
    monkeypatch.chdir(runs.parent)

    def command(*arguments: object) -> tuple[int, str, str]:
        code = main(["report", *map(str, arguments)])
        return code, *capsys.readouterr()

    return command


def change(path: Path, spoil: Spoil) -> None:
    """Change a file of JSON."""
    data = json.loads(path.read_text())
    spoil(data)
    path.write_text(json.dumps(data))


class Page(html.parser.HTMLParser):
    """What a page holds; fails on tags that are not closed in order."""

    VOID = ("meta", "link", "input", "source", "br", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        """What a person reads."""
        return " ".join(" ".join(self.words).split())

    def attributes(self, name: str) -> list[str]:
        """Return an attribute of every tag that has it."""
        return [value for _, attributes in self.tags if (value := attributes.get(name)) is not None]


def test_runs_that_differ_only_in_their_seed_are_one_group(groups: list[Group]) -> None:
    assert [(group.name, group.seeds) for group in groups] == [("it", [0, 1]), ("other", [0])]


def test_threads_and_workers_do_not_tell_groups_apart(runs: Path) -> None:
    def on_another_machine(config: dict[str, Json]) -> None:
        sampling = config["sampling"]
        assert isinstance(sampling, dict)
        config.update(threads=2, sampling={**sampling, "workers": 3})

    change(runs / "it-1" / "config.json", on_another_machine)
    assert [group.seeds for group in gather([runs / "it-0", runs / "it-1"], print)] == [[0, 1]]


@pytest.mark.parametrize(
    ("names", "shared"),
    [
        (["push-0", "push-1"], "push"),
        (["ml1-seed0", "ml1-seed1", "ml1-seed2"], "ml1"),
        (["alone-7"], "alone-7"),
        (["a", "b"], "a"),
    ],
)
def test_group_is_named_after_what_its_runs_names_share(names: list[str], shared: str) -> None:
    assert group_name(names) == shared


def test_equal_names_of_groups_are_numbered() -> None:
    assert unique(["a", "b", "a"]) == ["a (1)", "b", "a (2)"]


def test_tasks_are_ordered_by_gain_in_success_then_in_return(groups: list[Group]) -> None:
    run = groups[1].runs[0]
    evaluation = replace(
        run.measured.evaluation,
        tasks=run.measured.evaluation.tasks[:4],
        returns=np.array([[0, 5], [0, 1], [0, 9], [0, 2]], np.float64)[:, :, None],
        successes=np.array([[0, 0], [0, 1], [1, 0], [0, 1]], np.bool_)[:, :, None],
    )
    measured = replace(run.measured, evaluation=evaluation)
    group = Group("g", (replace(run, measured=measured),))
    assert group.by_gain() == [3, 1, 0, 2]
    without = replace(measured, evaluation=replace(evaluation, successes=None))
    assert Group("g", (replace(run, measured=without),)).by_gain() == [2, 0, 3, 1]


def test_task_means_are_over_seeds_and_episodes(groups: list[Group], runs: Path) -> None:
    files = [json.loads((runs / name / "evaluation.json").read_text()) for name in ("it-0", "it-1")]
    by_hand = np.mean([np.mean(data["returns"], axis=2) for data in files], axis=0)
    np.testing.assert_allclose(groups[0].task_returns, by_hand)
    row = task_table(groups[0]).rows[0]
    place = groups[0].by_gain()[0]
    assert row.name == groups[0].tasks[place].id
    assert row.values[3] == pytest.approx(by_hand[place, -1] - by_hand[place, 0])


def test_families_are_means_over_their_tasks(groups: list[Group]) -> None:
    run = groups[1].runs[0]
    tasks = tuple(replace(task, family="near" if i < 10 else "far") for i, task in enumerate(groups[1].tasks))
    measured = replace(run.measured, evaluation=replace(run.measured.evaluation, tasks=tasks))
    group = Group("g", (replace(run, measured=measured),))
    table = family_table(group)
    assert [row.name for row in table.rows] == ["far", "near"]
    values = [float(str(value)) for value in table.rows[1].values]
    assert values[4:] == pytest.approx(group.task_returns[:10, [0, -1]].mean(axis=0))
    assert values[3] == pytest.approx(values[5] - values[4])
    assert family_table(groups[1]).rows == ()


def test_every_seed_of_a_group_has_a_row(groups: list[Group]) -> None:
    table = seed_table(groups)
    runs = [run for group in groups if len(group.runs) > 1 for run in group.runs]
    assert [row.name for row in table.rows] == [run.folder.name for run in runs]
    for row, run in zip(table.rows, runs, strict=True):
        assert row.values[-1] == pytest.approx(run.measured.evaluation.task_returns[:, -1].mean())
    assert seed_table([group for group in groups if len(group.runs) == 1]).rows == ()


def test_interval_over_two_seeds_is_students() -> None:
    mean, low, high = over_seeds(np.array([[1.0, 5.0], [3.0, 5.0]]), (-np.inf, np.inf))
    # The standard error of 1 and 3 is 1, and the quantile of one degree of freedom is 12.706.
    np.testing.assert_allclose([mean, low, high], [[2, 5], [2 - 12.706, 5], [2 + 12.706, 5]], rtol=1e-4)


def test_interval_over_many_seeds_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(size=(400, 1))
    mean, low, high = over_seeds(values, (-np.inf, np.inf))
    half = 1.96 * values.std(ddof=1) / 20
    np.testing.assert_allclose([low - mean, high - mean], [[-half], [half]], rtol=0.08)


def test_learning_curve_is_the_mean_over_seeds(groups: list[Group], runs: Path) -> None:
    rows = [
        [json.loads(line) for line in (runs / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("it-0", "it-1")
    ]
    name = "train/return/step_1"
    by_hand = np.mean([[row[name] for row in run if name in row] for run in rows], axis=0)
    one = next(p for p in learning_panels(groups[:1]) if p.title == "Return on training tasks")
    before, after = one.lines
    assert (before.label, after.label) == ("before adaptation", "after 1 adaptation step")
    np.testing.assert_allclose(after.mean, by_hand)
    assert after.low is not None
    assert (after.low <= after.mean).all()


def test_learning_curve_of_one_run_has_the_intervals_over_tasks(groups: list[Group]) -> None:
    one = next(p for p in learning_panels(groups[1:]) if p.title == "Return on held-out tasks")
    rows = [row for row in groups[1].runs[0].rows if "test/return/step_0/low" in row]
    assert one.lines[0].low is not None
    np.testing.assert_allclose(one.lines[0].low, [row["test/return/step_0/low"] for row in rows])


def test_unfinished_seed_shortens_the_mean_curve(runs: Path) -> None:
    path = runs / "it-1" / "metrics.jsonl"
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines()[:-1]))
    groups = gather([runs / "it-0", runs / "it-1"], print)
    one = next(p for p in learning_panels(groups) if p.title == "Return on training tasks")
    assert len(one.lines[0].x) == 3


def test_gap_in_a_run_leaves_iterations_beside_one_another(runs: Path) -> None:
    path = runs / "it-1" / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows if row["iteration"] != 2))
    other = [json.loads(line) for line in (runs / "it-0" / "metrics.jsonl").read_text().splitlines()]
    groups = gather([runs / "it-0", runs / "it-1"], print)
    one = next(p for p in learning_panels(groups) if p.title == "Return on training tasks")
    name = "train/return/step_0"
    means = [(a[name] + b[name]) / 2 for a, b in zip(other, rows, strict=True) if name in a]
    np.testing.assert_allclose(one.lines[0].mean, [means[0], *means[2:]])


def test_seeds_that_patience_ended_elsewhere_are_one_group(runs: Path) -> None:
    for name, last in (("it-0", 4), ("it-1", 3)):

        def end(config: dict[str, Json], last: int = last) -> None:
            cast("dict[str, Json]", config["evaluation"])["patience"] = 1
            config["iterations"] = last

        change(runs / name / "config.json", end)
        path = runs / name / "metrics.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        values = {"test/return/step_0": 0.0, "test/return/step_1": 0.0}
        rows = [{**row, **values} for row in rows if row["iteration"] <= last]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (group,) = gather([runs / "it-0", runs / "it-1"], print)
    assert group.seeds == [0, 1]
    shown = setting_values(group)
    assert (shown["iterations"], shown["seed"], shown["name"]) == ("4, 3", "0, 1", "it-0, it-1")
    assert shown["agent.hidden_sizes"] == "8, 8"


def test_figure_is_an_image_with_its_description() -> None:
    line = Line('a <b> & "c"', np.array([0.0, 1.0]), np.array([0.25, 0.5]))
    assert describe(line) == 'a <b> & "c": from 0.25 to 0.5'
    (drawn,) = panel("Title", [line], "return", "Steps")
    assert drawn.words == f"Title. {describe(line)}."
    kind, _, content = drawn.image.partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert xml.etree.ElementTree.fromstring(base64.b64decode(content)).tag.endswith("svg")


def test_same_figure_is_the_same_file() -> None:
    line = Line("a", np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    assert panel("T", [line], "success", "")[0].image == panel("T", [line], "success", "")[0].image


def test_page_holds_all_that_it_shows(rendered: str) -> None:
    page = Page(rendered)
    for name in ("src", "href", "poster", "srcset", "xlink:href", "action", "data"):
        assert all(value.startswith(("data:", "#")) for value in page.attributes(name)), name


def test_page_has_one_title_a_language_and_headings_in_order(rendered: str) -> None:
    page = Page(rendered)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert page.attributes("lang") == ["en"]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_links_within_the_page_lead_somewhere_and_names_are_unique(rendered: str) -> None:
    page = Page(rendered)
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert {str(link)[1:] for link in links} <= set(ids)


def test_every_held_out_task_is_in_the_page(groups: list[Group], rendered: str) -> None:
    page = Page(rendered)
    assert len(groups[0].tasks) == 40
    assert all(task.id in page.text for task in groups[0].tasks)


def test_notices_of_runs_are_in_the_summary_each_once(runs: Path) -> None:
    for name in ("it-0", "it-1"):
        change(
            runs / name / "evaluation.json", lambda data: data.update(notices=["No <b>step</b> was taken."])
        )
    page = render(gather([runs / "it-0", runs / "it-1"], print), {}, {})
    assert Page(page).text.count("Notice: No <b>step</b> was taken.") == 1


def test_settings_that_differ_are_set_apart(rendered: str) -> None:
    rows = re.findall(r'<tr class="differs"><th scope="row">([^<]*)</th>', rendered)
    assert rows == ["agent.inner_lr", "name", "seed"]


def test_versions_are_those_that_the_checkpoint_was_saved_with(groups: list[Group], rendered: str) -> None:
    assert groups[0].runs[0].versions["torch"]
    assert str(groups[0].runs[0].versions["torch"]) in Page(rendered).text


def test_name_of_a_run_cannot_put_markup_into_the_page(runs: Path) -> None:
    name = '<img src=x onerror=alert(1)>&"'
    (runs / "other").rename(runs / name)
    text = render(gather([runs / "it-0", runs / name], print), {}, {"it-0": "<script>"})
    assert "<img src=x" not in text
    page = Page(text)
    assert text.count("<script>") == 1
    assert any(name in label for label in page.attributes("aria-label"))
    assert any(name in words for words in page.attributes("alt"))


def test_summary_is_in_the_terminals_numbers(groups: list[Group]) -> None:
    summary = groups[0].summary
    table = policy_table(groups[:1])
    labels = [table.names, *(column.label for column in table.columns)]
    assert labels[:4] == ["policy", "return", "interquartile mean", "return gain"]
    assert [row.detail for row in table.rows] == [
        *("before adaptation", "after 1 adaptation step", "after 2 adaptation steps"),
    ]
    for step, row in enumerate(table.rows):
        assert row.values[0] == summary.returns[step]
        assert (row.values[2] is None) == (step == 0)


def test_headline_says_when_there_is_no_clear_change(groups: list[Group]) -> None:
    said = headline(groups[0])
    gains = groups[0].summary.success_gains
    assert gains is not None
    clear = gains[-1].low > 0 or gains[-1].high < 0
    assert ("so no clear change" in said) == (not clear)
    assert said.startswith("Success on held-out tasks: ")


def test_headline_of_one_task_has_no_interval(runs: Path) -> None:
    def alone(data: dict[str, Json]) -> None:
        data.update({name: cast("list[Json]", data[name])[:1] for name in ("tasks", "returns")})
        data["successes"] = None

    change(runs / "it-0" / "evaluation.json", alone)
    (group,) = gather([runs / "it-0"], print)
    assert "[" not in headline(group)
    assert f"a gain of {group.summary.return_gains[-1].mean:.1f}. " in headline(group)


def test_runs_of_one_name_in_two_folders_have_a_row_each(runs: Path) -> None:
    for name in ("it-0", "it-1"):
        copied = shutil.copytree(runs / name, runs.parent / "others" / name)
        for file in ("config.json", "evaluation.json"):
            spoil = json.loads((copied / file).read_text())
            settings = spoil if file == "config.json" else spoil["config"]
            settings["agent"]["inner_lr"] = 0.7
            (copied / file).write_text(json.dumps(spoil))
    folders = [root / name for root in (runs, runs.parent / "others") for name in ("it-0", "it-1")]
    rows = seed_table(gather(folders, print)).rows
    assert [row.name for row in rows] == ["it-0 (1)", "it-1 (1)", "it-0 (2)", "it-1 (2)"]


def put_baseline(run: Path, stem: str, label: str, stages: list[str], **about: Json) -> None:
    """Write a baseline as ``metarl baseline`` does: here the run's own evaluation, cut to some stages."""
    data = json.loads((run / "evaluation.json").read_text())
    for name in ("returns", "successes"):
        data[name] = [task[: len(stages)] for task in data[name]]
    (run / "baselines").mkdir(exist_ok=True)
    content = {**data, "label": label, "stages": stages, "baseline": stem, **about}
    (run / "baselines" / f"{stem}.json").write_text(json.dumps(content))


def test_baselines_stand_beside_the_agent_on_the_same_tasks(runs: Path) -> None:
    for name in ("it-0", "it-1"):
        put_baseline(
            runs / name, "ppo-scratch-x1", "PPO from scratch, 1 x", [""], task_steps=[80], training_steps=0
        )
        put_baseline(runs / name, "meta", "meta-learned", ["before", "after 1 step"])
        (runs / name / "baselines" / "settings.json").write_text("{}")
    groups = gather([runs / "it-0", runs / "it-1"], print)
    rows = baseline_table(groups).rows
    assert [(row.name, row.detail, row.emphasis) for row in rows] == [
        ("meta-learned", "before", True),
        ("meta-learned", "after 1 step", True),
        ("PPO from scratch, 1 x", "", False),
    ]
    assert rows[2].values[-2:] == (80, 0)
    said = Page(render(groups, {}, {})).text
    assert "Baselines at equal budget" in said
    assert "on 40 of the held-out tasks" in said


def test_no_baselines_are_not_spoken_of(rendered: str) -> None:
    assert "aselines" not in Page(rendered).text


def test_official_number_stands_beside_ours_with_the_difference(runs: Path) -> None:
    folder = runs / "it-0" / "evaluations"
    folder.mkdir()
    settings = OfficialSettings(adaptation_steps=1)
    official = OfficialEvaluation(
        evaluator="e", settings=settings, tasks=40, counted_episodes=120, success_rate=1.0, mean_return=-3.0,
        family_successes={}, env_steps=5,
    )  # fmt: skip
    ours = gather([runs / "it-0"], print)[0].runs[0].measured.evaluation
    write_official(folder / "iteration4-seed0", official, ours)
    groups = gather([runs / "it-0", runs / "it-1"], print)
    (row,) = official_table(groups).rows
    assert ours.task_successes is not None
    rate, mean_return = ours.task_successes[:, 1].mean(), ours.task_returns[:, 1].mean()
    assert row.values == pytest.approx((1.0, rate, 1.0 - rate, -3.0, mean_return, 120))
    assert (row.name, row.detail) == ("it-0", "after 1 adaptation step")
    assert "official protocol" in Page(render(groups, {}, {})).text


def test_explanation_is_told_where_there_is_one(
    runs: Path, rendered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explanation_files, "draw", lambda *_: {})
    assert "Inside the adaptation" not in Page(rendered).text
    assert main(["explain", str(runs / "it-1"), "--tasks", "4", "--adaptation-steps", "1"]) == 0
    page = Page(render(gather([runs / "it-0", runs / "it-1"], print), {}, {}))
    (path,) = (runs / "it-1" / "explanations").glob("*.json")
    found = json.loads(path.read_text())
    (one,) = explained(gather([runs / "it-0", runs / "it-1"], print))
    assert one.run == "it-1"
    assert [table.title for table in one.tables] == [
        "layers, before and after adapting",
        "change of the policy in 1 adaptation step",
        "gain in return, over the unadapted policy",
        "gain in success, points, over the unadapted policy",
        "distances of tasks and of adaptation vectors",
    ]
    for table in one.tables:
        assert table.title.capitalize() in page.text
    layers, parameters, gains, *_ = one.tables
    assert [row.name for row in layers.rows] == ["layer_0", "layer_1", "layer_2", "log_std"]
    shares = [found["changes"][f"layer_0.{kind}"]["share"][0] for kind in ("weight", "bias")]
    assert layers.rows[0].values[0] == pytest.approx(sum(shares))
    assert layers.rows[0].values[1] == tuple(found["representations"]["layer_0"]["cka"])
    assert parameters.rows[0].values[0] == tuple(found["changes"]["layer_0.weight"]["norm"])
    assert gains.rows[0].values[0] == tuple(found["gains"]["only layer_0"]["return"])
    assert gains.rows[0].values[1] == tuple(found["gains"]["all but layer_0"]["return"])


@pytest.mark.parametrize(
    "content", ["{}", '{"gains": 3}', '{"gains": {"all": {"success": null}}, "changes": []}']
)
def test_file_that_is_no_explanation_is_one_sentence(said: Said, runs: Path, content: str) -> None:
    (runs / "it-0" / "explanations").mkdir()
    (runs / "it-0" / "explanations" / "odd.json").write_text(content)
    code, _, err = said("runs/it-0", "--no-videos")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("metarl: An explanation of runs/it-0 is not one that metarl wrote")


def test_curve_over_episodes_is_drawn_and_not_taken_for_the_evaluation(runs: Path) -> None:
    counts: list[Json] = [0, 1, 5]
    for name in ("it-0", "it-1"):
        folder = runs / name / "evaluations"
        folder.mkdir()
        path = shutil.copy(runs / name / "evaluation.json", folder / "iteration4-seed0-episodes.json")
        change(Path(path), lambda data: data.update(adaptation_episodes=counts))
    groups = gather([runs / "it-0", runs / "it-1"], print)
    assert groups[0].runs[0].measured.path.name == "evaluation.json"
    success, returns = episode_panels(groups)
    assert (success.title, returns.title) == (
        "Success after one step from some episodes",
        "Return after one step from some episodes",
    )
    assert returns.lines[0].x.tolist() == counts
    np.testing.assert_allclose(returns.lines[0].mean, groups[0].task_returns.mean(axis=0))


def test_curve_over_episodes_needs_every_seed(runs: Path) -> None:
    folder = runs / "it-0" / "evaluations"
    folder.mkdir()
    path = shutil.copy(runs / "it-0" / "evaluation.json", folder / "iteration4-seed0-episodes.json")
    change(Path(path), lambda data: data.update(adaptation_episodes=[0, 1, 5]))
    assert episode_panels(gather([runs / "it-0", runs / "it-1"], print)) == []


def test_evaluations_with_another_horizon_are_not_shown_for_the_runs_own(runs: Path) -> None:
    folder = runs / "it-0" / "evaluations"
    folder.mkdir()

    def elsewhere(data: dict[str, Json]) -> None:
        config = cast("dict[str, dict[str, Json]]", data["config"])
        config["suite"]["horizon"] = 5
        config["evaluation"]["deterministic"] = True

    for name in ("most-likely", "episodes"):
        shutil.copy(runs / "it-0" / "evaluation.json", folder / f"{name}.json")
        change(folder / f"{name}.json", elsewhere)
    change(folder / "episodes.json", lambda data: data.update(adaptation_episodes=[0, 1]))
    official = {"success_rate": 1.0, "settings": {"adaptation_steps": 1}}
    (folder / "iteration4-seed0-point-horizon5-official.json").write_text(json.dumps(official))
    (run,) = gather([runs / "it-0"], print)[0].runs
    assert (run.most_likely, run.by_episodes, run.official) == (None, None, {})
    # an older one on the run's own tasks goes before them
    shutil.move(runs / "it-0" / "evaluation.json", folder / "mine.json")
    os.utime(folder / "mine.json", (1, 1))
    assert gather([runs / "it-0"], print)[0].runs[0].measured.path.name == "mine.json"


def test_sweep_stands_for_its_finished_runs(runs: Path) -> None:
    (runs / "sweep").mkdir()
    (runs / "sweep" / "sweep.json").write_text(json.dumps({"finished": ["it-0", "it-1"]}))
    (group,) = gather([runs / "sweep"], print)
    assert group.seeds == [0, 1]


def test_suite_that_reports_no_success_is_reported_by_its_returns(runs: Path) -> None:
    change(runs / "it-0" / "evaluation.json", lambda data: data.update(successes=None))
    groups = gather([runs / "it-0"], print)
    page = Page(render(groups, {}, {}))
    assert "Return on held-out tasks: " in page.text
    assert "uccess gain" not in page.text
    labels = [column.label for column in task_table(groups[0]).columns]
    assert labels == ["return gain", "return before", "return after"]


def test_evaluation_without_adapting_is_reported_without_gains(runs: Path) -> None:
    def unadapted(data: dict[str, Json]) -> None:
        for name in ("returns", "successes"):
            data[name] = [task[:1] for task in cast("list[list[Json]]", data[name])]

    change(runs / "it-0" / "evaluation.json", unadapted)
    groups = gather([runs / "it-0"], print)
    assert "Success on held-out tasks without adapting: " in Page(render(groups, {}, {})).text


def test_evaluation_at_the_end_is_taken_before_later_ones(runs: Path) -> None:
    later = runs / "it-0" / "evaluations" / "iteration4-seed3.json"
    later.parent.mkdir()
    shutil.copy(runs / "it-0" / "evaluation.json", later)
    assert gather([runs / "it-0"], print)[0].runs[0].measured.path.name == "evaluation.json"
    (runs / "it-0" / "evaluation.json").unlink()
    assert gather([runs / "it-0"], print)[0].runs[0].measured.path == later


def test_page_says_how_many_episodes_the_measured_steps_took(runs: Path) -> None:
    def learns_from(**measured: Json) -> str:
        def spoil(data: dict[str, Json]) -> None:
            cast("dict[str, dict[str, Json]]", data["config"])["evaluation"]["adaptation_episodes"] = 7
            data.update(measured)

        change(runs / "it-0" / "evaluation.json", spoil)
        return Page(render(gather([runs / "it-0"], print), {}, {})).text

    assert "Each adaptation step learns from 7 episodes. " in learns_from()
    assert "Each adaptation step learns from 1 episode. " in learns_from(trial="sequential")


def test_newest_of_several_evaluations_is_taken(runs: Path) -> None:
    folder = runs / "it-0" / "evaluations"
    folder.mkdir()
    for age, name in enumerate(("new.json", "old.json")):
        shutil.copy(runs / "it-0" / "evaluation.json", folder / name)
        os.utime(folder / name, (1e9 - age, 1e9 - age))
    (runs / "it-0" / "evaluation.json").unlink()
    assert gather([runs / "it-0"], print)[0].runs[0].measured.path.name == "new.json"


def test_greatest_median_and_least_gain_are_filmed_by_default(groups: list[Group]) -> None:
    order = groups[0].by_gain()
    chosen = [(choice.task, choice.why) for choice in choose(groups[0], ())]
    assert chosen == [
        (groups[0].tasks[order[0]], "greatest gain"),
        (groups[0].tasks[order[20]], "median gain"),
        (groups[0].tasks[order[39]], "least gain"),
    ]


def test_few_tasks_are_not_filmed_twice(groups: list[Group]) -> None:
    run = groups[1].runs[0]
    one = replace(
        run.measured.evaluation,
        **{name: getattr(run.measured.evaluation, name)[:1] for name in ("tasks", "returns", "successes")},
    )
    group = Group("g", (replace(run, measured=replace(run.measured, evaluation=one)),))
    assert [choice.task for choice in choose(group, ())] == [run.measured.evaluation.tasks[0]]


def test_report_is_one_file_with_its_videos(said: Said) -> None:
    code, out, err = said("runs/it-0", "runs/it-1", "--size", 64)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "Reporting on 2 runs of point (it), 3 tasks to film."
    assert re.fullmatch(r"Wrote runs/it-0/report\.html \(\d+\.\d MB\)\.", lines[-1])
    page = Page(Path("runs/it-0/report.html").read_text())
    videos = [attributes for tag, attributes in page.tags if tag == "video"]
    assert len(videos) == 6
    assert all(str(video["poster"]).startswith("data:image/jpeg;base64,") for video in videos)
    sources = [str(attributes["src"]) for tag, attributes in page.tags if tag == "source"]
    assert all(source.startswith("data:video/mp4;base64,") for source in sources)
    assert all("autoplay" not in video for video in videos)


def test_report_films_the_tasks_that_are_named(said: Said) -> None:
    task = "point/test/0.4935544291994688,0.1152745549818407"
    assert said("runs/it-0", "--size", 64, "--tasks", task, "--output", "one.html")[0] == 0
    page = Page(Path("one.html").read_text())
    labels = [str(attributes["aria-label"]) for tag, attributes in page.tags if tag == "video"]
    assert [label.partition(":")[0] for label in labels] == [
        f"{task} before adaptation",
        f"{task} after 2 adaptation steps",
    ]


def test_report_without_opengl_says_what_to_install_and_is_written(
    said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_gl(*arguments: object, **options: object) -> None:
        raise EngineError("Nothing can be drawn through egl: install a software OpenGL.")

    monkeypatch.setattr(videos, "film", no_gl)
    code, out, _ = said("runs/it-0")
    sentence = "Nothing can be drawn through egl: install a software OpenGL."
    assert code == 0
    assert f"There are no videos in the report: {sentence}" in out
    assert f"There are no videos: {sentence}" in Page(Path("runs/it-0/report.html").read_text()).text


def test_camera_that_there_is_not_is_refused(said: Said) -> None:
    code, _, err = said("runs/it-0", "--camera", "topview")
    assert code == 2
    assert "topview" in err
    assert not Path("runs/it-0/report.html").exists()


@pytest.mark.parametrize(
    "option", [("--tasks", "t"), ("--camera", "topview"), ("--size", "64"), ("--seed", "1"), ("--seed", "0")]
)
def test_choices_of_films_that_are_not_made_are_refused(said: Said, option: tuple[str, str]) -> None:
    code, _, err = said("runs/it-0", "--no-videos", *option)
    assert (code, err.count("\n")) == (2, 1)
    assert "choose what is filmed, so they go with --videos, but it is --no-videos" in err


def test_report_is_replaced_only_when_asked(said: Said) -> None:
    Path("mine.html").write_text("mine")
    code, _, err = said("runs/it-0", "--no-videos", "--output", "mine.html")
    assert (code, err) == (
        2,
        "metarl: mine.html exists already; choose another --output, or --overwrite it.\n",
    )
    assert Path("mine.html").read_text() == "mine"
    assert said("runs/it-0", "--no-videos", "--output", "mine.html", "--overwrite")[0] == 0
    assert "Videos were not asked for." in Path("mine.html").read_text()


def without(*names: str) -> Callable[[Path], None]:
    """Return what removes parts of ``runs/it-1``."""

    def spoil(runs: Path) -> None:
        for name in names:
            path = runs / "it-1" / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return spoil


def with_setting(section: str, name: str, value: Json) -> Callable[[Path], None]:
    """Return what changes a setting of ``runs/it-1``."""

    def spoil(runs: Path) -> None:
        def put(data: dict[str, Json]) -> None:
            cast("dict[str, Json]", data[section])[name] = value

        change(runs / "it-1" / "config.json", put)
        change(runs / "it-1" / "evaluation.json", lambda data: put(cast("dict[str, Json]", data["config"])))

    return spoil


def of_another_suite(runs: Path) -> None:
    def put(data: dict[str, Json]) -> None:
        data["suite"] = {"kind": "ml1", "task": "push-v3"}

    change(runs / "it-1" / "config.json", put)
    change(runs / "it-1" / "evaluation.json", lambda data: put(cast("dict[str, Json]", data["config"])))


def with_evaluation(spoil: Spoil) -> Callable[[Path], None]:
    return lambda runs: change(runs / "it-1" / "evaluation.json", spoil)


def fewer_steps(data: dict[str, Json]) -> None:
    for name in ("returns", "successes"):
        data[name] = [task[:2] for task in cast("list[list[Json]]", data[name])]


def fewer_tasks(data: dict[str, Json]) -> None:
    for name in ("tasks", "returns", "successes"):
        data[name] = cast("list[Json]", data[name])[:7]


def fewer_episodes(data: dict[str, Json]) -> None:
    for name in ("returns", "successes"):
        data[name] = [[stage[:1] for stage in task] for task in cast("list[list[list[Json]]]", data[name])]


PAIR = "runs/it-0 and runs/it-1 cannot be compared: "


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            without("checkpoints"),
            "The run runs/it-1 has no checkpoints, so there is nothing to report of it yet.",
        ),
        (
            without("evaluation.json"),
            "The run runs/it-1 has no evaluation yet; make one with: metarl evaluate runs/it-1",
        ),
        (without("config.json"), "runs/it-1 is no run: it has no config.json."),
        (of_another_suite, PAIR + "they differ in the suite, point and ml1-push-v3."),
        (with_setting("suite", "horizon", 7), PAIR + "they differ in the suite's horizon, 10 and 7."),
        (with_evaluation(fewer_tasks), PAIR + "their evaluations are not of the same tasks, but of 40 "),
        (
            with_evaluation(fewer_steps),
            PAIR + "they differ in the number of adaptation steps, 2 and 1.",
        ),
        (
            with_evaluation(fewer_episodes),
            PAIR + "they differ in the number of measured episodes, 2 and 1.",
        ),
        (
            with_evaluation(lambda data: data.pop("tasks")),
            "runs/it-1/evaluation.json is not an evaluation that metarl wrote (its numbers do not fit "
            "together); delete it, and then: metarl evaluate runs/it-1",
        ),
    ],
)
def test_runs_that_cannot_be_reported_are_one_sentence(
    said: Said, runs: Path, spoil: Callable[[Path], None], sentence: str
) -> None:
    spoil(runs)
    code, _, err = said("runs/it-0", "runs/it-1", "--no-videos")
    assert code == 2
    assert err.startswith(f"metarl: {sentence}")
    assert err.count("\n") == 1
    assert not (runs / "it-0" / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("runs/nowhere",), "There is no run runs/nowhere."),
        (("runs/it-0", "runs/../runs/it-0"), "The run runs/../runs/it-0 is named twice."),
        (("runs/it-0", "--output", "runs"), "runs is a folder; name a file with --output."),
        (
            ("runs/it-0", "--tasks", "pont"),
            "There is no held-out task of point called 'pont'; did you mean 'point'?",
        ),
        (("runs/it-0", "--size", "7"), "Expected size in [32, 2048], got 7."),
    ],
)
def test_mistakes_are_one_sentence(said: Said, arguments: tuple[str, ...], sentence: str) -> None:
    code, _, err = said(*arguments)
    assert (code, err) == (2, f"metarl: {sentence}\n")


def test_same_seed_twice_is_refused(said: Said, runs: Path) -> None:
    shutil.copytree(runs / "it-0", runs / "copy")
    code, _, err = said("runs/it-0", "runs/copy")
    assert code == 2
    assert err == (
        "metarl: runs/it-0 and runs/copy have the same config and the same seed 0: one of them is enough.\n"
    )


def test_nothing_to_report_of_is_refused() -> None:
    with pytest.raises(MetarlError, match=r"^metarl report needs a run or more"):
        gather([], print)
