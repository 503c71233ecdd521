"""Every claim about agents can fail: for each there is an agent that breaks it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from metarl.agents.maml_vpg import MAMLVPG, MAMLVPGConfig
from metarl.agents.rl2 import RL2Config
from metarl.cli.main import main
from metarl.config import AgentConfig, SamplingConfig
from metarl.envs.toy.bandits import BanditsConfig
from metarl.envs.toy.point import PointTasks
from metarl.errors import MetarlError, Stopped
from metarl.learning.adapted_policy import AdaptedPolicy
from metarl.meta_learner import Action, Actor, Inputs, MetaLearner, Plan
from metarl.plugins.agent_check import check_agent
from metarl.plugins.agent_claims import CLAIMS
from metarl.plugins.agent_probe import AgentProbe, apart, same
from metarl.tasks import TaskDistribution
from metarl.types import Params, Rollout, State

SUITE = PointTasks(horizon=5, terminate_at_goal=True)
REMEMBERING = RL2Config(memory_size=4, embedding_size=4, trial_episodes=2, epochs=1, minibatches=1)
SENTENCES = {claim.__name__: str(claim.__doc__).partition("\n")[0].rstrip(".") for claim in CLAIMS}
Spoil = Callable[[MetaLearner], None]
Metrics = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class SpoiledConfig(MAMLVPGConfig):
    """MAML, or an agent with a memory, of which something is spoiled once it is built."""

    kind: ClassVar[str] = "spoiled"

    hidden_sizes: tuple[int, ...] = (4,)
    spoil: object = None
    """A function of the agent."""
    remembers: bool = False

    def build(
        self, suite: TaskDistribution, *, seed: int, device: torch.device, sampling: SamplingConfig
    ) -> MetaLearner:
        config: AgentConfig = REMEMBERING if self.remembers else MAMLVPGConfig(hidden_sizes=self.hidden_sizes)
        agent = config.build(suite, seed=seed, device=device, sampling=sampling)
        assert callable(self.spoil)
        self.spoil(agent)
        return agent


@dataclass(frozen=True, kw_only=True)
class TakenConfig(SpoiledConfig):
    """A config that calls itself as another agent does."""

    kind: ClassVar[str] = "rl2"


class Around:
    """An actor around another one, which a function changes."""

    def __init__(self, inner: Actor, act: Callable[..., tuple[Action, Params]]) -> None:
        self.inner, self._act, self.count = inner, act, 0

    @property
    def device(self) -> torch.device:
        return self.inner.device

    def initial_memory(self, episodes: int) -> Params:
        return self.inner.initial_memory(episodes)

    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        self.count += 1
        return self._act(self, inputs, memory, generator)


def acts(act: Callable[..., tuple[Action, Params]]) -> Spoil:
    """Return what makes the actors of an agent act otherwise."""

    def spoil(agent: MetaLearner) -> None:
        start, adapt = agent.initial_actor, agent.adapt

        def initial_actor(num_tasks: int, rng: np.random.Generator | None = None) -> Around:
            return Around(start(num_tasks, rng or np.random.default_rng(0)), act)

        def adapted(actor: Around, rollout: Rollout, rng: np.random.Generator | None = None) -> Around:
            return Around(adapt(actor.inner, rollout, rng or np.random.default_rng(0)), act)

        agent.initial_actor, agent.adapt = initial_actor, adapted  # type: ignore[method-assign, assignment]  # the fault

    return spoil


def replaced(name: str, method: Callable[..., object]) -> Spoil:
    """Return what puts a function of the agent, its own method and the arguments in place of a method."""

    def spoil(agent: MetaLearner) -> None:
        own = getattr(agent, name)
        setattr(agent, name, lambda *args, **more: method(agent, own, *args, **more))

    return spoil


def of(actor: Around, inputs: Inputs, memory: Params, generator: object) -> tuple[Action, Params]:
    assert generator is None or isinstance(generator, torch.Generator)
    return actor.inner.act(inputs, memory, generator)


# Acting.


def flat_actions(actor: Around, *given: object) -> tuple[Action, Params]:
    action, memory = of(actor, *given)  # type: ignore[arg-type]  # as given
    return action._replace(log_probs=action.log_probs.unsqueeze(-1)), memory


def global_noise(actor: Around, *given: object) -> tuple[Action, Params]:
    action, memory = of(actor, *given)  # type: ignore[arg-type]  # as given
    np.random.random()  # noqa: NPY002 - the fault
    return action, memory


def own_noise(actor: Around, inputs: Inputs, memory: Params, generator: object) -> tuple[Action, Params]:
    fresh = torch.Generator()
    fresh.seed()
    return of(actor, inputs, memory, generator and fresh)


def noise_without_generator(
    actor: Around, inputs: Inputs, memory: Params, generator: torch.Generator | None
) -> tuple[Action, Params]:
    return of(actor, inputs, memory, generator or torch.Generator().manual_seed(actor.count))


def learns_while_acting(agent: MetaLearner) -> None:
    """Give the agent a running scale that counts the steps it acts in."""

    def act(actor: Around, *given: object) -> tuple[Action, Params]:
        assert isinstance(agent, MAMLVPG)
        agent.params = {name: value * 1.01 for name, value in agent.params.items()}
        return of(actor, *given)  # type: ignore[arg-type]  # as given

    acts(act)(agent)


def unlikely(actor: Around, *given: object) -> tuple[Action, Params]:
    action, memory = of(actor, *given)  # type: ignore[arg-type]  # as given
    return action._replace(log_probs=action.log_probs + 0.1), memory


def likely_beside(actor: Around, *given: object) -> tuple[Action, Params]:
    action, memory = of(actor, *given)  # type: ignore[arg-type]  # as given
    return action._replace(log_probs=action.log_probs.roll(1, dims=1)), memory


# Memory, of an agent that has one.


def renamed_memory(actor: Around, *given: object) -> tuple[Action, Params]:
    action, memory = of(actor, *given)  # type: ignore[arg-type]  # as given
    return action, {name: value.double() for name, value in memory.items()}


def counts_its_calls(
    actor: Around, inputs: Inputs, memory: Params, generator: object
) -> tuple[Action, Params]:
    action, memory = of(actor, inputs, memory, generator)
    late = actor.count > 3 and generator is not None
    return action._replace(actions=action.actions + late), memory


def looks_at_its_neighbours(
    actor: Around, inputs: Inputs, memory: Params, generator: object
) -> tuple[Action, Params]:
    mean = inputs.observations.mean(dim=(0, 1), keepdim=True).expand_as(inputs.observations)
    return of(actor, inputs._replace(observations=mean), memory, generator)


def writes_into_memory(
    actor: Around, inputs: Inputs, memory: Params, generator: object
) -> tuple[Action, Params]:
    action, after = of(actor, inputs, memory, generator)
    for name, value in memory.items():
        value.copy_(after[name])
    return action, after


def keeps_the_last_memory(agent: MetaLearner) -> None:
    """Give actors a memory that outlives the rollout."""
    kept: Params = {}

    def act(actor: Around, inputs: Inputs, memory: Params, generator: object) -> tuple[Action, Params]:
        shapes = all(kept[name].shape == value.shape for name, value in memory.items()) if kept else False
        action, after = of(actor, inputs, dict(kept) if shapes else memory, generator)
        kept.update(after)
        return action, after

    acts(act)(agent)


# The agent.


def seedless(agent: MetaLearner) -> None:
    assert isinstance(agent, MAMLVPG)
    agent.params = {name: torch.zeros_like(value) for name, value in agent.params.items()}


def nothing_learned_by_adapting(agent: MetaLearner, own: object, actor: Actor, *_: object) -> Actor:
    return actor


def adapts_the_agent(
    agent: MAMLVPG, own: Callable[..., AdaptedPolicy], actor: Actor, *given: object
) -> AdaptedPolicy:
    adapted = own(actor, *given)
    agent.params = {name: value[0].clone() for name, value in adapted.params.items()}
    return adapted


def adapts_the_actor(
    agent: MAMLVPG, own: Callable[..., AdaptedPolicy], actor: AdaptedPolicy, *given: object
) -> AdaptedPolicy:
    adapted = own(actor, *given)
    actor.params.update(adapted.params)
    return actor


def adapts_and_scales_rewards(
    agent: MAMLVPG, own: Callable[..., AdaptedPolicy], actor: Actor, rollout: Rollout, *given: object
) -> AdaptedPolicy:
    adapted = own(actor, rollout, *given)
    rollout.rewards.mul_(0.5)
    return adapted


def adapts_by_chance(
    agent: MAMLVPG, own: Callable[..., AdaptedPolicy], actor: Actor, *given: object
) -> AdaptedPolicy:
    adapted = own(actor, *given)
    return adapted.with_params({name: value + random.random() for name, value in adapted.params.items()})


def adapts_by_place(
    agent: MAMLVPG, own: Callable[..., AdaptedPolicy], actor: Actor, *given: object
) -> AdaptedPolicy:
    adapted = own(actor, *given)
    places = torch.arange(len(adapted.params["log_std"]))
    return adapted.with_params(
        {name: value + places.view(-1, *[1] * (value.ndim - 1)) for name, value in adapted.params.items()}
    )


def adapts_to_all(
    agent: MAMLVPG, own: Callable[..., AdaptedPolicy], actor: Actor, *given: object
) -> AdaptedPolicy:
    adapted = own(actor, *given)
    means = {name: value.mean(dim=0, keepdim=True) for name, value in adapted.params.items()}
    return adapted.with_params({name: value.expand_as(adapted.params[name]) for name, value in means.items()})


def updates_nothing(agent: MAMLVPG, own: Callable[..., Metrics], *given: object) -> Metrics:
    before = agent.state()
    metrics = own(*given)
    agent.load_state(before)
    return metrics


def updates_by_chance(agent: MAMLVPG, own: Callable[..., Metrics], *given: object) -> Metrics:
    metrics = own(*given)
    noise = np.random.default_rng().normal()
    agent.params = {name: value + noise for name, value in agent.params.items()}
    return metrics


def reports_nan(agent: MAMLVPG, own: Callable[..., Metrics], *given: object) -> Metrics:
    return own(*given) | {"loss": float("nan")}


def scales_rewards(
    agent: MAMLVPG, own: Callable[..., Metrics], rollouts: list[Rollout], *given: object
) -> Metrics:
    metrics = own(rollouts, *given)
    rollouts[0].rewards.mul_(0.5)
    return metrics


def stops_halfway(
    agent: MAMLVPG,
    own: Callable[..., Metrics],
    rollouts: object,
    tasks: object,
    rng: object,
    should_stop: Callable[[], bool],
) -> Metrics:
    metrics = own(rollouts, tasks, rng, lambda: False)
    if should_stop():
        raise Stopped
    return metrics


def shared_state(agent: MAMLVPG, own: object) -> State:
    return State({**agent.params, **agent.outer_state}, {})


def shares_what_it_loads(agent: MAMLVPG, own: Callable[[State], None], state: State) -> None:
    own(state)
    agent.params = {name: state.tensors[name] for name in agent.params}


def forgets_adam(agent: MAMLVPG, own: Callable[[State], None], state: State) -> None:
    own(state)
    agent.outer_state = agent.initial_outer_state()


def loads_anything(agent: MAMLVPG, own: Callable[[State], None], state: State) -> None:
    try:
        own(state)
    except MetarlError:
        agent.params = {name: state.tensors.get(name, value) for name, value in agent.params.items()}


def casts(agent: MAMLVPG, own: Callable[[State], None], state: State) -> None:
    own(
        state._replace(tensors={name: value.to(_dtype(agent, name)) for name, value in state.tensors.items()})
    )


def _dtype(agent: MAMLVPG, name: str) -> torch.dtype:
    known = {**agent.params, **agent.outer_state}
    return known[name].dtype if name in known else torch.float32


FAULTS: dict[str, list[tuple[Spoil, bool]]] = {
    "actions_have_the_shapes_of_the_protocol": [(acts(flat_actions), False)],
    "acting_draws_from_the_generator_alone": [(acts(global_noise), False), (acts(own_noise), False)],
    "acting_without_a_generator_has_no_noise": [(acts(noise_without_generator), False)],
    "acting_never_changes_the_agent": [(learns_while_acting, False)],
    "likelihoods_are_those_of_the_actions": [(acts(unlikely), False), (acts(likely_beside), False)],
    "agent_is_a_function_of_its_seed": [(seedless, False)],
    "experience_changes_the_policy": [(replaced("adapt", nothing_learned_by_adapting), False)],
    "adapting_never_changes_the_agent": [(replaced("adapt", adapts_the_agent), False)],
    "adapting_leaves_the_actor_it_started_from": [(replaced("adapt", adapts_the_actor), False)],
    "adapting_leaves_the_rollout_alone": [(replaced("adapt", adapts_and_scales_rewards), False)],
    "adapting_draws_from_the_generator_alone": [(replaced("adapt", adapts_by_chance), False)],
    "permuting_tasks_permutes_adapted_policies": [(replaced("adapt", adapts_by_place), False)],
    "a_task_adapts_alone_as_among_others": [(replaced("adapt", adapts_to_all), False)],
    "memory_keeps_its_names_and_shapes": [(acts(renamed_memory), True)],
    "a_trial_equals_replaying_the_same_steps": [
        (keeps_the_last_memory, True),
        (acts(counts_its_calls), True),
    ],
    "dead_slots_leave_all_others_alone": [(acts(looks_at_its_neighbours), True)],
    "two_rollouts_of_one_actor_are_independent": [
        (acts(counts_its_calls), True),
        (acts(counts_its_calls), False),
    ],
    "acting_leaves_the_memory_that_it_is_given": [(acts(writes_into_memory), True)],
    "updating_changes_the_agent": [(replaced("update", updates_nothing), False)],
    "updating_gives_the_same_numbers_again": [(replaced("update", updates_by_chance), False)],
    "updating_reports_finite_numbers": [(replaced("update", reports_nan), False)],
    "updating_leaves_the_rollouts_alone": [(replaced("update", scales_rewards), False)],
    "a_stopped_update_leaves_the_agent_as_it_was": [(replaced("update", stops_halfway), False)],
    "state_is_a_copy": [(replaced("state", shared_state), False)],
    "loaded_state_is_not_shared": [(replaced("load_state", shares_what_it_loads), False)],
    "loaded_agent_goes_on_like_the_saved_one": [(replaced("load_state", forgets_adam), False)],
    "state_of_another_architecture_is_refused": [(replaced("load_state", loads_anything), False)],
    "state_of_another_precision_is_refused": [(replaced("load_state", casts), False)],
    "settings_are_the_same_when_read_from_json": [(lambda agent: None, False)],
    "kind_is_that_of_no_other_agent": [(lambda agent: None, False)],
}
"""Agents that break each claim: what spoils them, and whether they have a memory."""


def verdicts(config: AgentConfig, suite: TaskDistribution = SUITE, *names: str) -> dict[str, str]:
    """Return the verdict on each claim."""
    chosen = [claim for claim in CLAIMS if not names or claim.__name__ in names]
    results = check_agent(config, suite, claims=chosen)
    return {claim.__name__: result.verdict for claim, result in zip(chosen, results, strict=True)}


def test_there_is_an_agent_that_breaks_each_claim() -> None:
    assert list(FAULTS) == [claim.__name__ for claim in CLAIMS]


@pytest.mark.parametrize(
    ("claim", "number"),
    [(claim, number) for claim, faults in FAULTS.items() for number in range(len(faults))],
)
def test_broken_promise_is_found(claim: str, number: int) -> None:
    spoil, remembers = FAULTS[claim][number]
    made = TakenConfig if claim == "kind_is_that_of_no_other_agent" else SpoiledConfig
    config = made(spoil=spoil, remembers=remembers)
    assert verdicts(config, SUITE, claim) == {claim: "FAIL"}


def test_setting_that_a_run_cannot_write_down_is_named() -> None:
    claims = [claim for claim in CLAIMS if claim.__name__ == "settings_are_the_same_when_read_from_json"]
    (result,) = check_agent(SpoiledConfig(spoil=print), SUITE, claims=claims)
    assert result.seen.startswith("spoil is a builtin_function_or_method; use finite numbers, ")


def test_rollout_that_adapting_changes_spoils_no_other_claim() -> None:
    config = SpoiledConfig(spoil=replaced("adapt", adapts_and_scales_rewards))
    others = ("adapting_draws_from_the_generator_alone", "updating_gives_the_same_numbers_again")
    assert verdicts(config, SUITE, *others) == dict.fromkeys(others, "pass")


@pytest.mark.parametrize("remembers", [False, True])
def test_unspoiled_agents_keep_every_promise(remembers: bool) -> None:
    config = REMEMBERING if remembers else MAMLVPGConfig(hidden_sizes=(4,))
    assert set(verdicts(config).values()) == {"pass"}


@pytest.mark.parametrize("claim", ["likelihoods_are_those_of_the_actions", "experience_changes_the_policy"])
@pytest.mark.parametrize("remembers", [False, True])
def test_choices_are_looked_at_too(claim: str, remembers: bool) -> None:
    suite = BanditsConfig().build()
    config = REMEMBERING if remembers else MAMLVPGConfig(hidden_sizes=(4,))
    assert verdicts(config, suite, claim) == {claim: "pass"}
    if claim.startswith("likelihoods"):
        wrong = SpoiledConfig(spoil=acts(unlikely), remembers=remembers)
        assert verdicts(wrong, suite, claim) == {claim: "FAIL"}


def test_agent_that_adapts_from_its_first_update_on_keeps_its_promise() -> None:
    def adapts_once_learned(
        agent: MAMLVPG,
        own: Callable[..., AdaptedPolicy],
        actor: AdaptedPolicy,
        rollout: Rollout,
        rng: np.random.Generator,
    ) -> AdaptedPolicy:
        learned = any(value.any() for value in agent.outer_state.values())
        return own(actor, rollout, rng) if learned else actor

    config = SpoiledConfig(spoil=replaced("adapt", adapts_once_learned))
    claim = "experience_changes_the_policy"
    assert verdicts(config, SUITE, claim) == {claim: "pass"}


def test_question_that_does_not_apply_is_open() -> None:
    def draws_from_its_generator(
        agent: MAMLVPG,
        own: Callable[..., AdaptedPolicy],
        actor: Actor,
        rollout: Rollout,
        rng: np.random.Generator,
    ) -> AdaptedPolicy:
        adapted = own(actor, rollout, rng)
        return adapted.with_params({name: value + rng.random() for name, value in adapted.params.items()})

    config = SpoiledConfig(spoil=replaced("adapt", draws_from_its_generator))
    names = ("adapting_draws_from_the_generator_alone", "permuting_tasks_permutes_adapted_policies")
    assert list(verdicts(config, SUITE, *names).values()) == ["pass", "open"]


def test_one_cause_fails_the_first_claim_and_leaves_the_others_open() -> None:
    def forgets(actor: Around, *given: object) -> tuple[Action, Params]:
        return of(actor, *given)[0]  # type: ignore[arg-type, return-value]  # the fault

    names = ("acting_never_changes_the_agent", "a_trial_equals_replaying_the_same_steps")
    claims = [claim for claim in CLAIMS if claim.__name__ in names]
    results = check_agent(SpoiledConfig(spoil=acts(forgets)), SUITE, claims=claims)
    assert [result.verdict for result in results] == ["FAIL", "open"]
    said = "Expected act of Around to return an Action and the new memory, got an Action alone"
    assert {result.seen for result in results} == {said}


def test_nan_is_one_cause_whatever_meets_it_first() -> None:
    def acts_nan(actor: Around, *given: object) -> tuple[Action, Params]:
        action, memory = of(actor, *given)  # type: ignore[arg-type]  # its arguments
        return action._replace(actions=action.actions * math.nan), memory

    results = check_agent(SpoiledConfig(spoil=acts(acts_nan)), SUITE, claims=CLAIMS[:9])
    said = "Expected act of Around to return finite actions, got NaN or infinity"
    assert [result.seen for result in results if result.verdict == "FAIL"] == [said]
    assert {result.seen for result in results if result.verdict == "open"} == {said}


def test_state_with_nan_is_the_same_as_itself() -> None:
    values = {"a": torch.tensor([1.0, math.nan]), "b": torch.tensor([True])}
    assert same(values, {name: value.clone() for name, value in values.items()})
    assert not same(values, {**values, "a": torch.tensor([2.0, math.nan])})
    assert not same(values, {**values, "a": torch.tensor([math.nan, 1.0])})


def test_state_without_tensors_leaves_open_what_their_loading_would_show() -> None:
    def bare(agent: MetaLearner, own: object) -> State:
        return State({}, {})

    names = ("state_of_another_architecture_is_refused", "state_of_another_precision_is_refused")
    config = SpoiledConfig(spoil=replaced("state", bare))
    assert verdicts(config, SUITE, *names) == dict.fromkeys(names, "open")


def test_plan_that_does_nothing_is_refused() -> None:
    def idle(agent: MetaLearner) -> None:
        agent.plan = lambda iteration: Plan("nothing")  # type: ignore[attr-defined]  # makes it a scheduled one
        agent.remember = lambda rollouts, tasks: None  # type: ignore[attr-defined]

    with pytest.raises(MetarlError, match=r"plan of MAMLVPG to collect episodes or to update .* got neither"):
        AgentProbe(SpoiledConfig(spoil=idle), SUITE).build()


def test_first_memory_of_another_form_is_named_by_every_claim_that_acts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Around, "initial_memory", lambda *_: None)
    claims = [claim for claim in CLAIMS if claim.__name__ == "acting_never_changes_the_agent"]
    (result,) = check_agent(SpoiledConfig(spoil=acts(of)), SUITE, claims=claims)
    assert result.seen == "Expected initial_memory of Around to return a dict, which may be empty, got None"


def test_distance_is_told_of_empty_and_of_complex_tensors() -> None:
    assert apart(torch.zeros(2, 0), torch.zeros(2, 0)) == "by nothing"
    assert apart(torch.tensor([3 + 4j]), torch.tensor([0j])) == "by up to 5"


def test_action_of_another_form_fails_at_once_in_every_claim_that_acts() -> None:
    names = ("actions_have_the_shapes_of_the_protocol", "likelihoods_are_those_of_the_actions")
    claims = [claim for claim in CLAIMS if claim.__name__ in names]
    # densities [M, K, 1] beside draws [M, K] would broadcast to gigabytes
    for result in check_agent(SpoiledConfig(spoil=acts(flat_actions)), SUITE, claims=claims):
        assert "Expected act of Around to return log_probs as a float32 tensor" in result.seen


@pytest.mark.parametrize("error", [KeyError("nothing there"), SystemExit("nothing there")])
def test_exception_is_a_fault_that_names_its_line(error: BaseException) -> None:
    def falls(agent: MetaLearner, own: object, *_: object) -> None:
        raise error

    config = SpoiledConfig(spoil=replaced("update", falls))
    (result,) = check_agent(
        config, SUITE, claims=[claim for claim in CLAIMS if claim.__name__ == "state_is_a_copy"]
    )
    line = falls.__code__.co_firstlineno + 1
    assert str(result) == (
        f"FAIL  {SENTENCES['state_is_a_copy']}: {type(error).__name__}: {error} "
        f"(test_agent_check.py, line {line})."
    )


FILE = """
from __future__ import annotations

from dataclasses import dataclass

import torch

from metarl.agents.maml_vpg import MAMLVPG, MAMLVPGConfig

@dataclass(frozen=True, kw_only=True)
class GoodConfig(MAMLVPGConfig):
    kind = "good"
    hidden_sizes: tuple[int, ...] = (4,)

class Good(MAMLVPG, built_from=GoodConfig):
    pass

@dataclass(frozen=True, kw_only=True)
class BadConfig(GoodConfig):
    kind = "bad"

class Bad(MAMLVPG, built_from=BadConfig):
    def outer_step(self, rollouts, should_stop):
        torch.rand(1)
        return super().outer_step(rollouts, should_stop) | {"loss": {}["none"]}
"""


def test_command_prints_each_claim_and_ends_with_1_if_one_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "mine.py").write_text(FILE)
    assert main(["check", "--agent", "mine.py:GoodConfig"]) == 0
    first, *lines, last = capsys.readouterr().out.splitlines()
    assert first == "Checking good on point, episodes of 8 steps."
    assert lines == [f"pass  {sentence}." for sentence in SENTENCES.values()]
    assert last == "good keeps every promise that was tried."
    with pytest.raises(SystemExit) as ended:
        main(["check", "--agent", "mine.py:BadConfig"])
    assert ended.value.code == 1
    printed = capsys.readouterr().out
    assert (
        f"FAIL  {SENTENCES['updating_changes_the_agent']}: KeyError: 'none' (mine.py, line 25).\n" in printed
    )
    assert printed.count("KeyError") == 1
    assert "open  6 more promises, for the same reason:\n      The same state, rollouts and gen" in printed
    assert printed.splitlines()[-1] == "bad breaks 1 of 30 promises, 6 promises could not be judged."


def test_command_takes_a_suite_and_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--agent", "maml-vpg", "--suite", "pont"]) == 2
    assert "There is no suite called 'pont'; did you mean 'point'" in capsys.readouterr().err
    assert main(["check", "--agent", "no-such"]) == 2
    assert "There is no agent called 'no-such'" in capsys.readouterr().err
    assert main(["check", "--agent"]) == 2
    assert "--agent needs the name of an agent" in capsys.readouterr().err


def test_command_says_once_that_an_agent_refuses_the_suite(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--agent", "pearl", "--suite", "bandits"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Expected actions that are vectors of real numbers" in printed.err
    assert printed.err.count("\n") == 1
