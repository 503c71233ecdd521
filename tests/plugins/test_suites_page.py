"""The page about the suites: its code runs, and every suite, phrase and option that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from metarl.config import construct
from metarl.envs.locomotion.model_variations import read_phrase
from metarl.envs.registration import SUITES
from metarl.errors import MetarlError
from metarl.plugins import registry
from support.locomotion import ROBOTS, gymnasium_env


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "suites.md").read_text(encoding="utf-8")


def test_code_runs(page: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "docs/suites.md", "exec"), {})


def test_suites_of_the_table_are_those_of_the_package(page: str) -> None:
    table = page.split("## Rewards and ranges")[1].split("An episode has")[0]
    named = set(re.findall(r"^\| `([a-z0-9-]+)`", table, re.MULTILINE))
    elsewhere = {"point", *(name for name in registry.names(registry.SUITES) if name.startswith("ml"))}
    assert named
    assert named <= set(registry.names(registry.SUITES))
    assert not named & elsewhere
    assert {registry.suite(name).kind for name in named} == named


def test_phrases_of_the_table_can_be_read(page: str) -> None:
    phrases = re.findall(r"^\| `([^`]+\.\.[^`]+)` \|", page, re.MULTILINE)
    assert len(phrases) >= 8
    for phrase in phrases:
        assert any(readable(phrase, robot) for robot in ROBOTS), phrase


def readable(phrase: str, robot: str) -> bool:
    try:
        return bool(read_phrase(phrase, gymnasium_env(robot).model, robot))
    except MetarlError:
        return False


def test_two_tasks_have_the_names_of_the_page(page: str) -> None:
    for kind in ("half-cheetah-dir", "ant-dir", "humanoid-dir"):
        options = {} if kind == "half-cheetah-dir" else {"directions": "two"}
        assert f"`{registry.suite(kind)(**options).build().name}`" in page


def test_names_and_numbers_of_the_lists_are_those_of_the_suites(page: str) -> None:
    rows = re.findall(r"^\| `metarl/([a-z0-9-]+)` \| (\d+), (?:the same )?(\d+)", page, re.MULTILINE)
    assert sorted(name for name, *_ in rows) == sorted(SUITES)
    for name, *numbers in rows:
        suite = construct(registry.suite(name), {}).build()
        assert [len(suite.tasks("train")), len(suite.tasks("test"))] == [int(number) for number in numbers]
