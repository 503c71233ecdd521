#!/usr/bin/env bash
# Gymnasium-Robotics' hand calls an object that lies exactly as its goal a failure, after a turn by the shorter way.
#
# Versions: gymnasium-robotics 1.4.2, gymnasium 1.4.0, mujoco 3.3.0, NumPy 2.4.6, Python 3.11.
# Guess: the rotation distance of HandManipulateBlock and its kin is the angle between two orientations, 0 to pi, and an
# object with the goal's orientation is at distance 0: is_success is 1.
# Behaviour: it is twice the arc cosine of the quaternions' product, without its absolute value, so it runs to 2 pi and
# depends on the sign, which no picture shows: q and -q are the same orientation. MuJoCo integrates the sign on from the
# reset, where it is as random as the goal's. In a fifth of the episodes the goal is more than pi away by this
# count. There an object that is turned the shorter way ends in the goal's orientation with is_success 0 and, with the
# dense reward, a distance of 2 pi, the greatest there is; only the longer way, more than half a turn, succeeds. So does
# a full turn in the hand take success away. Results are lower than what was achieved, and relabelled goals of
# hindsight replay differ in meaning from those of the environment.
# Output seen:
#   HandManipulateBlockRotateXYZ-v1: 10 of 50 goals beyond pi; success by the shorter way 0 (distance 6.28), longer 10
#   HandManipulateEggRotate-v1: 10 of 50 goals beyond pi; success by the shorter way 0 (distance 6.28), longer 10
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check gymnasium-robotics==1.4.2 \
    gymnasium==1.4.0 mujoco==3.3.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON' 2>"$folder/notes" || { cat "$folder/notes" >&2; exit 1; }
import gymnasium
import gymnasium_robotics
import mujoco
import numpy as np

gymnasium.register_envs(gymnasium_robotics)


def turn(hand, start, goal):
    """Let MuJoCo turn the object at a constant rate from one quaternion to another; return the achieved goal."""
    joint = hand.model.joint("object:joint")
    position, velocity = joint.qposadr[0], joint.dofadr[0]
    rate = np.empty(3)
    back = start * [1.0, -1.0, -1.0, -1.0]
    relative = np.empty(4)
    mujoco.mju_mulQuat(relative, back, goal)
    # the rotation vector that leads to this sign of the goal, not to the nearer one
    angle = 2.0 * np.arctan2(np.linalg.norm(relative[1:]), relative[0])
    rate[:] = angle * relative[1:] / np.linalg.norm(relative[1:])
    hand.data.qpos[position + 3 : position + 7] = start
    motion = np.zeros(hand.model.nv)
    motion[velocity + 3 : velocity + 6] = rate
    for _ in range(100):
        mujoco.mj_integratePos(hand.model, hand.data.qpos, motion, 0.01)
    mujoco.mj_forward(hand.model, hand.data)
    achieved = hand._get_obs()["achieved_goal"]
    # the same orientation as the goal's, whatever the sign
    assert abs(achieved[3:] @ goal) > 1.0 - 1e-9
    return achieved


for name in ("HandManipulateBlockRotateXYZ-v1", "HandManipulateEggRotate-v1"):
    env = gymnasium.make(name)
    hand = env.unwrapped
    far, short, long, distances = 0, 0, 0, []
    for seed in range(50):
        observation, _ = env.reset(seed=seed)
        achieved, desired = observation["achieved_goal"], observation["desired_goal"]
        if hand._goal_distance(achieved, desired)[1] <= np.pi:
            continue
        far += 1
        by_short = turn(hand, achieved[3:], -desired[3:])
        short += int(hand._is_success(by_short, desired))
        distances.append(float(hand._goal_distance(by_short, desired)[1]))
        assert hand.compute_reward(by_short, desired, {}) == -1.0
        long += int(hand._is_success(turn(hand, achieved[3:], desired[3:]), desired))
    print(
        f"{name}: {far} of 50 goals beyond pi; success by the shorter way {short}"
        f" (distance {min(distances):.2f}), longer {long}"
    )
    assert far >= 5 and short == 0 and long == far and min(distances) > 6.28, "the behaviour has changed"
PYTHON
