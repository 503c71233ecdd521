"""A report in a real browser: whole, without a complaint, on narrow screens and in the dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metarl.cli.main import main
from support import browser
from support.browser import Browser
from support.programs import POINT

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        browser.find() is None, reason="needs Chromium (apt install chromium), or CHROMIUM=path"
    ),
]
ALL_LOADED = "[...document.querySelectorAll('video')].every((video) => video.readyState >= 2)"
SCROLLS_SIDEWAYS = "document.documentElement.scrollWidth > document.documentElement.clientWidth"

LEAST_CONTRAST = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const linear = (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  const luminance = (colour) => {
    const [red, green, blue] = colour.map((part) => linear(part / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = (element) => {
    const colour = rgba(getComputedStyle(element).backgroundColor);
    return colour[3] === 255 ? colour : behind(element.parentElement);
  };
  const contrast = (element) => {
    const style = getComputedStyle(element);
    const text = rgba(style.color);
    const [dark, light] = [luminance(text), luminance(behind(element))].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  const words = 'h1, h2, h3, h4, p, a:not(.skip), td, th, li, figcaption, strong, .detail';
  return Math.min(...[...document.querySelectorAll(words)].map(contrast));
})()"""
"""Of text and what lies behind it (WCAG 2.2, success criterion 1.4.3)."""
COLUMN = """[...document.querySelector('table.sortable').tBodies[0].rows]
  .map((row) => Number(row.cells[6].dataset.value))"""
LEFT = """[...document.querySelector('table.sortable').tBodies[0].rows]
  .filter((row) => row.offsetHeight > 0).map((row) => row.cells[0].textContent)"""
SEARCH = """(() => {
  const box = document.querySelector('input.search');
  box.value = '0.4935';
  box.dispatchEvent(new Event('input'));
})()"""
POSTERS = """Promise.all([...document.querySelectorAll('video')].map(async (video) => {
  const image = new Image();
  image.src = video.poster;
  await image.decode();
  return image.naturalWidth;
}))"""
BOTH_PLAY = """[...document.querySelector('.pair').querySelectorAll('video')]
  .every((video) => !video.paused && video.currentTime > 0)"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report of two configs, one of two seeds, with videos."""
    folder = tmp_path_factory.mktemp("reported")
    kinds = {"it-0": ("--seed", "0"), "it-1": ("--seed", "1"), "other": ("--agent.inner-lr", "0.3")}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, options in kinds.items():
            assert main([*POINT, "--iterations", "4", *options, "--name", name]) == 0
        assert main(["report", "--size", "96", *(f"runs/{name}" for name in kinds)]) == 0
    return folder / "runs" / "it-0" / "report.html"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = browser.find()
    assert program is not None
    with Browser(program, tmp_path_factory.mktemp("profile")) as started:
        yield started


def test_page_loads_without_a_complaint_and_asks_for_nothing_else(chromium: Browser, report: Path) -> None:
    chromium.open(report)
    assert chromium.wait_for(ALL_LOADED)
    assert chromium.complaints == []
    assert chromium.requests == [report.resolve().as_uri()]


def test_every_video_and_figure_is_there(chromium: Browser, report: Path) -> None:
    chromium.open(report)
    assert chromium.wait_for(ALL_LOADED)
    sizes = "[...document.querySelectorAll('video')].map((video) => [video.videoWidth, video.videoHeight])"
    assert chromium.evaluate(sizes) == [[96, 96]] * 12
    assert chromium.evaluate(POSTERS) == [96] * 12
    drawn = (
        "[...document.querySelectorAll('figure img')]"
        ".map((image) => image.complete && image.naturalWidth > 200)"
    )
    assert chromium.evaluate(drawn) == [True] * 6


@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_page_never_scrolls_sideways(chromium: Browser, report: Path, width: int) -> None:
    chromium.open(report, width=width)
    assert chromium.evaluate(SCROLLS_SIDEWAYS) is False


def test_text_is_large_enough_on_a_telephone(chromium: Browser, report: Path) -> None:
    chromium.open(report, width=375)
    smallest = (
        "Math.min(...[...document.querySelectorAll('main p, main td, main th, main figcaption, main li')]"
        ".map((element) => parseFloat(getComputedStyle(element).fontSize)))"
    )
    in_figures = (
        "Math.min(...[...document.querySelectorAll('figure img')]"
        ".map((image) => image.getBoundingClientRect().width / image.naturalWidth * 8 * 96 / 72))"
    )
    assert float(str(chromium.evaluate(smallest))) >= 12
    assert float(str(chromium.evaluate(in_figures))) >= 9


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_its_background(chromium: Browser, report: Path, dark: bool) -> None:
    chromium.open(report, dark=dark)
    assert float(str(chromium.evaluate(LEAST_CONTRAST))) >= 4.5


def test_dark_mode_is_dark_and_light_mode_is_light(chromium: Browser, report: Path, tmp_path: Path) -> None:
    brightness = {}
    for dark in (False, True):
        chromium.open(report, width=375, dark=dark)
        chromium.screenshot(tmp_path / "page.png", whole=False)
        brightness[dark] = float(np.median(np.asarray(Image.open(tmp_path / "page.png").convert("L"))))
    assert brightness[False] > 225
    assert brightness[True] < 40


def test_heading_sorts_the_table_and_says_so(chromium: Browser, report: Path) -> None:
    chromium.open(report)
    press = "document.querySelectorAll('table.sortable th button')[6].click()"
    state = "document.querySelectorAll('table.sortable thead th')[6].getAttribute('aria-sort')"
    for order in ("descending", "ascending"):
        chromium.evaluate(press)
        values = chromium.evaluate(COLUMN)
        assert isinstance(values, list)
        assert values == sorted(values, reverse=order == "descending")
        assert len(values) == 40
        assert chromium.evaluate(state) == order


def test_search_leaves_the_tasks_that_were_looked_for(chromium: Browser, report: Path) -> None:
    chromium.open(report)
    chromium.evaluate(SEARCH)
    assert chromium.evaluate(LEFT) == ["point/test/0.4935544291994688,0.1152745549818407"]


def test_both_videos_of_a_task_play_at_once(chromium: Browser, report: Path) -> None:
    chromium.open(report)
    assert chromium.wait_for(ALL_LOADED)
    chromium.evaluate("document.querySelector('.pair .play').click()")
    assert chromium.wait_for(BOTH_PLAY)
    assert chromium.evaluate("document.querySelector('.pair .play').textContent") == "Pause both"
    assert chromium.complaints == []


def test_page_is_whole_without_javascript(chromium: Browser, report: Path) -> None:
    chromium.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        chromium.open(report)
    finally:
        chromium.call("Emulation.setScriptExecutionDisabled", value=False)
    assert chromium.evaluate("document.querySelectorAll('button, input').length") == 0
    assert (
        chromium.evaluate("[...document.querySelectorAll('video')].every((video) => video.controls)") is True
    )
    assert chromium.evaluate("document.querySelector('table.sortable').tBodies[0].rows.length") == 40


def test_page_can_be_printed(chromium: Browser, report: Path) -> None:
    chromium.open(report)
    assert chromium.pdf().startswith(b"%PDF-")
