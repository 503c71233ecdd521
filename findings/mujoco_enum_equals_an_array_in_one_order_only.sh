#!/usr/bin/env bash
# A MuJoCo enum on the left of == is never equal to a model's number in newer MuJoCo, without an error.
#
# Versions: mujoco 3.8.1, 3.17.0, 4.0.0, NumPy 2.4.6, Python 3.11, Linux x86_64.
# Guess: mjtJoint.mjJNT_HINGE == model.jnt_type[0] says the same as the comparison the other way round, and so does
# membership, model.jnt_type[0] in (mjtJoint.mjJNT_HINGE, ...), which Python decides with the enum on the left.
# Behaviour: 3.8.1 says so. Under 3.17.0 and 4.0.0 the enum does not know NumPy's integers: all of these are False, also
# for a whole array, where one plain False comes back instead of an array, and a dictionary by enum does not find the
# number. The array on the left works in all, and so do Python's own integers (model.opt.solver). int() mends it.
# Output seen:
#   3.8.1: array == enum True, enum == array True, number in (enum,) True, found in a dict True
#   3.17.0: array == enum True, enum == array False, number in (enum,) False, found in a dict False
#   4.0.0: array == enum True, enum == array False, number in (enum,) False, found in a dict False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/program.py" <<'PYTHON'
import mujoco

model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><body><joint/><geom size='1'/></body></worldbody></mujoco>")
hinge, number = mujoco.mjtJoint.mjJNT_HINGE, model.jnt_type[0]
assert int(hinge) == int(number) and model.opt.solver in (mujoco.mjtSolver.mjSOL_NEWTON,)
found = (bool((model.jnt_type == hinge).all()), bool(hinge == number), number in (hinge,), number in {hinge: "a hinge"})
names = ("array == enum", "enum == array", "number in (enum,)", "found in a dict")
print(f"{mujoco.__version__}: " + ", ".join(f"{name} {value}" for name, value in zip(names, found, strict=True)))
same = mujoco.__version__ == "3.8.1"
assert found == (True, same, same, same), "the behaviour has changed"
assert same or (hinge == model.jnt_type) is False, "the behaviour has changed"
PYTHON
for version in 3.8.1 3.17.0 4.0.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
        "mujoco==$version" numpy==2.4.6
    "$folder/$version/bin/python" "$folder/program.py"
done
