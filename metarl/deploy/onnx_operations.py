"""PyTorch's operations as ONNX nodes, by their name without overload.

A translation gets the graph that is built, the operation's result, of which it may read shape and type alone,
and its arguments. It returns the name of the result in the graph, or several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import torch

Operand: TypeAlias = "torch.Tensor | bool | float | str | Sequence[int]"
"""A tensor, traced or constant; a number, or several; the name of a node's output."""


class Graph(Protocol):
    """Graph that nodes are appended to; see :class:`metarl.deploy.onnx_trace.Trace`."""

    def node(self, kind: str, *operands: Operand, **attributes: object) -> str:
        """Append a node; return its output's name."""

    def nodes(self, kind: str, outputs: int, *operands: Operand, **attributes: object) -> list[str]:
        """Append a node; return its outputs' names."""

    def name(self, value: Operand, dtype: torch.dtype | None = None) -> str:
        """Return the name of a value, converted to a type if one is given."""

    def reshaped(self, value: torch.Tensor, shape: torch.Size) -> str:
        """Reshape a tensor; return its new name."""


Translation: TypeAlias = Callable[..., "str | list[str]"]
Number: TypeAlias = "torch.Tensor | float"


def _unary(kind: str) -> Translation:
    return lambda graph, result, value: graph.node(kind, value)


def _binary(kind: str) -> Translation:
    def translate(graph: Graph, result: torch.Tensor, left: Number, right: Number) -> str:
        dtype = torch.result_type(left, right)
        return graph.node(kind, graph.name(left, dtype), graph.name(right, dtype))

    return translate


def _div(graph: Graph, result: torch.Tensor, left: Number, right: Number) -> str:
    # whole numbers give a fraction in PyTorch, and a whole number in ONNX
    return graph.node("Div", graph.name(left, result.dtype), graph.name(right, result.dtype))


def _sum(kind: str) -> Translation:
    def translate(graph: Graph, result: torch.Tensor, left: Number, right: Number, alpha: float = 1) -> str:
        second = graph.name(right, result.dtype)
        if alpha != 1:
            second = graph.node("Mul", second, graph.name(alpha, result.dtype))
        return graph.node(kind, graph.name(left, result.dtype), second)

    return translate


def _rsub(graph: Graph, result: torch.Tensor, value: torch.Tensor, other: Number) -> str:
    return graph.node("Sub", graph.name(other, result.dtype), value)


def _addmm(
    graph: Graph,
    result: torch.Tensor,
    bias: torch.Tensor,
    left: torch.Tensor,
    right: torch.Tensor,
    *,
    beta: float = 1,
    alpha: float = 1,
) -> str:
    return graph.node("Gemm", left, right, bias, alpha=float(alpha), beta=float(beta))


def _baddbmm(
    graph: Graph, result: torch.Tensor, bias: torch.Tensor, left: torch.Tensor, right: torch.Tensor
) -> str:
    return graph.node("Add", graph.node("MatMul", left, right), bias)


def _addcmul(
    graph: Graph, result: torch.Tensor, value: torch.Tensor, left: torch.Tensor, right: torch.Tensor
) -> str:
    return graph.node("Add", value, graph.node("Mul", left, right))


def _lerp(graph: Graph, result: torch.Tensor, start: Number, end: Number, weight: Number) -> str:
    # start + weight (end - start)
    moved = graph.node("Mul", graph.name(weight, result.dtype), graph.node("Sub", end, start))
    return graph.node("Add", start, moved)


def _clamp(
    graph: Graph,
    result: torch.Tensor,
    value: torch.Tensor,
    low: Number | None = None,
    high: Number | None = None,
) -> str:
    if not isinstance(low, torch.Tensor) and not isinstance(high, torch.Tensor):
        bounds = ("" if bound is None else graph.name(bound, result.dtype) for bound in (low, high))
        return graph.node("Clip", value, *bounds)
    found = graph.name(value, result.dtype)
    if low is not None:
        found = graph.node("Max", found, graph.name(low, result.dtype))
    return found if high is None else graph.node("Min", found, graph.name(high, result.dtype))


def _where(graph: Graph, result: torch.Tensor, condition: torch.Tensor, one: Number, other: Number) -> str:
    if result.dtype is torch.bool:  # for which ONNX Runtime has no Where
        first = graph.node("And", condition, one)
        return graph.node("Or", first, graph.node("And", graph.node("Not", condition), other))
    return graph.node("Where", condition, graph.name(one, result.dtype), graph.name(other, result.dtype))


def _masked_fill(
    graph: Graph, result: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, filling: Number
) -> str:
    return _where(graph, result, mask, filling, value)


def _reshape(graph: Graph, result: torch.Tensor, value: torch.Tensor, *_: object, **__: object) -> str:
    return graph.reshaped(value, result.shape)


def _expand(graph: Graph, result: torch.Tensor, value: torch.Tensor, *_: object, **__: object) -> str:
    if value.numel() == result.numel():
        return graph.reshaped(value, result.shape)
    return graph.node("Expand", value, list(result.shape))


def _copy(graph: Graph, result: torch.Tensor, target: torch.Tensor, source: torch.Tensor) -> str:
    return graph.node("Expand", graph.name(source, result.dtype), list(result.shape))


def _to_copy(graph: Graph, result: torch.Tensor, value: torch.Tensor, **_: object) -> str:
    return graph.name(value, result.dtype)


def _permute(graph: Graph, result: torch.Tensor, value: torch.Tensor, order: Sequence[int]) -> str:
    return graph.node("Transpose", value, perm=[axis % value.ndim for axis in order])


def _transpose(graph: Graph, result: torch.Tensor, value: torch.Tensor, one: int, other: int) -> str:
    order = list(range(value.ndim))
    order[one], order[other] = order[other], order[one]
    return _permute(graph, result, value, order)


def _t(graph: Graph, result: torch.Tensor, value: torch.Tensor) -> str:
    return _permute(graph, result, value, range(value.ndim)[::-1])


def _slice(
    graph: Graph,
    result: torch.Tensor,
    value: torch.Tensor,
    axis: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> str:
    stop = value.shape[axis] if end is None else end
    return graph.node("Slice", value, [start or 0], [stop], [axis], [step])


def _select(graph: Graph, result: torch.Tensor, value: torch.Tensor, axis: int, index: int) -> str:
    return graph.node("Gather", value, graph.name(index, torch.int64), axis=axis)


def _split(
    graph: Graph, result: torch.Tensor, value: torch.Tensor, sizes: int | Sequence[int], axis: int = 0
) -> list[str]:
    if isinstance(sizes, int):
        sizes = [min(sizes, value.shape[axis] - start) for start in range(0, value.shape[axis], sizes)]
    return graph.nodes("Split", len(sizes), value, list(sizes), axis=axis)


def _cat(graph: Graph, result: torch.Tensor, values: Sequence[torch.Tensor], axis: int = 0) -> str:
    return graph.node("Concat", *(graph.name(value, result.dtype) for value in values), axis=axis)


def _stack(graph: Graph, result: torch.Tensor, values: Sequence[torch.Tensor], axis: int = 0) -> str:
    parts = [graph.node("Unsqueeze", graph.name(value, result.dtype), [axis]) for value in values]
    return graph.node("Concat", *parts, axis=axis)


def _reduced(kind: str) -> Translation:
    def translate(
        graph: Graph,
        result: torch.Tensor,
        value: torch.Tensor,
        axes: int | Sequence[int] | None = None,
        keep: bool = False,
    ) -> str:
        over = range(value.ndim) if axes is None or axes == [] else [axes] if isinstance(axes, int) else axes
        return graph.node(kind, graph.name(value, result.dtype), list(over), keepdims=int(keep))

    return translate


def _softmax(kind: str) -> Translation:
    return lambda graph, result, value, axis, _: graph.node(kind, value, axis=axis)


def _argmax(graph: Graph, result: torch.Tensor, value: torch.Tensor, axis: int, keep: bool = False) -> str:
    return graph.node("ArgMax", value, axis=axis, keepdims=int(keep))


def _scatter(
    graph: Graph, result: torch.Tensor, value: torch.Tensor, axis: int, index: torch.Tensor, source: Number
) -> str:
    filling = source if isinstance(source, torch.Tensor) else torch.full(index.shape, source)
    return graph.node("ScatterElements", value, index, graph.name(filling, result.dtype), axis=axis)


FACTORIES = frozenset(
    f"{prefix}{kind}{suffix}"
    for kind in ("zeros", "ones", "empty", "full")
    for prefix, suffix in (("", "_like"), ("new_", ""))
)
"""Operations that read only shapes and types."""

_SAME_NAME = ("abs", "cos", "exp", "log", "neg", "relu", "round", "sigmoid", "sin", "sqrt", "tanh")
TRANSLATIONS: dict[str, Translation] = {
    **{name: _unary(name.title()) for name in _SAME_NAME},
    **{name: _binary(name.title()) for name in ("mul", "pow")},
    "div": _div,
    **dict.fromkeys(("logical_not", "bitwise_not"), _unary("Not")),
    **dict.fromkeys(("logical_or", "bitwise_or"), _binary("Or")),
    **dict.fromkeys(("logical_and", "bitwise_and"), _binary("And")),
    **dict.fromkeys(("mm", "bmm", "mv", "dot"), _binary("MatMul")),
    **dict.fromkeys(
        ("view", "_unsafe_view", "unsqueeze", "squeeze", "clone", "alias", "detach", "lift_fresh"), _reshape
    ),
    **dict.fromkeys(("split", "unsafe_split", "split_with_sizes", "unsafe_split_with_sizes"), _split),
    "isnan": _unary("IsNaN"),
    "minimum": _binary("Min"),
    "maximum": _binary("Max"),
    "eq": _binary("Equal"),
    "gt": _binary("Greater"),
    "ge": _binary("GreaterOrEqual"),
    "lt": _binary("Less"),
    "le": _binary("LessOrEqual"),
    "add": _sum("Add"),
    "sub": _sum("Sub"),
    "rsub": _rsub,
    "addmm": _addmm,
    "baddbmm": _baddbmm,
    "addcmul": _addcmul,
    "lerp": _lerp,
    "clamp": _clamp,
    "where": _where,
    "masked_fill": _masked_fill,
    "expand": _expand,
    "copy": _copy,
    "_to_copy": _to_copy,
    "permute": _permute,
    "transpose": _transpose,
    "t": _t,
    "slice": _slice,
    "select": _select,
    "cat": _cat,
    "stack": _stack,
    "sum": _reduced("ReduceSum"),
    "mean": _reduced("ReduceMean"),
    "_softmax": _softmax("Softmax"),
    "_log_softmax": _softmax("LogSoftmax"),
    "argmax": _argmax,
    "scatter": _scatter,
}
