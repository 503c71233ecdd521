#!/usr/bin/env bash
# Evaluating a meta-learned model of learn2learn on test tasks changes the model: clones share its buffers.
#
# Versions: learn2learn 0.2.0, torch 2.13.0 (CPU build), NumPy 2.4.6, Python 3.11.
# Who is hit: whoever has batch normalisation with running statistics in a model, as its own CNN4 has. Test
# tasks flow into the model: its output in eval(), and what is saved after an evaluation, depend on the tasks
# that were measured before.
# Guess: MAML.clone() clones parameters and buffers, as its documentation says, so what a clone learns about a
# test task is gone with the clone, and an evaluation leaves the model as it was.
# Behaviour: only buffers that require a gradient are cloned, which running means, variances and counts never
# do. Clone and model hold the same tensors, and each forward pass in train() updates them in place. The
# parameters are cloned indeed. Clones of copy.deepcopy(maml) leave the model alone.
# Output seen, mean squared error of the meta-trained model in eval() on a training task, before and after 20
# test tasks that only clones saw:
#   clones of a deep copy: error 0.02, then 0.02; batches counted 400, then 400
#   clones: error 0.02, then 8.04; batches counted 400, then 440
#   parameters unchanged: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 numpy==2.4.6 setuptools==80.10.2 wheel==0.48.0 cython==3.0.12
# The sources alone: the compiled part serves data sets only.
"$folder/venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --no-build-isolation \
    --no-binary learn2learn --dest "$folder" learn2learn==0.2.0
tar -xzf "$folder/learn2learn-0.2.0.tar.gz" -C "$folder"
"$folder/venv/bin/python" -W ignore - "$folder/learn2learn-0.2.0/learn2learn" <<'PYTHON'
import copy
import sys
from types import ModuleType

import torch
from torch import nn

# The packages' own __init__ import torchvision, gym and lightning, which MAML does not use.
for name, folder in (("learn2learn", ""), ("learn2learn.algorithms", "/algorithms")):
    package = ModuleType(name)
    package.__path__ = [sys.argv[1] + folder]
    sys.modules[name] = package
from learn2learn.algorithms.maml import MAML  # noqa: E402

torch.manual_seed(0)
torch.set_num_threads(1)


def task(middle):
    """Return points of a wave with a random phase around the middle."""
    x = middle + torch.randn(20, 1)
    return x, torch.sin(x + torch.rand(1))


def adapt(learner, x, y):
    learner.adapt(nn.functional.mse_loss(learner(x[:10]), y[:10]))
    return nn.functional.mse_loss(learner(x[10:]), y[10:])


model = nn.Sequential(nn.Linear(1, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 1))
maml = MAML(model, lr=0.05)
optimizer = torch.optim.Adam(maml.parameters(), 0.01)
for _ in range(200):
    optimizer.zero_grad()
    adapt(maml.clone(), *task(0.0)).backward()
    optimizer.step()
points, wanted = task(0.0)


def error():
    """Measure the model as it stands on a training task, without changing it."""
    model.eval()
    with torch.no_grad():
        found = nn.functional.mse_loss(model(points), wanted).item()
    model.train()
    return found, model[1].num_batches_tracked.item()


def unchanged():
    return all(torch.equal(one, other) for one, other in zip(model.parameters(), parameters, strict=True))


parameters = [each.detach().clone() for each in model.parameters()]
before, batches = error()
for _ in range(20):
    adapt(copy.deepcopy(maml).clone(), *task(4.0))
copied, batches_copied = error()
assert unchanged() and (copied, batches_copied) == (before, batches)
for _ in range(20):
    adapt(maml.clone(), *task(4.0))
after, batches_after = error()
print(f"clones of a deep copy: error {before:.2f}, then {copied:.2f}; ", end="")
print(f"batches counted {batches}, then {batches_copied}")
print(f"clones: error {before:.2f}, then {after:.2f}; batches counted {batches}, then {batches_after}")
print(f"parameters unchanged: {unchanged()}")
assert unchanged() and batches_after == batches + 40 and after > 2 * before, "the behaviour has changed"
PYTHON
