#!/usr/bin/env bash
# MuJoCo ignores a new geom_pos or site_pos where the compiled one was the body's own; newer versions until mj_setConst.
#
# Versions: mujoco 3.3.0, 3.10.0, 3.17.0, 4.0.0, NumPy 2.4.6, Python 3.11, Linux x86_64.
# Guess: model.geom_pos and model.site_pos may be written between steps, as geom_size and geom_friction may, and
# mj_forward puts the geom there; at the latest after mj_setConst, which derives constants anew after an edit.
# Behaviour: the compiler notes in geom_sameframe and site_sameframe which positions equal their body's, and mj_forward
# copies those instead of reading geom_pos. So a geom that was compiled at its body's origin stays there whatever
# geom_pos says, and the same edit moves one that was compiled 1 mm aside. Up to 3.10.0 mj_setConst leaves it so; under
# 3.17.0 and 4.0.0 it updates the flag, and the geom jumps. A randomised position thus has no effect in some models and
# a full one in others, and the same program another effect under another version.
# Output seen, metres that a geom and a site have moved after both were told to move by 1:
#   3.3.0, at its body: 0.0 0.0; after mj_setConst 0.0 0.0
#   3.10.0, at its body: 0.0 0.0; after mj_setConst 0.0 0.0
#   3.17.0, at its body: 0.0 0.0; after mj_setConst 1.0 1.0
#   4.0.0, at its body: 0.0 0.0; after mj_setConst 1.0 1.0
#   and under each, 1 mm aside: 1.0 1.0; after mj_setConst 1.0 1.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/program.py" <<'PYTHON'
import mujoco

XML = """<mujoco><worldbody><body><joint/><inertial pos=".1 .2 .3" mass="1" diaginertia="1 1 1"/>
<geom size=".1" pos="{0} 0 0"/><site size=".1" pos="{0} 0 0"/></body></worldbody></mujoco>"""


def moved(offset: float) -> list[list[float]]:
    """Return how far geom and site moved, before and after mj_setConst."""
    model = mujoco.MjModel.from_xml_string(XML.format(offset))
    data = mujoco.MjData(model)
    model.geom_pos[0, 0] += 1.0
    model.site_pos[0, 0] += 1.0
    found = []
    for derive in (False, True):
        if derive:
            mujoco.mj_setConst(model, data)
        mujoco.mj_forward(model, data)
        found.append([round(float(x) - offset, 6) for x in (data.geom_xpos[0, 0], data.site_xpos[0, 0])])
    return found


newer = mujoco.__version__ in ("3.17.0", "4.0.0")
for name, offset, expected in (("at its body", 0.0, [0.0, float(newer)]), ("1 mm aside", 0.001, [1.0, 1.0])):
    (geom, site), (later_geom, later_site) = moved(offset)
    print(f"{mujoco.__version__}, {name}: {geom} {site}; after mj_setConst {later_geom} {later_site}")
    assert [[geom, site], [later_geom, later_site]] == [[each] * 2 for each in expected], "the behaviour has changed"
PYTHON
for version in 3.3.0 3.10.0 3.17.0 4.0.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
        "mujoco==$version" numpy==2.4.6
    "$folder/$version/bin/python" "$folder/program.py"
done
