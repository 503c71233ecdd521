#!/usr/bin/env bash
# An epsilon-greedy policy tosses its coins when it is exported to ONNX: the same robots explore for ever.
#
# Versions: torch 2.13.0 (CPU build), onnx 1.23.2, onnx-ir 1.1.0, onnxscript 0.7.2, onnxruntime 1.32.0, NumPy
# 2.4.6, Python 3.11.
# Guess: torch.bernoulli is exported as the operator Bernoulli, which draws at each run, as randint and
# rand_like are exported as operators that draw.
# Behaviour: the exporter's optimizer computes all that depends on constants only. It spares the operators
# that it knows to be random, and Bernoulli is not one of them: where the probability is a number of the
# policy's own, one draw is put into the file in its place, and each export has another. So a batch of robots
# is split once into those that always explore and those that never do; a single robot does the one or the
# other. Over the batch the share of random actions is right, which hides it. optimize=False keeps the coin;
# so does rand_like(observation) < epsilon.
# Output seen, 100 robots, 200 steps, epsilon 0.2 (the number that always explores is another at each export):
#   PyTorch: share of steps in which a robot explores: 0.14 to 0.26 by robot, mean 0.20
#   ONNX, optimize=True, Bernoulli nodes: 0; always explore: 13 robots, never: 87, now and then: 0
#   ONNX, optimize=False, Bernoulli nodes: 1; always explore: 0 robots, never: 0, now and then: 100
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

ROBOTS, STEPS, ACTIONS = 100, 200, 5


class EpsilonGreedy(torch.nn.Module):
    """The best action, or by a coin for each robot a random one; says who explored."""

    def __init__(self):
        super().__init__()
        self.values = torch.nn.Linear(4, ACTIONS)
        self.register_buffer("epsilon", torch.full((ROBOTS,), 0.2))

    def forward(self, observation):
        explores = torch.bernoulli(self.epsilon).bool()
        random = torch.randint(0, ACTIONS, (ROBOTS,))
        return torch.where(explores, random, self.values(observation).argmax(-1)), explores


torch.manual_seed(0)
policy, observation = EpsilonGreedy(), torch.randn(ROBOTS, 4)
share = torch.stack([policy(observation)[1] for _ in range(STEPS)]).float().mean(0)
print("PyTorch: share of steps in which a robot explores:", end=" ")
print(f"{share.min():.2f} to {share.max():.2f} by robot, mean {share.mean():.2f}", flush=True)
assert 0.0 < share.min() and share.max() < 1.0
found = {}
for optimize in (True, False):
    program = torch.onnx.export(policy, (observation,), dynamo=True, optimize=optimize, verbose=False)
    program.save(sys.argv[1])
    coins = [node.op_type for node in program.model.graph].count("Bernoulli")
    session = onnxruntime.InferenceSession(sys.argv[1])
    feed = {session.get_inputs()[0].name: observation.numpy()}
    runs = [session.run(None, feed) for _ in range(STEPS)]
    share = np.mean([explores for _, explores in runs], axis=0)
    always, never = int((share == 1.0).sum()), int((share == 0.0).sum())
    found[optimize] = coins, always + never, np.ptp([actions for actions, _ in runs], axis=0)[share == 1.0]
    print(f"ONNX, optimize={optimize}, Bernoulli nodes: {coins};", end=" ")
    print(f"always explore: {always} robots,", end=" ")
    print(f"never: {never}, now and then: {ROBOTS - always - never}", flush=True)
assert found[True][:2] == (0, ROBOTS), "the behaviour has changed"
assert (found[True][2] > 0).all()  # the random actions themselves are drawn anew at each run
assert found[False][:2] == (1, 0)
PYTHON
"$folder/venv/bin/python" "$folder/program.py" "$folder/policy.onnx" 2>"$folder/notes" ||
    { cat "$folder/notes" >&2 && exit 1; }
