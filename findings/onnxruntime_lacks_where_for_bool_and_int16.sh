#!/usr/bin/env bash
# A valid ONNX graph that chooses between two masks does not load in ONNX Runtime: Where has no kernel for bool.
#
# Versions: onnx 1.23.2, onnxruntime 1.32.0 (CPU), NumPy 2.4.6, Python 3.11.
# Guess: Where(condition, X, Y) takes "all tensor types" by its specification, the checker accepts the model with full
# checks, and the reference evaluator runs it; a runtime that has Where for uint8, int8 and strings has it for bool too.
# Behaviour: the session refuses bool and int16 with NOT_IMPLEMENTED, when it is made and not when it runs. Float16,
# int8, uint8 and strings load. An exporter must write (c and x) or (not c and y), or cast to uint8 and back.
# Output seen:
#   checker and reference evaluator: all types
#   loads: float float16 int8 int32 uint8 string
#   NOT_IMPLEMENTED: bool int16
#   the same choice by And, Or and Not: loads, right
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

TYPES = {
    "float": np.float32, "float16": np.float16, "int8": np.int8, "int16": np.int16, "int32": np.int32,
    "uint8": np.uint8, "string": np.str_, "bool": np.bool_,
}  # fmt: skip
CHOOSE = np.array([True, False, True])


def model(name, nodes):
    kind = getattr(TensorProto, name.upper())
    inputs = [helper.make_tensor_value_info("choose", TensorProto.BOOL, [3])]
    inputs += [helper.make_tensor_value_info(side, kind, [3]) for side in ("one", "other")]
    graph = helper.make_graph(nodes, "choice", inputs, [helper.make_tensor_value_info("chosen", kind, [3])])
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(built, full_check=True)
    return built


def session(built):
    return onnxruntime.InferenceSession(built.SerializeToString(), providers=["CPUExecutionProvider"])


def feeds(dtype):
    return {"choose": CHOOSE, "one": np.array([1, 1, 0]).astype(dtype), "other": np.array([0, 1, 1]).astype(dtype)}


where = [helper.make_node("Where", ["choose", "one", "other"], ["chosen"])]
loads, refused = [], []
for name, dtype in TYPES.items():
    built, given = model(name, where), feeds(dtype)
    (found,) = ReferenceEvaluator(built).run(None, given)
    assert (found == np.where(CHOOSE, given["one"], given["other"])).all(), name
    try:
        session(built)
        loads.append(name)
    except Exception as error:
        assert "NOT_IMPLEMENTED" in str(error), error
        refused.append(name)
print("checker and reference evaluator: all types")
print("loads:", *sorted(loads, key=list(TYPES).index))
print("NOT_IMPLEMENTED:", *sorted(refused))
assert sorted(refused) == ["bool", "int16"], "this has changed"

by_logic = [
    helper.make_node("And", ["choose", "one"], ["first"]),
    helper.make_node("Not", ["choose"], ["rather"]),
    helper.make_node("And", ["rather", "other"], ["second"]),
    helper.make_node("Or", ["first", "second"], ["chosen"]),
]
given = feeds(np.bool_)
(found,) = session(model("bool", by_logic)).run(None, given)
assert (found == np.where(CHOOSE, given["one"], given["other"])).all()
print("the same choice by And, Or and Not: loads, right")
PYTHON
