#!/usr/bin/env bash
# The uncertainty that a network measures by Monte Carlo dropout is zero after its export, for two reasons.
#
# Versions: torch 2.13.0 (CPU build), onnx 1.23.2, onnx-ir 1.1.0, onnxscript 0.7.2, onnxruntime 1.32.0, NumPy
# 2.4.6, Python 3.11.
# Who is hit: policies that stop, ask or explore where 20 passes with dropout disagree. On the robot they are
# always sure, and no message says why: the mean value is right.
# Guess: dropout(..., training=True) is exported as a Dropout node in training mode, one for each pass, and
# ONNX Runtime draws a mask at each. That is what the file's operator means, and random normal numbers do
# behave so.
# Behaviour: the exporter's search for common subexpressions holds some operators to be random, and Dropout is
# not among them: equal passes become one. And ONNX Runtime's default optimizations take out every Dropout
# between two nodes, also one in training mode with 50 %. Without the exporter's optimizations the second
# reason is left, without ONNX Runtime's the first. A mask from rand_like instead of dropout goes through
# both.
# Output seen, the deviation of 20 passes:
#   dropout, optimize=True: PyTorch 0.28; 1 Dropout nodes; ONNX Runtime 0.00, without its optimizations 0.00
#   dropout, optimize=False: PyTorch 0.28; 20 Dropout nodes; ONNX Runtime 0.00, without its optimizations 0.29
#   mask, optimize=True: PyTorch 0.29; 0 Dropout nodes; ONNX Runtime 0.29, without its optimizations 0.29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check torch==2.13.0 \
    numpy==2.4.6 onnx==1.23.2 onnx-ir==1.1.0 onnxscript==0.7.2 onnxruntime==1.32.0
cat >"$folder/program.py" <<'PYTHON'
import sys

import numpy as np
import onnxruntime
import torch
from torch.nn import functional

PASSES, FEATURES = 20, 64


def dropout(features):
    return functional.dropout(features, 0.5, training=True)


def mask(features):
    return features * (torch.rand_like(features) < 0.5) * 2.0


class Doubt(torch.nn.Module):
    """How far the values of one observation differ between passes with dropout."""

    def __init__(self, drop):
        super().__init__()
        self.drop = drop
        self.body, self.head = torch.nn.Linear(4, FEATURES), torch.nn.Linear(FEATURES, 1)

    def forward(self, observation):
        features = torch.relu(self.body(observation))
        return torch.stack([self.head(self.drop(features)) for _ in range(PASSES)]).std(0)


def run(optimizations):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = optimizations
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(sys.argv[1], options)
    feed = {session.get_inputs()[0].name: OBSERVATION.numpy()}
    return float(np.mean([session.run(None, feed) for _ in range(50)]))


levels = onnxruntime.GraphOptimizationLevel
OBSERVATION = torch.ones(1, 4)
found = {}
for drop, optimize in ((dropout, True), (dropout, False), (mask, True)):
    torch.manual_seed(0)
    network = Doubt(drop)
    with torch.no_grad():
        doubts = [network(OBSERVATION).item() for _ in range(50)]
    program = torch.onnx.export(network, (OBSERVATION,), dynamo=True, optimize=optimize, verbose=False)
    program.save(sys.argv[1])
    nodes = [node.op_type for node in program.model.graph].count("Dropout")
    default, plain = run(levels.ORT_ENABLE_ALL), run(levels.ORT_DISABLE_ALL)
    found[drop.__name__, optimize] = nodes, default, plain
    print(f"{drop.__name__}, optimize={optimize}: PyTorch {np.mean(doubts):.2f};", end=" ")
    print(f"{nodes} Dropout nodes;", end=" ")
    print(f"ONNX Runtime {default:.2f}, without its optimizations {plain:.2f}", flush=True)
    assert np.mean(doubts) > 0.1
nodes, default, plain = found["dropout", True]
assert nodes == 1 and default < 1e-5 and plain < 1e-5, "the behaviour has changed"
nodes, default, plain = found["dropout", False]
assert nodes == PASSES and default < 1e-5 and plain > 0.1, "the behaviour has changed"
assert min(found["mask", True][1:]) > 0.1
PYTHON
"$folder/venv/bin/python" "$folder/program.py" "$folder/value.onnx" 2>"$folder/notes" ||
    { cat "$folder/notes" >&2 && exit 1; }
