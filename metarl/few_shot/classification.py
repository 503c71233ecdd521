"""Classification by comparing embeddings: Prototypical, Matching Networks.

    N   classes of an episode (its ways)
    K   labelled examples of each class (its shots)
    Q   examples to be classified
    E   size of an embedding

A classifier here is a function of (support ``[..., N, K, E]``, queries ``[..., Q, E]``) that returns logits
``[..., Q, N]``; training changes only the encoder that makes the embeddings.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import nn
from torch.nn import functional

from metarl.errors import MetarlError, require

Classifier: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Episode(NamedTuple):
    """One classification problem; class n of the support is class n of the queries."""

    support: torch.Tensor  # ``[N, K, ...]``
    queries: torch.Tensor  # ``[N, Q / N, ...]``


def prototypes(support: torch.Tensor) -> torch.Tensor:
    """Return each class's mean embedding, ``[..., N, E]``, of ``[..., N, K, E]``.

    Source: Snell et al. 2017 (arXiv 1703.05175), equation 1.
    """
    return support.mean(dim=-2)


def prototypical_logits(support: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    """Return negative squared distances of queries to prototypes.

    Source: Snell et al. 2017 (arXiv 1703.05175), equation 2; section 2.7 on why not the cosine.
    """
    differences = queries.unsqueeze(-2) - prototypes(support).unsqueeze(-3)
    return differences.square().sum(dim=-1).neg()


def matching_logits(support: torch.Tensor, queries: torch.Tensor, *, scale: float = 1.0) -> torch.Tensor:
    """Return log probabilities by attention over labelled examples.

        P(y | q) = sum_i a(q, x_i) [y_i = y],   a(q, .) = softmax_i  scale cos(q, x_i)

    Source: Vinyals et al. 2016 (arXiv 1606.04080), equations 1 and 2.1.1, without full context embeddings.
    The paper's ``scale`` is 1, where no class can get much more than another of many; larger is sharper.
    """
    examples = functional.normalize(support, dim=-1).flatten(-3, -2)
    cosines = functional.normalize(queries, dim=-1) @ examples.transpose(-1, -2)
    attention = functional.log_softmax(scale * cosines, dim=-1)
    by_class: torch.Tensor = attention.unflatten(-1, support.shape[-3:-1])
    return by_class.logsumexp(dim=-1)


def nearest_neighbour_logits(support: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    """Return negative distances to each class's nearest example."""
    distances = torch.cdist(queries, support.flatten(-3, -2))
    by_class: torch.Tensor = distances.unflatten(-1, support.shape[-3:-1])
    return by_class.amin(dim=-1).neg()


def draw_episodes(
    classes: Sequence[torch.Tensor], generator: torch.Generator, *, ways: int, shots: int, queries: int
) -> Iterator[Episode]:
    """Yield episodes endlessly, without repeating a class or example within one.

    ``classes`` hold the examples ``[n, ...]`` of each class. An episode has ``ways`` of them, with ``shots``
    labelled examples and ``queries`` to classify of each.

    Raises:
        MetarlError: if there are too few classes, or too few examples of one.
    """
    require(1 <= ways <= len(classes), f"ways must lie in 1..{len(classes)}, the number of classes", ways)
    require(shots >= 1 and queries >= 1, "shots and queries must be 1 or more", (shots, queries))
    fewest = min(len(examples) for examples in classes)
    if fewest < shots + queries:
        raise MetarlError(
            f"Expected at least {shots} + {queries} examples of each class, got {fewest} of one."
        )
    return _episodes(classes, generator, ways, shots, shots + queries)


def _episodes(
    classes: Sequence[torch.Tensor], generator: torch.Generator, ways: int, shots: int, both: int
) -> Iterator[Episode]:
    while True:
        chosen = torch.randperm(len(classes), generator=generator)[:ways].tolist()
        drawn = [
            classes[index][torch.randperm(len(classes[index]), generator=generator)[:both]]
            for index in chosen
        ]
        examples = torch.stack(drawn)
        yield Episode(examples[:, :shots], examples[:, shots:])


def embed(encoder: nn.Module, episode: Episode) -> Episode:
    """Return the episode with its examples embedded.

    The encoder takes ``[B, ...]`` to ``[B, E]``; another shape is refused.
    """
    ways, shots = episode.support.shape[:2]
    examples = torch.cat([episode.support.flatten(0, 1), episode.queries.flatten(0, 1)])
    embeddings: torch.Tensor = encoder(examples)
    if embeddings.ndim != 2:
        raise MetarlError(f"The encoder must return [B, E], but it returned {tuple(embeddings.shape)}.")
    support, queries = embeddings.split([ways * shots, len(examples) - ways * shots])
    return Episode(support.unflatten(0, (ways, shots)), queries.unflatten(0, (ways, -1)))


def episode_logits(classify: Classifier, embedded: Episode) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the queries' logits ``[Q, N]`` and true classes ``[Q]``."""
    ways, each = embedded.queries.shape[:2]
    labels = torch.arange(ways, device=embedded.queries.device).repeat_interleave(each)
    return classify(embedded.support, embedded.queries.flatten(0, 1)), labels


def accuracy(classify: Classifier, embedded: Episode) -> float:
    """Return the share of queries classified correctly, 0..1."""
    logits, labels = episode_logits(classify, embedded)
    return float((logits.argmax(dim=-1) == labels).double().mean())


def train_encoder(
    encoder: nn.Module,
    episodes: Iterable[Episode],
    classify: Classifier,
    learning_rate: float,
    *,
    num_iterations: int | None = None,
    on_update: Callable[[int, float], None] | None = None,
) -> nn.Module:
    """Return a copy of an encoder, of ``[B, ...]`` to ``[B, E]``, trained by Adam.

    Each step classifies the queries of one episode; the episodes are read once, on the encoder's device.
    ``num_iterations`` stops after this number of episodes. ``on_update`` is called after each step with its
    number, from 1, and its cross-entropy before that step.

    Raises:
        MetarlError: if the encoder does not return ``[B, E]``, or a number is out of range.
    """
    require(learning_rate > 0, "learning_rate must be positive", learning_rate)
    require(num_iterations is None or num_iterations >= 1, "num_iterations must be 1 or more", num_iterations)
    trained = copy.deepcopy(encoder)
    optimizer = torch.optim.Adam(trained.parameters(), lr=learning_rate)
    for number, episode in enumerate(itertools.islice(episodes, num_iterations), start=1):
        loss = functional.cross_entropy(*episode_logits(classify, embed(trained, episode)))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        if on_update is not None:
            on_update(number, float(loss.detach()))
    optimizer.zero_grad()
    return trained
