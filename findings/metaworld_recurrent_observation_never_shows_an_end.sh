#!/usr/bin/env bash
# Meta-World's observation for recurrent meta-RL never shows the policy that an episode ended, nor its last reward.
#
# Versions: metaworld 3.1.1, mujoco 3.3.0, gymnasium 1.4.0, NumPy 2.4.6, packaging 25.0, Python 3.11.
# Guess: recurrent_info_in_obs=True appends the previous action, reward and done flag to the observation, as RL2 defines
# its input, so the flag is 1 once an episode and tells the policy where in its trial it stands.
# Behaviour: the vector resets within the step that ends an episode (SAME_STEP, the constructors' default), and a reset
# appends zeros. The flag's 1, the last action and the last reward go into infos["final_obs"] alone; in the evaluation,
# where success ends an episode, that is the reward for success. What the policy acts on has zeros in their place. With
# autoreset_mode="NextStep" it sees all three, at the price of a step without effect in each episode.
# Output seen, four episodes of five steps:
#   SameStep: flags that are 1 in what the policy sees 0 of 4, last rewards seen 0 of 4, flags in final_obs 4
#   NextStep: flags that are 1 in what the policy sees 4 of 4, last rewards seen 4 of 4, flags in final_obs 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check metaworld==3.1.1 mujoco==3.3.0 \
    "gymnasium[mujoco]==1.4.0" numpy==2.4.6 packaging==25.0
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import metaworld
import numpy as np

EPISODES, STEPS = 4, 5
warnings.simplefilter("ignore")


def count(mode):
    envs = metaworld.make_ml_envs_train(
        "reach-v3", seed=0, meta_batch_size=1, max_episode_steps=STEPS, recurrent_info_in_obs=True, autoreset_mode=mode
    )
    envs.call("sample_tasks")
    envs.reset()
    ended = flags = rewards = final_flags = 0
    while ended < EPISODES:
        seen, paid, terminated, truncated, infos = envs.step(np.full((1, 4), 0.5, np.float32))
        if (terminated | truncated)[0]:
            ended += 1
            rewards += bool(np.isclose(seen[0, -2], paid[0] / 10))  # it shows a tenth of the reward
        flags += int(seen[0, -1] == 1)
        if "final_obs" in infos:
            final_flags += int(infos["final_obs"][0][-1] == 1)
    envs.close()
    print(
        f"{mode}: flags that are 1 in what the policy sees {flags} of {ended}, last rewards seen {rewards} of {ended}, "
        f"flags in final_obs {final_flags}"
    )
    return flags, rewards, final_flags


assert count("SameStep") == (0, 0, EPISODES), "the behaviour has changed"
assert count("NextStep") == (EPISODES, EPISODES, 0), "the behaviour has changed"
PYTHON
