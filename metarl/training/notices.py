"""Notices, in sentences, of a run that learned nothing or measured nothing.

A notice is a function of counts, and certain. It is given once while the run goes on, after
:data:`IN_A_ROW` iterations in a row where one alone may be chance, and once more at the run's end.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from metarl.config import AgentConfig
from metarl.learning.running_scale import LEAST_DEVIATION
from metarl.meta_learner import MetaLearner, plan_of
from metarl.rollouts.tally import Counts, Streak, Tally
from metarl.text import count
from metarl.types import Json

IN_A_ROW = 5  # consecutive iterations before a notice while the run goes on
FAR = 1.0  # nats of an update, unless the agent's own target is near
SHARE = 0.1  # share of iterations before a final notice
NEARLY_ALL = 0.99  # share of episodes with success at the first step from which on success says nothing

Notices = dict[str, str]  # sentences by name


def training_notices(tally: Tally, agent: AgentConfig, baseline_features: int, success: bool) -> Notices:
    """Return the notices of a training, which name settings of the agent that may help.

    ``baseline_features`` are 0 without a baseline; ``success`` says that the suite promises to report it.
    """
    total = tally.iterations
    notices = {**_equal_rewards(tally), **success_notices(tally.counts, success)}
    for name, sentence in {
        "zero_gradient": (
            "In {} the gradient was exactly zero, so the agent stayed as it was; collect more episodes "
            "(--sampling.episodes), check that the reward depends on the actions, or lower the step sizes if "
            "the policy has become certain of every action."
        ),
        "refused": (
            "{} were refused by the line search, so the agent stayed as it was; collect more episodes "
            f"(--sampling.episodes){_stride_hint(agent)}."
        ),
        "far": (
            f"In {{}} the KL divergence from the policy that acted was above {kl_limit(agent):g} "
            f"(update/kl){_max_kl_hint(agent)}, where updates that learn stay below 0.2; "
            f"{_outer_step_hint(agent)}."
        ),
        "unchanged": (
            "In {} adapting left the policy of every task exactly as it was; check that the reward depends "
            f"on the actions{_inner_lr_hint(agent)}."
        ),
        "faint": (
            f"In {{}} the power of every reward was below {LEAST_DEVIATION:g}, too little to learn from; "
            f"lower --agent.reward-power{_power_hint(agent)}, or multiply the rewards."
        ),
        "baseline": (
            f"In {{}} the linear baseline with its {baseline_features} features had fewer than "
            f"{2 * baseline_features} transitions of a task to fit, which costs signal; collect more "
            "episodes (--sampling.episodes)."
        ),
    }.items():
        # often enough, or said before while the run went on
        times = tally.streaks.get(name, Streak()).times
        if times > SHARE * total or (times and name in tally.said):
            notices[name] = sentence.format(f"{times} of {total} {_COUNTED.get(name, 'iterations')}")
    return notices


_COUNTED = {"zero_gradient": "updates", "refused": "steps", "far": "updates"}


def kl_limit(agent: AgentConfig) -> float:
    """Return the nats of an update from which on its divergence is absurd.

    Ten times the agent's own target where that is more. In all published runs no update passed 0.2.
    """
    return max(FAR, 10 * _max_kl(agent))


def running_notices(tally: Tally, notices: Notices) -> Notices:
    """Return a training's notices that are certain already and were not given before."""
    certain = {name for name, streak in tally.streaks.items() if streak.in_a_row >= IN_A_ROW}
    certain |= {"solved_at_once", "unreported"}
    if tally.equal_rewards >= IN_A_ROW:
        certain.add("equal_rewards")
    return {name: notices[name] for name in notices if name in certain and name not in tally.said}


def evaluation_notices(counts: Counts, *, success: bool, measured_success: bool, horizon: int) -> Notices:
    """Return notices of an evaluation on held-out tasks.

    ``success`` says that the suite promises to report it, ``measured_success`` that the evaluation has its
    rate.
    """
    notices = success_notices(counts, success)
    # with one step an episode, success at the first step is no sign of a fault
    if horizon == 1:
        notices.pop("solved_at_once", None)
    if success and counts.reporting and not measured_success:
        notices["unreported"] = (
            f"Success was reported in {counts.reporting} of {counts.episodes} held-out episodes, so there is "
            "no success rate; let every step report it, true or false."
        )
    if counts.adaptations and counts.unchanged == counts.adaptations:
        notices["unchanged"] = (
            "Adapting left the policy of every held-out task exactly as it was, so the numbers after it are "
            "those of the unadapted agent; check that the reward depends on the actions."
        )
    return notices


def success_notices(counts: Counts, success: bool) -> Notices:
    """Return notices of a meaningless success rate."""
    if counts.solved_at_once and counts.solved_at_once >= NEARLY_ALL * counts.episodes:
        return {
            "solved_at_once": (
                f"Success was true at the first step of {counts.solved_at_once} of {counts.episodes} "
                "episodes, so the success rate says nothing; report success where the task is solved, and "
                "only there (success_key)."
            )
        }
    if success and counts.episodes and not counts.reporting:
        return {
            "unreported": (
                f"No step of {count(counts.episodes, 'episode')} reported success, which the suite promises, "
                "so there is no success rate; give the right success_key, or none."
            )
        }
    return {}


def baseline_notice(baseline_features: int, episodes: int, horizon: int, setting: str) -> Notices:
    """Return the notice of a baseline that fits its data too closely.

    With more than half as many features as transitions it explains part of what the actions gained, and takes
    it out of the advantages. ``setting`` is the option that sets the ``episodes`` of a task.
    """
    # at least two transitions for each feature
    transitions, needed = episodes * horizon, 2 * baseline_features
    if transitions >= needed:
        return {}
    return {
        "baseline": (
            f"The linear baseline has {baseline_features} features and at most "
            f"{count(transitions, 'transition')} of a task to fit; fewer than {needed} cost signal, so "
            f"collect {count(-(-needed // horizon), 'episode')} or more ({setting})."
        )
    }


def filling_notice(agent: MetaLearner, iterations: int) -> Notices:
    """Return the notice of iterations without an update.

    An off-policy agent fills its buffer in the first ones.
    """
    plans = (plan_of(agent, n) for n in range(iterations))
    filling = sum(1 for _ in itertools.takewhile(lambda plan: not plan.updates, plans))
    if not filling:
        return {}
    if filling == iterations:
        return {
            "filling": (
                "No iteration of this run updates the agent, as the first ones only fill its buffer; train "
                "for more (--iterations)."
            )
        }
    fills = "iteration fills" if filling == 1 else f"{filling} iterations fill"
    return {
        "filling": f"The first {fills} the agent's buffer only; it learns from iteration {filling + 1} on."
    }


def kept_notices(evaluation: Mapping[str, Json]) -> list[str]:
    """Return the notices in an evaluation's JSON, none in those of early versions."""
    notices = evaluation.get("notices")
    return [str(sentence) for sentence in notices] if isinstance(notices, list) else []


def _equal_rewards(tally: Tally) -> Notices:
    times, total = tally.equal_rewards, tally.iterations
    # the whole run, or many iterations from the first on
    if not times or (times < IN_A_ROW and times < total):
        return {}
    part = (
        f"all {count(total, 'iteration')}" if times == total else f"the first {times} of {total} iterations"
    )
    return {
        "equal_rewards": (
            f"In {part} all episodes of a task had the same "
            "rewards, so there was nothing to learn from; check that the reward depends on the actions, or "
            "collect more episodes until one is rewarded (--sampling.episodes)."
        )
    }


def _stride_hint(agent: AgentConfig) -> str:
    stride = getattr(agent, "curvature_stride", 1)
    return ", or use every transition for the curvature (--agent.curvature-stride 1)" if stride > 1 else ""


def _max_kl(agent: AgentConfig) -> float:
    target = getattr(agent, "max_kl", 0.0)
    return target if isinstance(target, float) else 0.0


def _max_kl_hint(agent: AgentConfig) -> str:
    return f", its own target being {_max_kl(agent):g} (--agent.max-kl)" if _max_kl(agent) else ""


def _outer_step_hint(agent: AgentConfig) -> str:
    names = [name for name in ("outer_lr", "learning_rate") if hasattr(agent, name)]
    options = [f"--agent.{name.replace('_', '-')}, which is {getattr(agent, name)}" for name in names]
    return f"lower {options[0]}" if options else "lower the update's step size"


def _power_hint(agent: AgentConfig) -> str:
    power = getattr(agent, "reward_power", None)
    return f", which is {power:g}" if power is not None else ""


def _inner_lr_hint(agent: AgentConfig) -> str:
    inner_lr = getattr(agent, "inner_lr", None)
    return f", or change --agent.inner-lr, which is {inner_lr}" if inner_lr is not None else ""
