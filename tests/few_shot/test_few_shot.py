"""MAML of any module: its gradient by a hand-written loop and central differences, and what it refuses."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn
from torch.nn import functional

from metarl.errors import MetarlError
from metarl.few_shot import adapt, adaptation_losses, maml
from metarl.few_shot.meta_training import meta_loss
from metarl.few_shot.modules import TaskLosses, default_loss, trainable
from metarl.few_shot.sinusoids import sinusoids
from metarl.few_shot.tasks import Task
from metarl.types import Params

INNER_LR = 0.1


@pytest.fixture(autouse=True)
def generators_kept() -> Iterator[None]:
    """Let modules draw their weights from the global generator, and put it back."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def regression() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1)).double()


def classification() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.Softplus(), nn.LayerNorm(4), nn.Linear(4, 3)).double()


class Tied(nn.Module):
    """Two layers that share a weight, a frozen one, and a buffer that is read."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = nn.Linear(2, 2)
        self.second.weight = self.first.weight
        self.head = nn.Linear(2, 1)
        self.head.weight.requires_grad_(False)
        self.register_buffer("scale", torch.tensor(1.5))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.second(torch.tanh(self.first(inputs))))
        return self.get_buffer("scale") * self.head(hidden)


def real_tasks(count: int = 3, shots: int = 4, seed: int = 1) -> list[Task]:
    generator = torch.Generator().manual_seed(seed)

    def examples(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        return (
            torch.randn(n, 2, generator=generator, dtype=torch.float64),
            torch.randn(n, 1, generator=generator, dtype=torch.float64),
        )

    return [Task(examples(shots), examples(shots + 2)) for _ in range(count)]


def class_tasks() -> list[Task]:
    generator = torch.Generator().manual_seed(2)
    labels = [torch.randint(3, (n,), generator=generator) for n in (4, 6) * 3]
    pairs = [(task[0][0], task[1][0]) for task in real_tasks()]
    return [
        Task((support, labels[2 * index]), (query, labels[2 * index + 1]))
        for index, (support, query) in enumerate(pairs)
    ]


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], list[Task]]]] = {
    "squared error": (regression, real_tasks),
    "cross-entropy": (classification, class_tasks),
    "shared and frozen": (lambda: Tied().double(), real_tasks),
    "unequal shapes": (regression, lambda: real_tasks(2) + real_tasks(2, shots=7, seed=5)),
}
every_case = pytest.mark.parametrize("case", CASES)


def hand_loss(model: nn.Module, tasks: list[Task], steps: int, *, first_order: bool) -> torch.Tensor:
    """Return the meta-loss by a loop over tasks that knows nothing of stacked parameters."""
    total = torch.zeros((), dtype=torch.float64)
    for (inputs, targets), (query, wanted) in tasks:
        params = trainable(model)
        error = functional.cross_entropy if targets.dtype == torch.int64 else functional.mse_loss
        for _ in range(steps):
            loss = error(torch.func.functional_call(model, params, inputs), targets)
            slopes = torch.autograd.grad(loss, list(params.values()), create_graph=not first_order)
            params = {
                name: value - INNER_LR * slope
                for (name, value), slope in zip(params.items(), slopes, strict=True)
            }
        total = total + error(torch.func.functional_call(model, params, query), wanted)
    return total / len(tasks)


def slopes_of(loss: torch.Tensor, model: nn.Module) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(trainable(model).values())))


def loss_of(model: nn.Module, tasks: list[Task], steps: int, **how: bool) -> torch.Tensor:
    losses = TaskLosses(model, default_loss, how.pop("batched", True))
    return meta_loss(losses, trainable(model), tasks, INNER_LR, steps, **how)


@every_case
@pytest.mark.parametrize("first_order", [False, True], ids=["second order", "first order"])
@pytest.mark.parametrize("batched", [True, False], ids=["batched", "looped"])
def test_meta_gradient_is_that_of_a_loop_by_hand(case: str, first_order: bool, batched: bool) -> None:
    model, tasks = CASES[case][0](), CASES[case][1]()
    ours = slopes_of(loss_of(model, tasks, 2, first_order=first_order, batched=batched), model)
    expected = slopes_of(hand_loss(model, tasks, 2, first_order=first_order), model)
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@every_case
def test_meta_gradient_is_the_central_difference(case: str) -> None:
    model, tasks = CASES[case][0](), CASES[case][1]()
    slopes = slopes_of(loss_of(model, tasks, 2), model)
    step = 1e-5
    for parameter, slope in zip(trainable(model).values(), slopes, strict=True):
        for index in itertools.product(*map(range, parameter.shape)):
            sides = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter[index] += sign * step
                sides.append(float(loss_of(model, tasks, 2).detach()))
                with torch.no_grad():
                    parameter[index] -= sign * step
            assert abs((sides[0] - sides[1]) / (2 * step) - float(slope[index])) < 1e-6


def test_first_order_is_another_gradient() -> None:
    model = regression()
    whole = slopes_of(loss_of(model, real_tasks(), 2), model)
    first = slopes_of(loss_of(model, real_tasks(), 2, first_order=True), model)
    assert max(float((a - b).abs().max()) for a, b in zip(whole, first, strict=True)) > 1e-3


def test_outer_step_is_adams_on_the_meta_gradient() -> None:
    model = regression()
    trained = maml(model, real_tasks(), INNER_LR, 0.01, 2)
    expected = copy.deepcopy(model)
    optimizer = torch.optim.Adam(expected.parameters(), lr=0.01)
    hand_loss(expected, real_tasks(), 2, first_order=False).backward()
    optimizer.step()
    for one, other in zip(trained.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_model_stays_as_it_was() -> None:
    model = regression()
    before = copy.deepcopy(model.state_dict())
    trained = maml(model, real_tasks(), INNER_LR, 0.01, 1)
    adapt(trained, real_tasks()[0].support, INNER_LR, 3)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in [*model.parameters(), *trained.parameters()])


def test_only_what_requires_gradients_is_trained_and_sharing_is_kept() -> None:
    model = Tied().double()
    trained = maml(model, real_tasks(), INNER_LR, 0.01, 1)
    assert isinstance(trained, Tied)
    assert torch.equal(trained.head.weight, model.head.weight)
    assert trained.second.weight is trained.first.weight
    assert not torch.equal(trained.first.weight, model.first.weight)


def test_adapting_is_gradient_descent_on_the_support() -> None:
    model, (support, query) = regression(), real_tasks()[0]
    expected = copy.deepcopy(model)
    descent = torch.optim.SGD(expected.parameters(), lr=INNER_LR)
    errors = [functional.mse_loss(expected(query[0]), query[1])]
    for _ in range(3):
        descent.zero_grad()
        functional.mse_loss(expected(support[0]), support[1]).backward()
        descent.step()
        errors.append(functional.mse_loss(expected(query[0]), query[1]))
    with torch.no_grad():
        adapted = adapt(model, support, INNER_LR, 3)
    torch.testing.assert_close(adapted(query[0]), expected(query[0]), rtol=1e-10, atol=1e-12)
    table = adaptation_losses(model, [(support, query)], INNER_LR, 3)
    torch.testing.assert_close(table[0], torch.stack(errors).detach(), rtol=1e-10, atol=1e-12)


def test_losses_keep_the_order_of_tasks_of_unequal_shapes() -> None:
    model = regression()
    short, long = real_tasks(2), real_tasks(2, shots=7, seed=5)
    mixed = adaptation_losses(model, [short[0], long[0], short[1], long[1]], INNER_LR, 2)
    each = [
        adaptation_losses(model, [task], INNER_LR, 2)[0] for task in (short[0], long[0], *short[1:], long[1])
    ]
    torch.testing.assert_close(mixed, torch.stack(each), rtol=1e-10, atol=1e-12)


def updates(tasks: object, **how: int) -> list[float]:
    seen: list[float] = []
    maml(regression(), tasks, INNER_LR, 0.01, 1, on_update=lambda _, loss: seen.append(loss), **how)  # type: ignore[arg-type]  # what a caller without types may pass
    return seen


def test_a_finite_iterable_is_gone_through_once() -> None:
    assert len(updates(real_tasks(5), meta_batch_size=2)) == 3
    assert len(updates(iter(real_tasks(5)), meta_batch_size=2)) == 3


def test_a_list_starts_again_and_an_iterator_does_not() -> None:
    assert len(updates(real_tasks(3), meta_batch_size=2, num_iterations=4)) == 4
    with pytest.raises(
        MetarlError, match="Expected 4 meta-batches of 2 tasks, but the tasks ended in meta-batch 1"
    ):
        updates(iter(real_tasks(3)), meta_batch_size=2, num_iterations=4)


def test_an_endless_iterator_is_cut_and_nothing_more_is_taken_from_it() -> None:
    endless = itertools.cycle(real_tasks(3))
    assert len(updates(endless, meta_batch_size=2, num_iterations=2)) == 2
    assert next(endless) is not None


X, Y = torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([], "Expected at least one task"),
        ([(X, Y, X)], r"A task must be a pair \(support, query\), but it is a tuple of 3"),
        ([(X, (X, Y))], r"The support must be a pair \(inputs, targets\), but it is of type Tensor"),
        ([((X, Y), ([1.0], Y))], "The query must hold two tensors, but it holds a list of 1"),
        ([((X, Y[:1]), (X, Y))], r"one target for each of one or more inputs.*\(2, 2\) and \(1, 1\)"),
        ([((X, Y[:, 0]), (X, Y))], r"Real targets must have the outputs' shape \(2, 1\)"),
        ([((X, Y[:, 0].long()[:, None, None]), (X, Y))], "Integer targets need a logit for each class"),
        ([((X, Y.bool()), (X, Y))], "real numbers or integer classes"),
        ([((X.float(), Y), (X, Y))], r"does not work with inputs \(2, 2\) of torch.float32"),
        ([((X * math.nan, Y), (X, Y))], "The loss of outer step 1 is nan"),
    ],
)
def test_a_mistake_is_one_sentence(tasks: object, message: str) -> None:
    with pytest.raises(MetarlError, match=message):
        updates(tasks)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0.0, 0.1, 1), "inner_lr must be positive"),
        ((0.1, math.nan, 1), "outer_lr must be positive"),
        ((0.1, 0.1, -1), "num_inner_steps must be 0 or more"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused(numbers: tuple[float, float, int], message: str) -> None:
    with pytest.raises(MetarlError, match=message):
        maml(regression(), real_tasks(), *numbers)


def normalizing(**how: bool) -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, **how), nn.Linear(3, 1)).double()


def test_running_statistics_are_refused_and_left_alone() -> None:
    model = normalizing()
    with pytest.raises(MetarlError, match=r"changes its buffer '1.running_mean'.*model.eval"):
        maml(model, real_tasks(), INNER_LR, 0.01, 1)
    assert int(model.get_buffer("1.num_batches_tracked")) == 0


@pytest.mark.parametrize(
    "model", [lambda: normalizing().eval(), lambda: normalizing(track_running_stats=False)]
)
def test_batch_normalisation_without_running_statistics_is_trained(model: Callable[[], nn.Module]) -> None:
    batched, looped = (
        maml(model_, real_tasks(), INNER_LR, 0.01, 2, batched=how) for model_, how in pairs(model())
    )
    for one, other in zip(batched.parameters(), looped.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def pairs(model: nn.Module) -> list[tuple[nn.Module, bool]]:
    return [(model, True), (model, False)]


def test_dropout_differs_between_tasks() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(50, 1, bias=False)).double()
    inputs, targets = torch.ones(2, 8, 50, dtype=torch.float64), torch.zeros(2, 8, 1, dtype=torch.float64)
    weights: Params = {"1.weight": torch.ones(2, 1, 50, dtype=torch.float64)}
    first, second = TaskLosses(model, default_loss)(weights, (inputs, targets))
    assert first != second


class Recurrent(nn.Module):
    """A recurrent layer, for which torch.func.vmap has no rule."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRU(1, 3, batch_first=True), nn.Linear(3, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.head(self.cell(inputs.unsqueeze(-1))[0][:, -1])
        return outputs


def test_a_module_that_cannot_be_batched_says_so_and_can_be_looped() -> None:
    model = Recurrent().double()
    with pytest.raises(MetarlError, match=r"cannot run for many tasks at once .*pass batched=False"):
        maml(model, real_tasks(), INNER_LR, 0.01, 2)
    ours = slopes_of(loss_of(model, real_tasks(), 2, batched=False), model)
    expected = slopes_of(hand_loss(model, real_tasks(), 2, first_order=False), model)
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    maml(model, real_tasks(), INNER_LR, 0.01, 2, batched=False)


def test_a_module_without_parameters_is_refused() -> None:
    with pytest.raises(MetarlError, match="parameters that require gradients, but it has none"):
        maml(nn.Tanh(), real_tasks(), INNER_LR, 0.01, 1)


def test_a_sinusoids_amplitude_phase_and_inputs_lie_where_the_paper_says() -> None:
    tasks = list(itertools.islice(sinusoids(torch.Generator().manual_seed(0), shots=3, queries=400), 300))
    inputs = torch.stack([task.query[0] for task in tasks])
    targets = torch.stack([task.query[1] for task in tasks])
    # y = a cos(p) sin(x) - a sin(p) cos(x): two unknowns, in least squares
    basis = torch.cat([torch.sin(inputs), -torch.cos(inputs)], dim=-1)
    solved = torch.linalg.lstsq(basis, targets).solution[..., 0]
    assert (basis @ solved.unsqueeze(-1) - targets).abs().max() < 1e-4
    amplitude, phase = solved.norm(dim=-1), torch.atan2(solved[:, 1], solved[:, 0])
    assert 0.1 <= amplitude.min() < 0.3
    assert 4.8 < amplitude.max() <= 5.0001
    assert -1e-3 < phase.min() < 0.1
    assert 3.0 < phase.max() < math.pi + 1e-3
    assert -5 <= inputs.min() < -4.9
    assert 4.9 < inputs.max() <= 5
    assert len(tasks[0].support[0]) == 3


def test_a_few_steps_learn_a_new_sinusoid_after_meta_training() -> None:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1))
    trained = maml(model, sinusoids(generator, shots=10, queries=10), 0.02, 3e-3, 1, num_iterations=400)
    tasks = list(itertools.islice(sinusoids(torch.Generator().manual_seed(1), shots=10, queries=50), 100))
    before, after = (adaptation_losses(one, tasks, 0.02, 5).mean(dim=0) for one in (model, trained))
    assert after[5] < 0.6 * before[5]
    assert after[5] < 0.5 * after[0]


@pytest.mark.gpu
def test_plain_tensors_go_to_the_device() -> None:
    trained = maml(regression(), real_tasks(), INNER_LR, 0.01, 1, device="cuda")
    assert next(trained.parameters()).is_cuda
    assert adapt(trained, real_tasks()[0].support, INNER_LR, 1)(X.cuda()).is_cuda
