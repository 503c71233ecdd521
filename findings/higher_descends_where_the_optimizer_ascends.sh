#!/usr/bin/env bash
# higher's differentiable inner loop goes downhill with an optimizer that was made with maximize=True.
#
# Versions: higher 0.2.1, torch 2.13.0 (CPU build), NumPy 2.4.6, Python 3.11.
# Who is hit: whoever meta-learns through an inner loop that maximises a return, as policies are adapted: each inner step
# lowers it, and the outer loop, which is right, can only learn weights that such steps harm least. Nothing is said.
# Guess: innerloop_ctx(model, optimizer) takes over the optimizer's settings, lr, momentum and weight decay among them, does
# the same steps differentiably, and refuses what it does not know, as it refuses AdamW.
# Behaviour: it knows the settings of the torch that it was written for. It copies all groups, reads the names that it knows
# and passes over newer ones: maximize is ignored in SGD and Adam, so the step has the wrong sign, and Adam's
# decoupled_weight_decay is, so the decay is part of the gradient as in plain Adam. The same return with its sign turned
# by hand is adapted to as by torch.
# Output seen, weight after 3 steps from 0 on a return that is highest at 3:
#   SGD on the negative return: torch 1.46, higher 1.46
#   SGD maximize on the return: torch 1.46, higher -2.18
#   Adam maximize on the return: torch 0.30, higher -0.30
#   Adam with decoupled decay of 0.01, flat return, from 3: torch 2.99, higher 2.70
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check torch==2.13.0 numpy==2.4.6 \
    higher==0.2.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import higher
import torch

BEST = 3.0


def negative(weight):
    return (weight - BEST).square().sum()


def positive(weight):
    return -negative(weight)


def flat(weight):
    return 0.0 * weight.sum()


def made(optimizer, start, settings):
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, start)
    return model, optimizer(model.parameters(), lr=0.1, **settings)


def compare(name, optimizer, objective, start=0.0, **settings):
    """Return the weight after three steps by the optimizer itself and by higher's version of it."""
    model, plain = made(optimizer, start, settings)
    for _ in range(3):
        plain.zero_grad()
        objective(model.weight).backward()
        plain.step()
    by_torch = model.weight.item()
    model, plain = made(optimizer, start, settings)
    with higher.innerloop_ctx(model, plain) as (adapted, inner):
        for _ in range(3):
            inner.step(objective(adapted.weight))
        by_higher = adapted.weight.item()
    print(f"{name}: torch {by_torch:.2f}, higher {by_higher:.2f}", flush=True)
    return by_torch, by_higher


by_torch, by_higher = compare("SGD on the negative return", torch.optim.SGD, negative)
assert abs(by_torch - by_higher) < 1e-5 and by_torch > 1.0
for name, optimizer in (("SGD", torch.optim.SGD), ("Adam", torch.optim.Adam)):
    by_torch, by_higher = compare(f"{name} maximize on the return", optimizer, positive, maximize=True)
    assert by_torch > 0.2 and by_higher < -0.2, "the behaviour has changed"
decay = {"weight_decay": 0.01, "decoupled_weight_decay": True}
name = "Adam with decoupled decay of 0.01, flat return, from 3"
by_torch, by_higher = compare(name, torch.optim.Adam, flat, start=BEST, **decay)
assert by_torch > 2.98 and by_higher < 2.75, "the behaviour has changed"
PYTHON
