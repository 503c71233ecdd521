#!/usr/bin/env bash
# SBX's set_parameters succeeds, demands an exact match, and leaves the agent with its random weights.
#
# Versions: sbx-rl 0.28.0, stable-baselines3 2.9.2, gymnasium 1.4.0, jax 0.10.2, torch 2.13.0 (CPU build),
# NumPy 2.4.6, Python 3.11.
# Who is hit: whoever starts an SBX agent from another's weights, as for fine-tuning, meta-learned starts,
# self-play or the best of several seeds: the results are those of training from nothing.
# Guess: SBX's agents have the interface of stable-baselines3, where set_parameters reads the weights of a
# saved agent, and raises an error where exact_match is on and a part of the agent is not in the file.
# Behaviour: SBX keeps its networks out of the list of parameters, which is what the base class saves, reads
# and checks by. The list is empty, so get_parameters returns an empty dictionary, and set_parameters has
# nothing to copy and nothing to miss. The class method load restores the networks, since they are
# part of the agent's pickled attributes.
# Output seen, "differs" is from the weights of the agent that was saved:
#   stable-baselines3: 3 groups of parameters, new agent differs True, after set_parameters False
#   SBX PPO: 0 groups of parameters, new agent differs True, after set_parameters True, after load False
#   SBX SAC: 0 groups of parameters, new agent differs True, after set_parameters True, after load False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check torch==2.13.0 \
    numpy==2.4.6 gymnasium==1.4.0 jax==0.10.2 jaxlib==0.10.2 stable-baselines3==2.9.2 sbx-rl==0.28.0
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import jax
import numpy as np
import sbx
import stable_baselines3 as sb3


def weights(agent):
    """Return the actor's weights in one row."""
    if isinstance(agent, sb3.PPO):
        return np.concatenate([each.detach().numpy().ravel() for each in agent.policy.parameters()])
    return np.concatenate([np.ravel(each) for each in jax.tree.leaves(agent.policy.actor_state.params)])


def compare(kind, task):
    """Save one agent, read it into another; return the number of groups and whether weights differ."""
    saved, new = (kind("MlpPolicy", task, seed=seed, device="cpu") for seed in (0, 1))
    saved.save("saved")
    goal = weights(saved)
    differs = [not np.allclose(weights(new), goal)]
    new.set_parameters("saved", exact_match=True)
    differs.append(not np.allclose(weights(new), goal))
    differs.append(not np.allclose(weights(kind.load("saved", device="cpu")), goal))
    return len(saved.get_parameters()), *differs


groups, before, after, loaded = compare(sb3.PPO, "Pendulum-v1")
print(f"stable-baselines3: {groups} groups of parameters,", end=" ")
print(f"new agent differs {before}, after set_parameters {after}")
assert groups and before and not after and not loaded
for kind in (sbx.PPO, sbx.SAC):
    groups, before, after, loaded = compare(kind, "Pendulum-v1")
    print(f"SBX {kind.__name__}: {groups} groups of parameters, new agent differs {before},", end=" ")
    print(f"after set_parameters {after}, after load {loaded}")
    assert before and not loaded
    assert groups == 0 and after, "the behaviour has changed"
PYTHON
