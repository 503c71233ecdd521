"""Changes of layers, similarities, the map of tasks, and gains of layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr

from metarl.agents.maml_trpo import MAMLTRPOConfig
from metarl.analysis.layers import changes, explainable, layers_of, mixture, vectors
from metarl.analysis.measure import AdaptationTrace, compare, trace_adaptation, trace_steps, variants_of
from metarl.analysis.similarity import linear_cka, shift
from metarl.analysis.summary import Explanation, explain, to_json
from metarl.analysis.task_map import likeness, task_map
from metarl.config import MeasurementConfig
from metarl.errors import MetarlError
from metarl.evaluation.statistics import Values
from metarl.meta_learner import Action, Inputs
from metarl.reporting.explanation_tables import explanation_tables
from metarl.reporting.figures.explanation import draw, draw_map
from metarl.types import Params, Rollout, Task
from support import agent_contract, tiny

BEFORE = {
    "body.weight": torch.tensor([[3.0, 4.0], [3.0, 4.0]]),
    "body.bias": torch.zeros(2, 1),
    "gain": torch.ones(2, 1),
}
AFTER = {
    "body.weight": torch.tensor([[3.0, 7.0], [3.0, 4.0]]),
    "body.bias": torch.tensor([[4.0], [0.0]]),
    "gain": torch.tensor([[1.0], [3.0]]),
}
"""Task 0 moves ``body`` by 3 and 4, task 1 moves ``gain`` by 2."""


def features(seed: int, rows: int = 40, units: int = 5) -> torch.Tensor:
    return torch.randn(rows, units, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_cka_of_single_units_is_their_squared_correlation() -> None:
    one, other = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[1.0], [3.0], [2.0]])  # r = 1/2
    assert linear_cka(one, other) == pytest.approx(1 / 4)


def test_cka_of_two_uncorrelated_units_with_one_of_them_by_hand() -> None:
    both = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    # |Y'X|^2 = 4^2, |X'X| = |diag(4, 4)| = 4 sqrt(2), |Y'Y| = 4
    assert linear_cka(both, both[:, :1]) == pytest.approx(1 / math.sqrt(2))


def test_cka_is_that_of_the_gram_matrices() -> None:
    one, other = features(0), features(1, units=3) + features(0)[:, :3]
    center = torch.eye(40, dtype=torch.float64) - 1 / 40
    k, q = (center @ each @ each.T @ center for each in (one, other))
    expected = float((k * q).sum() / ((k * k).sum() * (q * q).sum()).sqrt())  # HSIC, equation 3
    assert linear_cka(one, other) == pytest.approx(expected)
    assert 0.05 < expected < 0.95


def test_cka_sees_no_rotation_scaling_or_shift() -> None:
    one, other = features(0), features(1) + features(0)
    rotation, _ = torch.linalg.qr(features(2, 5, 5))
    assert linear_cka(one, 3 * one @ rotation - 7) == pytest.approx(1)
    assert linear_cka(one, 3 * other @ rotation - 7) == pytest.approx(linear_cka(one, other))


def test_cka_sees_a_stretch_of_one_unit() -> None:
    one = features(0)
    assert linear_cka(one, one * torch.tensor([1.0, 1.0, 1.0, 1.0, 10.0])) < 0.8


def test_cka_of_constant_representations_says_whether_both_are() -> None:
    constant = torch.full((40, 2), 0.1)
    assert linear_cka(constant, 2 * constant) == 1
    assert linear_cka(constant, features(0)) == 0


def test_shift_is_in_units_of_the_spread() -> None:
    square = torch.tensor(
        [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]
    )  # each sqrt(2) from the middle
    assert shift(square, 5 * square + torch.tensor([3.0, 4.0])) == pytest.approx(5 / math.sqrt(2))
    assert shift(square, -2 * square) == 0


def test_shift_of_a_constant_representation_says_whether_it_moved() -> None:
    constant = torch.full((4, 2), 0.5)
    assert shift(constant, constant) == 0
    assert shift(constant, constant + 3) == 1


def test_changes_by_hand() -> None:
    weight, bias, gain = changes(BEFORE, AFTER)
    assert weight.name == "body.weight"
    assert weight.norm.tolist() == [3, 0]
    assert weight.relative is not None
    assert weight.relative.tolist() == pytest.approx([3 / 5, 0])
    assert weight.share.tolist() == pytest.approx([9 / 25, 0])
    assert bias.relative is None  # it was zero before
    assert bias.share.tolist() == pytest.approx([16 / 25, 0])
    assert gain.share.tolist() == [0, 1]
    assert vectors(BEFORE, AFTER).tolist() == [[0, 3, 4, 0], [0, 0, 0, 2]]


def test_task_that_does_not_move_has_no_shares() -> None:
    assert all(change.share.tolist() == [0, 0] for change in changes(BEFORE, BEFORE))


def test_layers_are_what_stands_before_the_last_dot() -> None:
    assert layers_of(BEFORE) == ["body", "gain"]


def test_mixture_takes_whole_layers() -> None:
    mixed = mixture(BEFORE, AFTER, {"body"})
    assert list(mixed) == list(BEFORE)
    assert mixed["body.weight"] is AFTER["body.weight"]
    assert mixed["body.bias"] is AFTER["body.bias"]
    assert mixed["gain"] is BEFORE["gain"]


def on_a_circle(angles: Sequence[float], family: str = "circle") -> list[Task]:
    return [Task(family, (math.cos(angle), math.sin(angle)), f"{family}-{angle}") for angle in angles]


def pointing(tasks: Sequence[Task], lengths: Sequence[float] = (1.0,)) -> Values:
    """Return vectors in five dimensions that point where the tasks lie."""
    plane = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 2)))[0]
    scale = np.resize(np.array(lengths), len(tasks))
    return scale[:, None] * (np.array([task.parameters for task in tasks]) @ plane.T)


ANGLES = [0.0, 0.41, 1.03, 1.79, 2.21, 3.07, 4.33, 5.52]


def test_map_keeps_the_distances_of_directions_that_lie_in_a_plane() -> None:
    tasks = on_a_circle(ANGLES)
    found = task_map(pointing(tasks, lengths=(1.0, 20.0, 0.3)))
    distances = np.sqrt(np.maximum(0, 2 - 2 * found.cosines))
    np.testing.assert_allclose(squareform(pdist(found.points)), distances, atol=1e-7)
    np.testing.assert_allclose(pdist(found.points), pdist([task.parameters for task in tasks]), atol=1e-7)
    assert found.shown == pytest.approx(1)


def test_map_shows_the_share_of_the_two_largest_components() -> None:
    axes = np.vstack([np.eye(4), -np.eye(4)])  # four components of equal variance
    assert task_map(axes).shown == pytest.approx(1 / 2)


def test_task_that_moves_nothing_is_not_on_the_map() -> None:
    vectors = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]])
    found = task_map(vectors)
    assert found.places == (0, 2)
    assert found.points.shape == (2, 2)


def test_similar_tasks_that_move_the_policy_alike_correlate_fully() -> None:
    tasks = on_a_circle(ANGLES)
    found = likeness(tasks, task_map(pointing(tasks, (1.0, 5.0))).cosines, np.random.default_rng(0))
    assert found is not None
    assert found.correlation == pytest.approx(1)
    assert found.p_value < 0.001
    assert (found.pairs, found.families) == (28, 1)


def test_correlation_is_spearmans_and_its_p_value_that_of_all_permutations() -> None:
    tasks = on_a_circle(ANGLES[:5])
    cosines = task_map(np.random.default_rng(3).normal(size=(5, 4)) + pointing(tasks)[:, :4]).cosines
    apart = pdist([task.parameters for task in tasks])
    upper = np.triu_indices(5, 1)

    def correlation(order: Sequence[int]) -> float:
        return float(spearmanr(1 - cosines[np.ix_(order, order)][upper], apart).statistic)

    ours = correlation(range(5))
    exact = np.mean([correlation(order) >= ours - 1e-12 for order in itertools.permutations(range(5))])
    found = likeness(tasks, cosines, np.random.default_rng(0))
    assert found is not None
    assert found.correlation == pytest.approx(ours)
    assert found.p_value == pytest.approx(exact, abs=0.02)
    assert 0.02 < exact < 0.98


def test_families_are_not_compared_with_each_other() -> None:
    one, other = on_a_circle(ANGLES, "one"), on_a_circle(ANGLES, "other")
    own = pointing(one)
    cosines = task_map(np.vstack([np.hstack([own, 0 * own]), np.hstack([0 * own, -own])])).cosines
    found = likeness([*one, *other], cosines, np.random.default_rng(0))
    assert found is not None
    assert found.correlation == pytest.approx(1)
    assert (found.pairs, found.families) == (56, 2)


@pytest.mark.parametrize("tasks", [on_a_circle([0.0, 1.0]), on_a_circle([0.0] * 4)])
def test_families_that_say_nothing_are_left_out(tasks: list[Task]) -> None:
    cosines = task_map(np.random.default_rng(0).normal(size=(len(tasks), 3))).cosines
    assert likeness(tasks, cosines, np.random.default_rng(0)) is None


@dataclass(frozen=True)
class LeverActor:
    """Climbs by the product of three parameters, its levers, each of which is a layer."""

    params: Params

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def initial_memory(self, episodes: int) -> Params:
        return {}

    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        observations = inputs.observations
        stride = torch.stack(list(self.params.values())).prod(dim=0)
        return Action(
            stride.unsqueeze(1).expand(*observations.shape[:2], 1), torch.zeros(observations.shape[:2])
        ), memory

    def with_params(self, params: Params) -> LeverActor:
        return LeverActor(params)

    def activations(self, observations: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: observations * value.unsqueeze(1) for name, value in self.params.items()}


class LeverAgent(tiny.StrideAgent):
    """Sets the levers from 1 to 2, 3 and 5, whatever it sees."""

    goals = (2.0, 3.0, 5.0)

    def initial_actor(self, num_tasks: int, rng: object = None) -> LeverActor:  # type: ignore[override]  # another actor
        return LeverActor({f"lever_{i}": torch.ones(num_tasks, 1) for i in range(3)})

    def adapt(self, actor: LeverActor, rollout: Rollout, rng: object = None) -> LeverActor:  # type: ignore[override]  # likewise
        pairs = zip(actor.params, self.goals, strict=True)
        return LeverActor({name: torch.full_like(actor.params[name], goal) for name, goal in pairs})


TASKS = [tiny.climb(start) for start in (0.0, 1.0, 5.0)]
MEASUREMENT = MeasurementConfig(adaptation_steps=1, episodes=2, adaptation_episodes=1)


def pulled(agent: tiny.StrideAgent, env: tiny.ClimbEnv) -> AdaptationTrace:
    return trace_adaptation(agent, env, TASKS, MEASUREMENT, horizon=2, rng=np.random.default_rng(0))


def explained(trace: AdaptationTrace) -> Explanation:
    return explain(trace, 1, np.random.default_rng(0))


@pytest.mark.parametrize("slots", [2, 5, 6])
def test_worth_of_each_layer_is_known_where_the_policy_is_a_product(slots: int) -> None:
    # Two steps of stride s from h give (h + s) + (h + 2 s): a gain of 3 (s - 1) over a stride of 1, whatever
    # h is. It is drawn from the seeds, so that the gains are exact only if all variants meet the same ones.
    trace = pulled(LeverAgent(), tiny.ClimbEnv(slots, 2, noise=1.0))
    strides = {"all": 30, "only lever_0": 2, "only lever_1": 3, "only lever_2": 5}
    strides |= {"all but lever_0": 15, "all but lever_1": 10, "all but lever_2": 6}
    found = {gain.variant: gain.of_return for gain in explained(trace).gains}
    assert found.keys() == strides.keys()
    for variant, stride in strides.items():
        assert found[variant] == pytest.approx([3 * (stride - 1)] * 3, abs=1e-5)
    assert trace.tasks == tuple(TASKS)


@pytest.mark.parametrize("slots", [2, 5])
def test_steps_are_the_true_number(slots: int) -> None:
    env = tiny.ClimbEnv(slots, 2)
    pulled(LeverAgent(), env)
    assert env.steps_taken == trace_steps(MEASUREMENT, ["a", "b", "c"], len(TASKS), slots, 2)


def test_tasks_in_parts_are_as_tasks_at_once() -> None:
    one, other = (pulled(LeverAgent(), tiny.ClimbEnv(slots, 2)) for slots in (2, 6))
    assert np.array_equal(one.vectors, other.vectors)
    assert np.array_equal(one.effects.returns, other.effects.returns)
    assert [change.norm.tolist() for change in one.changes] == [
        change.norm.tolist() for change in other.changes
    ]
    assert {name: len(values) for name, values in one.similarities.items()} == {
        f"lever_{i}": 3 for i in range(3)
    }


def test_variants_are_nothing_everything_each_alone_and_all_but_each() -> None:
    sets = [sorted(variant.adapted) for variant in variants_of(["a", "b", "c"])]
    assert sets == [[], ["a", "b", "c"], ["a"], ["b"], ["c"], ["b", "c"], ["a", "c"], ["a", "b"]]


def test_agent_that_does_not_move_has_nothing_to_explain() -> None:
    agent = LeverAgent()
    agent.goals = (1.0, 1.0, 1.0)
    with pytest.raises(MetarlError, match="moved no parameter of the policy"):
        pulled(agent, tiny.ClimbEnv(2, 2))


def test_agent_that_does_not_show_what_adapts_is_refused() -> None:
    with pytest.raises(
        MetarlError, match=r"and shows them, got one, which adapts without changing them or hides them\.$"
    ):
        pulled(tiny.StrideAgent(), tiny.ClimbEnv(2, 2))


def test_similarity_is_over_the_steps_that_were_taken() -> None:
    rollout = tiny.random_rollout(0)
    assert not rollout.mask.all()
    before, after = (
        explainable(
            AdaptedTiny(
                {name: value.expand(3, *value.shape) for name, value in tiny.tiny_params(seed=s).items()}
            )
        )
        for s in (0, 1)
    )
    found = compare(linear_cka, before, after, rollout)
    assert list(found) == ["layer_0", "layer_1", "layer_2"]
    for task in range(3):
        seen = rollout.observations[task][rollout.mask[task]].expand(3, -1, -1)
        pair = (actor.activations(seen)["layer_1"][task] for actor in (before, after))
        assert found["layer_1"][task] == pytest.approx(linear_cka(*pair))


@dataclass(frozen=True)
class AdaptedTiny(LeverActor):
    """The tiny perceptron."""

    def activations(self, observations: torch.Tensor) -> dict[str, torch.Tensor]:
        return tiny.POLICY.activations(self.params, observations)


def test_gradient_based_actor_can_be_taken_apart_and_put_together() -> None:
    agent = agent_contract.build(MAMLTRPOConfig(hidden_sizes=(8, 6)))
    actor = agent.initial_actor(3)
    before = explainable(actor)
    after = explainable(agent.adapt(actor, agent_contract.meta_batch(agent)[0]))
    everything = before.with_params(mixture(before.params, after.params, layers_of(before.params)))
    nothing = before.with_params(mixture(before.params, after.params, ()))
    assert torch.equal(agent_contract.likeliest(everything), agent_contract.likeliest(after))
    assert torch.equal(agent_contract.likeliest(nothing), agent_contract.likeliest(before))
    states = torch.linspace(-0.5, 0.5, 10).reshape(1, 5, 2).expand(3, 5, 2)
    found = after.activations(states)
    assert {name: value.shape for name, value in found.items()} == {
        "layer_0": (3, 5, 8),
        "layer_1": (3, 5, 6),
        "layer_2": (3, 5, 2),
    }
    assert torch.equal(found["layer_2"], agent_contract.likeliest(after))


@dataclass(frozen=True)
class ClosedActor(LeverActor):
    """Does not show its layers."""

    def with_params(self, params: Params) -> ClosedActor:
        return ClosedActor(params)

    def activations(self, observations: torch.Tensor) -> dict[str, torch.Tensor]:
        return {}


class ClosedAgent(LeverAgent):
    def initial_actor(self, num_tasks: int, rng: object = None) -> ClosedActor:
        return ClosedActor(super().initial_actor(num_tasks).params)

    def adapt(self, actor: LeverActor, rollout: Rollout, rng: object = None) -> ClosedActor:
        return ClosedActor(super().adapt(actor, rollout).params)


def test_policy_that_does_not_show_its_layers_is_explained_without_representations() -> None:
    found = explained(pulled(ClosedAgent(), tiny.ClimbEnv(6, 2)))
    assert set(draw(found, "title")) == {"layers", "map", "effects"}
    layers = explanation_tables(to_json(found))[0]
    assert [row.values[1:] for row in layers.rows] == [(None, None)] * 3
    assert [gain.of_return.mean for gain in found.gains][:2] == pytest.approx([87, 3])


@pytest.fixture(scope="module")
def explanation() -> Explanation:
    return explained(pulled(LeverAgent(), tiny.ClimbEnv(6, 2)))


def test_tables_have_the_numbers_of_the_explanation(explanation: Explanation) -> None:
    layers, parameters, gains, *_, placed = explanation_tables(to_json(explanation))
    # Changes of 1, 2 and 4: squares of 1, 4 and 16.
    assert [row.values[0] for row in layers.rows] == pytest.approx([1 / 21, 4 / 21, 16 / 21])
    assert parameters.rows[2].values[0] == pytest.approx((4, 4, 4))
    assert gains.rows[2].values == (
        explanation.gain("only lever_2").of_return,
        explanation.gain("all but lever_2").of_return,
    )
    assert gains.rows[-1].values == (explanation.gain("all").of_return, None)
    assert [row.values[0] for row in placed.rows] == ["3 of 3", "100"]
    assert placed.caption == "no correlation: it needs three different tasks of a family"


def test_table_of_the_map_has_correlation_and_p_value(explanation: Explanation) -> None:
    tasks = on_a_circle(ANGLES)
    alike = likeness(tasks, task_map(pointing(tasks)).cosines, np.random.default_rng(0))
    assert alike is not None
    found = replace(explanation, likeness=replace(alike, correlation=0.1, p_value=0.2))
    values = {row.name: row.values[0] for row in explanation_tables(to_json(found))[-1].rows}
    assert values["rank correlation of the distances"] == "0.10"
    assert values["p-value, one-sided"] == "0.2"
    assert values["pairs of tasks"] == "28"


def test_figure_of_the_map_says_how_tasks_and_directions_correlate(explanation: Explanation) -> None:
    tasks = on_a_circle(ANGLES)
    alike = likeness(tasks, task_map(pointing(tasks)).cosines, np.random.default_rng(0))
    texts = [text.get_text() for text in draw_map(replace(explanation, likeness=alike), "title").texts]
    assert any("Rank correlation of the distances" in text for text in texts)
