"""Check of an agent's promises, on small suites.

The agents of metarl are held to the same claims, :mod:`metarl.plugins.agent_claims`.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal, NamedTuple

from metarl.config import AgentConfig
from metarl.errors import MetarlError
from metarl.plugins.agent_claims import CLAIMS, Claim
from metarl.plugins.agent_probe import AgentProbe, BrokenPromise, OpenQuestion
from metarl.plugins.user_modules import line_of
from metarl.tasks import TaskDistribution


class Result(NamedTuple):
    """How one claim went."""

    claim: str  # the claim, a sentence without its full stop
    verdict: Literal["pass", "FAIL", "open"]
    seen: str  # observation against the claim, or why it cannot be judged; empty if it holds

    def __str__(self) -> str:
        return f"{self.verdict}  {self.claim}" + (f": {self.seen}." if self.seen else ".")


def check_agent(
    config: AgentConfig,
    suite: TaskDistribution,
    progress: Callable[[Result], None] = lambda _: None,
    claims: Sequence[Claim] = CLAIMS,
) -> list[Result]:
    """Try every claim on an agent; small suites take less time."""
    results = []
    with closing(AgentProbe(config, suite)) as probe:
        for claim in claims:
            results.append(_tried(claim, probe))
            progress(results[-1])
    return results


def _tried(claim: Claim, probe: AgentProbe) -> Result:
    sentence = (claim.__doc__ or "").partition("\n")[0].rstrip(".")
    try:
        claim(probe)
    except BrokenPromise as broken:
        return Result(sentence, "FAIL", str(broken))
    except OpenQuestion as question:
        return Result(sentence, "open", str(question))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, training would meet it
        return Result(sentence, "FAIL", _described(error))
    return Result(sentence, "pass", "")


def _described(error: BaseException) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, MetarlError):  # says by itself what is wrong, whichever line of ours found it
        return text + line_of(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = line_of(error) or f" ({Path(frame.filename).name}, line {frame.lineno})"
    return f"{type(error).__name__}: {text}{place}"
