"""Dicts of tensors: stacking per task, flattening, and gradients."""

from __future__ import annotations

import pytest
import torch

from metarl.errors import MetarlError
from metarl.functional import params
from metarl.types import Params


def example() -> Params:
    return {"w": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([10.0, 11.0])}


def test_stacking_gives_every_task_the_same_without_a_copy() -> None:
    stacked = params.stack(example(), 4)
    assert stacked["w"].shape == (4, 2, 3)
    assert torch.equal(params.select(stacked, 3)["w"], example()["w"])
    assert stacked["w"].untyped_storage().nbytes() == example()["w"].untyped_storage().nbytes()


def test_flatten_follows_the_dicts_order() -> None:
    assert params.flatten(example()).tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 11.0]


def test_unflatten_undoes_flatten() -> None:
    back = params.unflatten(params.flatten(example()), example())
    assert list(back) == ["w", "b"]
    assert all(torch.equal(back[name], value) for name, value in example().items())


def test_gradient_by_hand() -> None:
    leaves = params.requires_grad(example())
    slope = params.gradient(leaves["w"].square().sum(), leaves)
    assert torch.equal(slope["w"], 2 * example()["w"])


def test_parameter_that_the_loss_does_not_read_gets_zeros() -> None:
    leaves = params.requires_grad(example())
    assert params.gradient(leaves["w"].sum(), leaves)["b"].tolist() == [0.0, 0.0]


def test_gradient_can_be_differentiated_again_when_asked() -> None:
    leaves = params.requires_grad(example())
    loss = leaves["w"].pow(3).sum()
    twice = params.gradient(loss, leaves, create_graph=True)
    assert torch.equal(params.gradient(twice["w"].sum(), leaves)["w"], 6 * example()["w"])
    assert not params.gradient(leaves["w"].pow(3).sum(), leaves)["w"].requires_grad


def test_stacked_gradient_is_a_gradient_for_each_task() -> None:
    leaves = params.requires_grad(params.stack(example(), 2))
    scales = torch.tensor([1.0, 5.0])
    slope = params.gradient((scales * leaves["b"].square().sum(dim=1)).sum(), leaves)
    assert slope["b"].tolist() == [[20.0, 22.0], [100.0, 110.0]]


def test_detached_parameters_have_no_graph() -> None:
    leaves = params.requires_grad(example())
    assert not any(value.requires_grad for value in params.detach(leaves).values())


def test_leaves_are_new_tensors() -> None:
    given = example()
    params.requires_grad(given)
    assert not given["w"].requires_grad


def test_map_values_reaches_every_tensor() -> None:
    doubled = params.map_values(lambda value: 2 * value, example())
    assert torch.equal(params.flatten(doubled), 2 * params.flatten(example()))


def test_tasks_are_flattened_apart_and_back() -> None:
    stacked = {name: torch.stack([value, -value]) for name, value in example().items()}
    vectors = params.flatten_tasks(stacked)
    assert vectors.tolist() == [[0, 1, 2, 3, 4, 5, 10, 11], [0, -1, -2, -3, -4, -5, -10, -11]]
    back = params.unflatten_tasks(vectors, stacked)
    assert list(back) == ["w", "b"]
    assert all(torch.equal(back[name], value) for name, value in stacked.items())


def test_joining_refuses_a_name_that_both_have() -> None:
    one, other = torch.zeros(1), torch.ones(1)
    assert params.join({"a": one}, {"b": other}) == {"a": one, "b": other}
    with pytest.raises(MetarlError, match="Expected tensors of different names, got b, c twice"):
        params.join({"a": one, "b": one, "c": one}, {"c": other, "b": other})


def test_saved_parameters_of_other_settings_are_named_by_what_differs() -> None:
    saved = {"w": torch.zeros(2, 5), "b": torch.zeros(2), "c": torch.zeros(())}
    with pytest.raises(MetarlError) as caught:
        params.take_saved(example(), saved)
    expected = "other settings: w, (2, 3) here and (2, 5) there; c, absent here and () there."
    assert str(caught.value).endswith(expected)


def test_few_differing_parameters_are_named_and_the_others_counted() -> None:
    own = {f"layer_{number}": torch.zeros(number) for number in range(8)}
    with pytest.raises(MetarlError, match=r"layer_2, \(2,\) here and absent there; and 5 more"):
        params.take_saved(own, {})
