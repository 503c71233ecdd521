"""The page of questions: its code runs, and its loop acts as metarl's own."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from metarl import Run
from metarl.config import EvaluationConfig, SamplingConfig
from metarl.rollouts.collect import collect


def test_loop_of_the_page_returns_what_collect_does(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {
        "wide": SamplingConfig(meta_batch_size=40, episodes=1),
        "brief": EvaluationConfig(tasks=1, episodes=1, adaptation_steps=1, adaptation_episodes=1),
    }
    page = (root / "docs" / "questions.md").read_text(encoding="utf-8")
    page = page.replace("iterations=2", "iterations=1, sampling=wide, evaluation=brief")
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "docs/questions.md", "exec"), names)
    run, returns = names["run"], names["returns"]
    assert isinstance(run, Run)
    assert Path("runs/watched/metrics.jsonl").is_file()
    task, rng = run.suite.tasks("test")[3], np.random.default_rng(0)
    actor, env, first = run.agent.initial_actor(1, rng), run.suite.make_vector_env(1), None
    for expected in np.array(returns):
        first = collect(env, [task], actor, episodes=1, horizon=100, rng=rng, deterministic=True, after=first)
        assert first.episode_returns.item() == pytest.approx(expected, rel=1e-5)
    env.close()
