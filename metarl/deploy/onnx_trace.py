"""Functions of tensors traced as ONNX graphs.

Each PyTorch operation on a traced tensor becomes a node, as :mod:`metarl.deploy.onnx_operations` says. An
operation on constants alone becomes none: its result is a constant of the graph.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import onnx
import onnx.checker
import onnx.shape_inference
import torch
from onnx import helper
from torch.utils._python_dispatch import TorchDispatchMode

from metarl.deploy.onnx_operations import FACTORIES, TRANSLATIONS, Operand
from metarl.errors import MetarlError
from metarl.types import Params

OPSET, IR_VERSION = 18, 8  # of 2022, so that older runtimes read the file too
ONNX_TYPES: dict[torch.dtype, int] = {
    torch.float32: onnx.TensorProto.FLOAT,
    torch.float64: onnx.TensorProto.DOUBLE,
    torch.int64: onnx.TensorProto.INT64,
    torch.bool: onnx.TensorProto.BOOL,
}


class Trace(TorchDispatchMode):
    """Records the operations on some tensors, within ``with``."""

    def __init__(self, inputs: Params) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # PyTorch's
        self._inputs, self._nodes = dict(inputs), list[onnx.NodeProto]()
        self._names = {id(tensor): name for name, tensor in inputs.items()}
        self._kept = list(inputs.values())  # alive, so that no id is used twice
        self._written: list[torch.Tensor] = []
        self._constants: dict[tuple[torch.dtype, torch.Size, bytes], str] = {}
        self._unshaped: dict[str, tuple[str, torch.Size]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: else PyTorch imports its compiler here, which takes seconds."""
        return False

    def __torch_dispatch__(
        self,
        function: torch._ops.OpOverload,
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Compute an operation, and record it if it reads a traced tensor."""
        named, name = dict(kwargs or {}), function.overloadpacket.__name__
        target = named.pop("out", args[0] if name.endswith("_") else None)
        read = _tensors([*args, *named.values()])
        if name in FACTORIES or not any(self._is_traced(tensor) for tensor in read):
            return function(*args, **(kwargs or {}))
        translate = TRANSLATIONS.get(name.removesuffix("_"))
        if translate is None:
            raise MetarlError(f"Expected a policy of operations that ONNX has too, got PyTorch's {function}.")
        if isinstance(target, torch.Tensor) and target is args[0] and not self._is_traced(target):
            args = (target.clone(), *args[1:])  # a constant that is about to become traced
            result: object = function(target, *args[1:], **named)
        else:
            result = function(*args, **(kwargs or {}))
        results = _tensors([result])
        for tensor in results:
            _onnx_type(tensor.dtype)  # refuses others
        try:
            found = translate(self, results[0], *args, **named)
        except TypeError as error:
            raise MetarlError(f"Expected {function} with arguments that are known here: {error}.") from error
        if isinstance(target, torch.Tensor):
            self._forget_overlapping(target)
        for tensor, output in zip(results, [found] if isinstance(found, str) else found, strict=True):
            self._names[id(tensor)] = output
        self._kept += results
        return result

    def node(self, kind: str, *operands: Operand, **attributes: object) -> str:
        """Append a node; return its output's name."""
        return self.nodes(kind, 1, *operands, **attributes)[0]

    def nodes(self, kind: str, outputs: int, *operands: Operand, **attributes: object) -> list[str]:
        """Append a node; return its outputs' names."""
        names = [f"{kind}_{len(self._nodes)}_{place}" for place in range(outputs)]
        inputs = [self.name(operand) for operand in operands]
        made = helper.make_node(kind, inputs, names)
        made.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        self._nodes.append(made)
        return names

    def name(self, value: Operand, dtype: torch.dtype | None = None) -> str:
        """Return the name of a value, converted to a type if one is given."""
        if isinstance(value, str):
            return value
        if not isinstance(value, torch.Tensor):
            return self._constant(torch.tensor(value, dtype=dtype))
        if not self._is_traced(value):
            return self._constant(value if dtype is None else value.to(dtype))
        if id(value) not in self._names:
            raise MetarlError("Expected a policy that writes to whole tensors, got one that writes to parts.")
        name = self._names[id(value)]
        return name if dtype in (None, value.dtype) else self.node("Cast", name, to=_onnx_type(dtype))

    def reshaped(self, value: torch.Tensor, shape: torch.Size) -> str:
        """Reshape a tensor; return its new name."""
        name = self.name(value)
        source, before = self._unshaped.get(name, (name, value.shape))
        if before == shape:
            return source
        found = self.node("Reshape", source, list(shape))
        self._unshaped[found] = source, before
        return found

    def needed(self, outputs: Iterable[torch.Tensor]) -> set[str]:
        """Return the names of all that some tensors are computed from."""
        found = {self.name(tensor) for tensor in outputs}
        for node in reversed(self._nodes):
            if not found.isdisjoint(node.output):
                found.update(node.input)
        return found

    def model(self, inputs: Iterable[str], outputs: Params) -> onnx.ModelProto:
        """Return the graph that computes some tensors from some of the inputs."""
        last = [helper.make_node("Identity", [self.name(value)], [name]) for name, value in outputs.items()]
        needed = self.needed(outputs.values())
        graph = helper.make_graph(
            [*(node for node in self._nodes if not needed.isdisjoint(node.output)), *last],
            "policy",
            [_described(name, self._inputs[name]) for name in inputs],
            [_described(name, value) for name, value in outputs.items()],
            [
                helper.make_tensor(name, _onnx_type(dtype), shape, content, raw=True)
                for (dtype, shape, content), name in self._constants.items()
                if name in needed
            ],
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="metarl",
        )
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            said = re.sub(r".*\(op_type:(\w+)[^)]*\)", r"\1", str(error).splitlines()[0])
            raise MetarlError(f"Expected a policy that ONNX takes, got {said}.") from error
        return model

    def _constant(self, value: torch.Tensor) -> str:
        content = value.detach().cpu().contiguous()
        key = content.dtype, content.shape, content.numpy().tobytes()
        return self._constants.setdefault(key, f"constant_{len(self._constants)}")

    def _is_traced(self, value: torch.Tensor) -> bool:
        """Return whether a tensor depends on the inputs, in part at least."""
        return id(value) in self._names or any(_overlap(value, written) for written in self._written)

    def _forget_overlapping(self, written: torch.Tensor) -> None:
        """Drop the names of views of a tensor that is written to."""
        for tensor in self._kept:
            if _overlap(tensor, written):
                self._names.pop(id(tensor), None)
        self._written.append(written)


def _described(name: str, value: torch.Tensor) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, _onnx_type(value.dtype), value.shape)


def _onnx_type(dtype: torch.dtype) -> int:
    if dtype not in ONNX_TYPES:
        raise MetarlError(f"Expected a policy of float32, float64, int64 and bool, got {dtype}.")
    return ONNX_TYPES[dtype]


def _tensors(values: Iterable[object]) -> list[torch.Tensor]:
    """Return the tensors among values and their lists."""
    found: list[torch.Tensor] = []
    for value in values:
        inner = value if isinstance(value, list | tuple) else [value]
        found += [item for item in inner if isinstance(item, torch.Tensor)]
    return found


def _overlap(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two tensors share memory, from the first entry of each to its last."""
    if one.untyped_storage().data_ptr() != other.untyped_storage().data_ptr() or not one.numel():
        return False
    (begin, end), (other_begin, other_end) = _extent(one), _extent(other)
    return begin <= other_end and other_begin <= end


def _extent(value: torch.Tensor) -> tuple[int, int]:
    begin = int(value.storage_offset())
    return begin, begin + sum((n - 1) * step for n, step in zip(value.shape, value.stride(), strict=True))
