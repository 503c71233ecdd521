"""Prototypes, matching and nearest neighbours by hand; what episodes are made of; an encoder that learns."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn import functional

from metarl.errors import MetarlError
from metarl.few_shot.classification import (
    Classifier,
    Episode,
    accuracy,
    draw_episodes,
    embed,
    episode_logits,
    matching_logits,
    nearest_neighbour_logits,
    prototypes,
    prototypical_logits,
    train_encoder,
)

SUPPORT = torch.tensor([[[0.0, 0.0], [2.0, 0.0]], [[0.0, 4.0], [0.0, 6.0]]])
QUERIES = torch.tensor([[1.0, 2.0], [0.0, 5.0]])


@pytest.fixture(autouse=True)
def generators_kept() -> Iterator[None]:
    """Let modules draw their weights from the global generator, and put it back."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_a_prototype_is_the_mean_of_its_class() -> None:
    assert prototypes(SUPPORT).tolist() == [[1.0, 0.0], [0.0, 5.0]]


def test_prototypical_logits_are_squared_distances_to_the_means() -> None:
    assert prototypical_logits(SUPPORT, QUERIES).tolist() == [[-4.0, -10.0], [-26.0, 0.0]]


def test_nearest_neighbour_logits_are_distances_to_the_nearest_example() -> None:
    expected = -torch.tensor([[5.0, 5.0], [25.0, 1.0]]).sqrt()
    torch.testing.assert_close(nearest_neighbour_logits(SUPPORT, QUERIES), expected)


@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_matching_adds_up_the_attention_of_each_class(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    support = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64)
    queries = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    logits = matching_logits(support, queries, scale=scale)
    for query, row in zip(queries, logits, strict=True):
        cosines = [
            [float(functional.cosine_similarity(query, one, dim=0)) for one in each] for each in support
        ]
        weights = torch.tensor(cosines, dtype=torch.float64).mul(scale).exp()
        torch.testing.assert_close(row.exp(), weights.sum(dim=1) / weights.sum(), rtol=1e-12, atol=0)


EVERY = pytest.mark.parametrize("classify", [prototypical_logits, matching_logits, nearest_neighbour_logits])


@EVERY
def test_many_episodes_at_once_are_each_episode_by_itself(classify: Classifier) -> None:
    generator = torch.Generator().manual_seed(0)
    support = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    queries = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64)
    each = torch.stack([classify(*pair) for pair in zip(support, queries, strict=True)])
    torch.testing.assert_close(classify(support, queries), each, rtol=1e-12, atol=1e-12)


@EVERY
def test_gradients_are_central_differences(classify: Classifier) -> None:
    generator = torch.Generator().manual_seed(0)
    support = torch.randn(3, 2, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    queries = torch.randn(2, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(classify, (support, queries))


def classes(count: int = 4, examples: int = 6) -> list[torch.Tensor]:
    """Return examples that tell their class and their own number."""
    return [torch.tensor([[float(label), float(n)] for n in range(examples)]) for label in range(count)]


def test_an_episode_repeats_no_class_and_no_example() -> None:
    episodes = draw_episodes(classes(), torch.Generator().manual_seed(0), ways=3, shots=2, queries=4)
    for episode in itertools.islice(episodes, 20):
        both = torch.cat([episode.support, episode.queries], dim=1)
        assert both.shape == (3, 6, 2)
        labels = both[..., 0]
        assert (labels == labels[:, :1]).all()
        assert len(set(labels[:, 0].tolist())) == 3
        assert both[..., 1].sort(dim=1).values.tolist() == [[0, 1, 2, 3, 4, 5]] * 3


@pytest.mark.parametrize(
    ("ways", "shots", "queries", "message"),
    [
        (5, 1, 1, r"ways must lie in 1..4, the number of classes, but it is 5"),
        (2, 0, 1, "shots and queries must be 1 or more"),
        (2, 4, 3, r"Expected at least 4 \+ 3 examples of each class, got 6 of one"),
    ],
)
def test_an_impossible_episode_is_refused(ways: int, shots: int, queries: int, message: str) -> None:
    with pytest.raises(MetarlError, match=message):
        draw_episodes(classes(), torch.Generator(), ways=ways, shots=shots, queries=queries)


def test_accuracy_counts_the_queries_that_are_right() -> None:
    queries = torch.tensor([[[1.0, 0.0], [0.0, 5.0]], [[0.0, 5.0], [0.0, 4.0]]])
    assert accuracy(prototypical_logits, Episode(SUPPORT, queries)) == 0.75


def test_embedding_keeps_every_example_in_its_place() -> None:
    episode = next(draw_episodes(classes(), torch.Generator().manual_seed(0), ways=3, shots=2, queries=3))
    encoder = nn.Linear(2, 5)
    embedded = embed(encoder, episode)
    torch.testing.assert_close(embedded.support, encoder(episode.support))
    torch.testing.assert_close(embedded.queries, encoder(episode.queries))
    logits, labels = episode_logits(prototypical_logits, embedded)
    assert logits.shape == (9, 3)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_an_encoder_that_returns_no_vectors_is_refused() -> None:
    episode = next(draw_episodes(classes(), torch.Generator(), ways=2, shots=1, queries=1))
    with pytest.raises(MetarlError, match=r"must return \[B, E\], but it returned \(4,\)"):
        embed(nn.Sequential(nn.Linear(2, 1), nn.Flatten(0)), episode)


@pytest.mark.parametrize("number", [-1, 0])
def test_training_for_no_iterations_is_refused(number: int) -> None:
    with pytest.raises(MetarlError, match=f"num_iterations must be 1 or more, but it is {number}"):
        train_encoder(nn.Linear(2, 2), [], prototypical_logits, 1e-2, num_iterations=number)


def noisy_classes(seed: int, count: int) -> list[torch.Tensor]:
    """Return classes that differ in one of ten entries, whose other nine are loud noise."""
    generator = torch.Generator().manual_seed(seed)
    noise = 5 * torch.randn(count, 20, 10, generator=generator)
    noise[..., 3] = 2.0 * torch.arange(count).unsqueeze(-1) + 0.2 * torch.randn(
        count, 20, generator=generator
    )
    return list(noise)


@pytest.mark.parametrize("classify", [prototypical_logits, functools.partial(matching_logits, scale=10.0)])
def test_an_encoder_learns_to_tell_new_classes_apart(classify: Classifier) -> None:
    encoder = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 8))
    before = [parameter.clone() for parameter in encoder.parameters()]
    train = draw_episodes(noisy_classes(0, 8), torch.Generator().manual_seed(1), ways=5, shots=3, queries=3)
    losses: list[float] = []
    trained = train_encoder(
        encoder, train, classify, 1e-2, num_iterations=150, on_update=lambda _, loss: losses.append(loss)
    )
    assert len(losses) == 150
    assert all(torch.equal(a, b) for a, b in zip(before, encoder.parameters(), strict=True))

    def tested(model: nn.Module) -> float:
        new = draw_episodes(
            noisy_classes(2, 5), torch.Generator().manual_seed(3), ways=5, shots=3, queries=10
        )
        with torch.no_grad():
            found = [accuracy(classify, embed(model, one)) for one in itertools.islice(new, 20)]
        return sum(found) / len(found)

    assert tested(trained) > tested(encoder) + 0.2
