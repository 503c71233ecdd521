#!/usr/bin/env bash
# robosuite's sensor delay delays nothing, and at 30 Hz its undelayed observations are up to a whole control step old.
#
# Versions: robosuite 1.5.2, mujoco 3.3.0, NumPy 1.26.4, Python 3.11.
# Who is hit: whoever trains for a real robot's latency with create_deterministic_delayer and its kin has trained without,
# and whoever takes a control frequency that is no whole number of 2 ms steps has a latency that comes and goes.
# Guess: an observable that is delayed by 40 ms shows what was 40 ms ago, and one without a delay, sampled at the control
# frequency, shows what is when step() returns.
# Behaviour: the comparison of delay and time is the wrong way round: it holds from the first simulation step of a sampling
# period on, so the sample is taken there, at any delay. That reset() takes a sample of its own shifts the periods by one
# simulation step, so at 20 Hz this first step happens to be the last of a control step, and observations are right. Where the
# control step is not a whole number of simulation steps it is rounded down, the sampling period is not, and the two drift
# apart. Each look by _get_observations(force_update=True), as after setting a state, shifts the periods too.
# Output seen, age of the clock that step() returns, 40 steps of Lift with a Panda:
#   20 Hz: 0 to 0 ms
#   20 Hz, delay 40 ms: 0 to 0 ms
#   20 Hz, after 5 forced looks: 10 to 10 ms
#   30 Hz: 0 to 32 ms
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check robosuite==1.5.2 mujoco==3.3.0 \
    numpy==1.26.4
cd "$folder"
MUJOCO_GL=disabled "$folder/venv/bin/python" - <<'PYTHON' 2>"$folder/notes" || { cat "$folder/notes" >&2; exit 1; }
import numpy as np
import robosuite
from robosuite.utils.observables import Observable, create_deterministic_delayer, sensor


def ages(frequency, delay=0.0, looks=0):
    """Return the ages in ms of the observed clock over 40 control steps, and the largest error of the joints."""
    env = robosuite.make(
        "Lift",
        robots="Panda",
        control_freq=frequency,
        hard_reset=False,
        has_renderer=False,
        has_offscreen_renderer=False,
        use_camera_obs=False,
    )

    @sensor(modality="clock")
    def clock(cache):
        return env.sim.data.time

    env.add_observable(Observable(name="clock", sensor=clock, sampling_rate=frequency))
    for name in env.observation_names:
        env.modify_observable(name, "delayer", create_deterministic_delayer(delay))
    env.reset()
    for _ in range(looks):
        env._get_observations(force_update=True)
    action = np.zeros(env.action_dim)
    action[0] = 1.0
    seen, errors = [], []
    joints = env.robots[0]._ref_joint_pos_indexes
    for _ in range(40):
        observation, *_ = env.step(action)
        seen.append(1000.0 * (env.sim.data.time - observation["clock"]))
        errors.append(np.abs(env.sim.data.qpos[joints] - observation["robot0_joint_pos"]).max())
    env.close()
    return np.round(seen).astype(int), max(errors)


for name, case, low, high in (
    ("20 Hz", {"frequency": 20}, 0, 0),
    ("20 Hz, delay 40 ms", {"frequency": 20, "delay": 0.04}, 0, 0),
    ("20 Hz, after 5 forced looks", {"frequency": 20, "looks": 5}, 10, 10),
    ("30 Hz", {"frequency": 30}, 0, 32),
):
    milliseconds, error = ages(**case)
    print(f"{name}: {milliseconds.min()} to {milliseconds.max()} ms", flush=True)
    assert (milliseconds.min(), milliseconds.max()) == (low, high), "the behaviour has changed"
    assert (error == 0.0) == (high == 0)  # the robot's own observables go with the clock
PYTHON
