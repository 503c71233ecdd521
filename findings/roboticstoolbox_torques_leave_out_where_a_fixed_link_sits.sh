#!/usr/bin/env bash
# The Robotics Toolbox's torques of a URDF leave out the offset of a fixed link that carries a joint.
#
# Versions: roboticstoolbox-python 1.5.0, spatialmath-python 1.1.18, NumPy 2.4.6, Python 3.11.
# Who is hit: torques of rne, gravload, inertia, coriolis and forward dynamics of any URDF with an adapter,
# a flange or a tilted base between two joints, or with two things screwed to one link. Of the toolbox's own
# robots FrankieOmni and the px, rx, vx and wx arms have such links.
# Guess: gravload(q) is the slope of the robot's potential energy in q, where the heights of the masses are
# those that fkine of the same robot says.
# Behaviour: rne keeps one frame per joint and puts the masses of the fixed links into it. The next joint
# starts from that frame, not from the fixed link that it is mounted on, so everything beyond it pulls at
# too short a lever; below the first joint the fixed links are dropped with their tilt. Among the fixed
# links of one joint each is placed behind the one before, also where both are fixed to the same link. fkine
# is right in all cases, and so are the torques where the same offset is written in the joint itself.
# Output seen, torque of the first joint in Nm that holds the arm at rest:
#   offset in the second joint: gravload -6.56, by fkine's heights -6.56
#   offset in a fixed link before it: gravload -2.81, by fkine's heights -6.56
#   base tilted by 0.5 in a fixed link: gravload -1.87, by fkine's heights -1.37
#   two cameras on one link: gravload -7.50, by fkine's heights -5.62
#   one camera of twice the mass: gravload -5.62, by fkine's heights -5.62
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    numpy==2.4.6 spatialmath-python==1.1.18 roboticstoolbox-python==1.5.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
from pathlib import Path

import numpy as np
import roboticstoolbox

GRAVITY = 9.81
REVOLUTE = '<axis xyz="0 1 0"/><limit lower="-3" upper="3" effort="100" velocity="10"/>'


def link(name, mass=0.0, x=0.0):
    """Describe a link with its mass at a distance along its x axis."""
    inertia = '<inertia ixx="0.01" iyy="0.01" izz="0.01" ixy="0" ixz="0" iyz="0"/>'
    body = f'<origin xyz="{x} 0 0"/><mass value="{mass}"/>{inertia}'
    return f'<link name="{name}"><inertial>{body}</inertial></link>'


def joint(kind, parent, child, place, turn="0 0 0"):
    limits = REVOLUTE if kind == "revolute" else ""
    ends = f'<parent link="{parent}"/><child link="{child}"/><origin xyz="{place}" rpy="{turn}"/>'
    return f'<joint name="{parent}_{child}" type="{kind}">{ends}{limits}</joint>'


BASE, UPPER, LOWER = link("base", 1), link("upper", 1, 0.2), link("lower", 1, 0.1)
ARM = BASE + UPPER + joint("revolute", "base", "upper", "0 0 0.1")
ROBOTS = {
    "offset in the second joint": ARM + LOWER + joint("revolute", "upper", "lower", "0.4 0 0"),
    "offset in a fixed link before it": ARM
    + LOWER
    + link("adapter")
    + joint("fixed", "upper", "adapter", "0.4 0 0")
    + joint("revolute", "adapter", "lower", "0 0 0"),
    "base tilted by 0.5 in a fixed link": BASE
    + UPPER
    + link("wedge")
    + joint("fixed", "base", "wedge", "0 0 0.1", "0 0.5 0")
    + joint("revolute", "wedge", "upper", "0 0 0"),
    "two cameras on one link": ARM
    + link("left", 0.5)
    + link("right", 0.5)
    + joint("fixed", "upper", "left", "0.4 0 0")
    + joint("fixed", "upper", "right", "0.4 0 0"),
    "one camera of twice the mass": ARM + link("camera", 1) + joint("fixed", "upper", "camera", "0.4 0 0"),
}


def energy(robot, angles):
    """Potential energy by the heights of the links' centres of mass."""
    frames = ((each, robot.fkine(angles, end=each)) for each in robot.links)
    return sum(GRAVITY * each.m * (frame.R @ each.r + frame.t)[2] for each, frame in frames)


found = {}
for name, parts in ROBOTS.items():
    Path("robot.urdf").write_text(f'<robot name="arm">{parts}</robot>')
    robot = roboticstoolbox.Robot.URDF(str(Path("robot.urdf").resolve()))
    angles = np.array([0.3, -0.6])[: robot.n]
    step = np.eye(robot.n)[0] * 1e-5
    slope = (energy(robot, angles + step) - energy(robot, angles - step)) / 2e-5
    found[name] = torque, slope = robot.gravload(angles)[0], slope
    print(f"{name}: gravload {torque:.2f}, by fkine's heights {slope:.2f}")

right = {"offset in the second joint", "one camera of twice the mass"}
for name, (torque, slope) in found.items():
    assert np.isclose(torque, slope, atol=1e-3) == (name in right), f"the behaviour has changed: {name}"
slopes = [slope for _, slope in found.values()]
assert np.isclose(slopes[0], slopes[1]) and np.isclose(slopes[3], slopes[4]), "these are the same robots"
PYTHON
