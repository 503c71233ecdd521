#!/usr/bin/env bash
# pip install --upgrade mujoco from 3.17 to 4.0 succeeds, and the package can no longer be imported.
#
# Versions: mujoco 3.17.0 to 4.0.0 (mujoco-core, mujoco-studio 4.0.0), NumPy 2.4.6, Python 3.11, Linux x86_64.
# Guess: pip upgrades mujoco as any package: it takes the old version away and puts the new one in its place.
# Behaviour: 4.0 is three distributions that write into one folder, mujoco/. pip installs the new mujoco-core before it
# takes the old mujoco away, and the old one's list of files has most of the core's: they go with it. pip reports
# success, and pip check finds nothing broken. Uninstalling mujoco before, or reinstalling mujoco-core after, mends it.
# Output seen:
#   pip install --upgrade: exit code 0; pip check: No broken requirements found.
#   import: ImportError: The 'mujoco' package is installed, but its core bindings ('mujoco-core') are missing or corrupted
#   after reinstalling mujoco-core: 4.0.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
python="$folder/env/bin/python"
pip() { "$python" -m pip --disable-pip-version-check "$@"; }
pip install --quiet --no-compile mujoco==3.17.0 numpy==2.4.6
"$python" -c 'import mujoco'
pip install --quiet --no-compile --upgrade mujoco==4.0.0
echo "pip install --upgrade: exit code $?; pip check: $(pip check)"
said=$("$python" -c 'import mujoco' 2>&1 | grep '^ImportError' | cut -d '(' -f 1,2 || true)
echo "import: $said"
[[ $said == *"core bindings ('mujoco-core') are missing or corrupted"* ]] || { echo "the behaviour has changed"; exit 1; }
pip install --quiet --no-compile --no-deps --force-reinstall mujoco-core==4.0.0
echo "after reinstalling mujoco-core: $("$python" -c 'import mujoco; print(mujoco.__version__)')"
