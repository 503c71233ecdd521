#!/usr/bin/env bash
# From PyTorch 2.14 on the slope of clamp is 0 at its bounds, so a parameter that is clipped to a bound stays there for good.
#
# Versions: torch 2.13.0 and 2.14.1, Python 3.11, Linux x86_64. The second download is large: 2.14.1 brings CUDA's libraries.
# Who is hit: whoever keeps a parameter within bounds by clipping it after each step and clamping it in the forward pass, as
# policies do with the logarithm of their deviation. Since 2018 the slope at a bound was 1; it changed with
# https://github.com/pytorch/pytorch/pull/191142, in silence: the values stay the same, and the bound becomes a trap.
# Guess: projected gradient descent leaves a bound as soon as the gradient points inwards, under any version of a library.
# Behaviour: under 2.13.0 the parameter comes back to its optimum; under 2.14.1 it never moves again. Bounds given as
# tensors are another case: there 2.14.1 halves the slope, and the parameter comes back half as fast.
# Output seen:
#   torch 2.13.0: slope at the bounds 1.0 1.0, tensors 1.0; after 50 steps that pull inwards 0.92
#   torch 2.14.1: slope at the bounds 0.0 0.0, tensors 0.5; after 50 steps that pull inwards 0.00
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 2.13.0 2.14.1; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/python" -m pip install --quiet --disable-pip-version-check "torch==$version" numpy==2.4.6
    "$folder/$version/bin/python" - <<'PYTHON'
import torch


def slope(function, at):
    value = torch.tensor(at, requires_grad=True)
    function(value).backward()
    return value.grad.item()


version = torch.__version__.split("+")[0]
low, high = (slope(lambda value: value.clamp(0.0, 1.0), bound) for bound in (0.0, 1.0))
tensors = slope(lambda value: value.clamp(torch.tensor(0.0), torch.tensor(1.0)), 0.0)

# projected descent to 0.92, within 0 and 1: the first step overshoots the lower bound, all others pull inwards
parameter = torch.tensor(0.3, requires_grad=True)
for step in range(51):
    target = -100.0 if step == 0 else 0.92
    ((parameter.clamp(0.0, 1.0) - target) ** 2).backward()
    with torch.no_grad():
        parameter.sub_(0.1 * parameter.grad).clamp_(0.0, 1.0)
    parameter.grad = None

end = parameter.item()
print(f"torch {version}: slope at the bounds {low} {high}, tensors {tensors}; after 50 steps that pull inwards {end:.2f}")
seen = (low, high, tensors, round(end, 2))
expected = {"2.13.0": (1.0, 1.0, 1.0, 0.92), "2.14.1": (0.0, 0.0, 0.5, 0.0)}[version]
assert seen == expected, f"the behaviour has changed: {seen}"
PYTHON
done
