#!/usr/bin/env bash
# MuJoCo misses contacts of a geom that grew, if its body has a second geom; older versions even after mj_setConst.
#
# Versions: mujoco 3.3.0, 3.10.0, 3.17.0, 4.0.0, NumPy 2.4.6, Python 3.11, Linux x86_64.
# Guess: whoever randomises sizes writes geom_size, and perhaps geom_rbound and geom_aabb, which MuJoCo's documentation
# says are derived from it; mj_setConst after the edit does the rest. What holds for one body holds for all.
# Behaviour: that is enough for a body with a single geom. Bodies with several geoms are first culled by bvh_aabb, a
# tree of boxes that the compiler writes. Up to 3.10.0 mj_setConst does not touch it; under 3.17.0 and 4.0.0 it does. So
# a ball inside a post that grew six times is not touched by it once the post's body also has a second geom, metres away,
# and no warning is given. Switching off the mid phase (mjDSBL_MIDPHASE) finds the contact under every version.
# Output seen, number of contacts with a post that is alone in its body, and with one that has a sibling:
#   3.3.0: geom_size 0 0, geom_rbound and geom_aabb too 1 0, mj_setConst 1 0, no mid phase 1 1
#   3.10.0: geom_size 0 0, geom_rbound and geom_aabb too 1 0, mj_setConst 1 0, no mid phase 1 1
#   3.17.0: geom_size 0 0, geom_rbound and geom_aabb too 1 0, mj_setConst 1 1, no mid phase 1 1
#   4.0.0: geom_size 0 0, geom_rbound and geom_aabb too 1 0, mj_setConst 1 1, no mid phase 1 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/program.py" <<'PYTHON'
import mujoco

XML = """<mujoco><worldbody><body pos="0 0 1"><geom name="post" size=".05"/>{sibling}</body>
<body pos=".28 0 1"><freejoint/><geom size=".05"/></body></worldbody></mujoco>"""


def contacts(sibling: str) -> dict[str, int]:
    """Return the number of contacts after each edit, all of which stay."""
    model = mujoco.MjModel.from_xml_string(XML.format(sibling=sibling))
    data = mujoco.MjData(model)
    post, found = model.geom("post").id, {}

    def look(edit: str) -> None:
        mujoco.mj_forward(model, data)
        found[edit] = data.ncon

    model.geom_size[post, 0] = 0.3
    look("geom_size")
    model.geom_rbound[post] = 0.3
    model.geom_aabb[post] = [0, 0, 0, 0.3, 0.3, 0.3]
    look("geom_rbound and geom_aabb too")
    mujoco.mj_setConst(model, data)
    look("mj_setConst")
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_MIDPHASE)
    look("no mid phase")
    return found


alone, together = contacts(""), contacts('<geom size=".05" pos="0 2 0"/>')
print(mujoco.__version__ + ":", ", ".join(f"{edit} {alone[edit]} {together[edit]}" for edit in alone))
assert list(alone.values()) == [0, 1, 1, 1], "the behaviour has changed"
newer = mujoco.__version__ in ("3.17.0", "4.0.0")
assert list(together.values()) == [0, 0, int(newer), 1], "the behaviour has changed"
PYTHON
for version in 3.3.0 3.10.0 3.17.0 4.0.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
        "mujoco==$version" numpy==2.4.6
    "$folder/$version/bin/python" "$folder/program.py"
done
