#!/usr/bin/env bash
# Comparing a float32 scalar with a Python float beyond its range warns of an overflow, or raises where warnings do.
#
# Versions: NumPy 2.4.6, Python 3.11.
# Guess: 1.0 <= 1e77 is a comparison of two numbers; nothing overflows, so a bound such as 1e77 is a safe "no bound",
# for scalars as for arrays.
# Behaviour: under NEP 50 the Python float takes the scalar's type, is cast to float32, becomes infinite and warns. With
# warnings as errors the comparison raises. The same number as np.float64 is compared exactly and in silence. So a
# float32 action or reward read out of an array meets it, and the float() of it does not.
# Output seen:
#   np.float32(1) <= 1e77: True, RuntimeWarning, overflow encountered in cast
#   np.float32(1) <= np.float64(1e77): True, no warning
#   float(np.float32(1)) <= 1e77: True, no warning
#   np.float32("inf") <= 1e77: True, RuntimeWarning, overflow encountered in cast
# The last answer is wrong, so a check of a float32 infinity against a large finite bound lets it pass.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import numpy as np


def told(compare):
    """Return the answer of a comparison and the warning that came with it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answer = bool(compare())
    return answer, [f"{each.category.__name__}, {each.message}" for each in caught]


one, inf = np.float32(1), np.float32("inf")
cases = {
    "np.float32(1) <= 1e77": lambda: one <= 1e77,
    "np.float32(1) <= np.float64(1e77)": lambda: one <= np.float64(1e77),
    "float(np.float32(1)) <= 1e77": lambda: float(one) <= 1e77,
    'np.float32("inf") <= 1e77': lambda: inf <= 1e77,
}
found = {name: told(compare) for name, compare in cases.items()}
for name, (answer, caught) in found.items():
    print(f"{name}: {answer}, {'; '.join(caught) or 'no warning'}")
answers = [answer for answer, _ in found.values()]
warned = [bool(caught) for _, caught in found.values()]
assert warned == [True, False, False, True], "the behaviour has changed"
assert answers == [True, True, True, True], "the behaviour has changed"
PYTHON
