"""Check of an agent's promises, on small suites.

The agents of metarl are held to the same claims, :mod:`metarl.plugins.agent_claims`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Literal, NamedTuple, TypeAlias

from metarl.config import AgentConfig
from metarl.errors import NonFiniteActionError
from metarl.plugins.agent_claims import CLAIMS, Claim
from metarl.plugins.agent_probe import AgentProbe, BrokenPromise, OpenQuestion
from metarl.plugins.user_files import described
from metarl.tasks import TaskDistribution

Verdict: TypeAlias = Literal["pass", "FAIL", "open"]


class Result(NamedTuple):
    """How one claim went."""

    claim: str  # the claim, a sentence without its full stop
    verdict: Verdict
    seen: str  # observation against the claim, or why it cannot be judged; empty if it holds

    def __str__(self) -> str:
        return f"{self.verdict}  {self.claim}" + (f": {self.seen}." if self.seen else ".")


def check_agent(
    config: AgentConfig,
    suite: TaskDistribution,
    progress: Callable[[Result], None] = lambda _: None,
    claims: Sequence[Claim] = CLAIMS,
) -> list[Result]:
    """Try every claim on an agent; small suites take less time.

    An exception fails the first claim that meets it; further ones that it stops are open for that reason.
    """
    results, met = list[Result](), dict[str, str]()
    with closing(AgentProbe(config, suite)) as probe:
        for claim in claims:
            results.append(_tried(claim, probe, met))
            progress(results[-1])
    return results


def _tried(claim: Claim, probe: AgentProbe, met: dict[str, str]) -> Result:
    """Try a claim; ``met`` are the exceptions so far, by their cause."""
    sentence = (claim.__doc__ or "").partition("\n")[0].rstrip(".")
    try:
        claim(probe)
    except BrokenPromise as broken:
        return Result(sentence, "FAIL", str(broken))
    except OpenQuestion as question:
        return Result(sentence, "open", str(question))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, training would meet it
        said = described(error)
        # NaN is one cause, wherever it is found first
        cause = type(error).__name__ if isinstance(error, NonFiniteActionError) else said
        verdict: Verdict = "open" if cause in met else "FAIL"
        return Result(sentence, verdict, met.setdefault(cause, said))
    return Result(sentence, "pass", "")
