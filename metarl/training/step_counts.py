"""Steps that a run or an evaluation will take, all episodes being full ones."""

from __future__ import annotations

from metarl.evaluation.evaluate import vector_steps
from metarl.meta_learner import plan_of
from metarl.training.experiment import Experiment


def remaining_vector_steps(experiment: Experiment) -> int:
    """Return the vector-environment steps of the rest of a run."""
    config, suite = experiment.config, experiment.suite
    iterations = range(experiment.iteration, config.iterations)
    # training, evaluations during it, and the one at its end
    brief = sum(experiment.evaluates_after(n + 1) for n in iterations)
    brief += not experiment.restored and experiment.evaluates_after(0)
    return (
        sum(_rollouts(experiment, n)[0] for n in iterations) * suite.horizon
        + brief
        * evaluation_steps(experiment, len(experiment.brief_tasks()), experiment.brief_adaptation_steps)
        + evaluation_steps(experiment, len(suite.tasks("test")), config.evaluation.adaptation_steps)
    )


def most_env_steps(experiment: Experiment) -> int:
    """Return the environment steps of the whole training."""
    episodes = sum(_rollouts(experiment, n)[1] for n in range(experiment.config.iterations))
    return episodes * experiment.suite.horizon


def evaluation_steps(experiment: Experiment, num_tasks: int, adaptation_steps: int) -> int:
    """Return an evaluation's vector-environment steps."""
    slots, horizon, trial = experiment.num_envs, experiment.suite.horizon, experiment.agent.trial
    return vector_steps(experiment.config.evaluation, num_tasks, adaptation_steps, slots, horizon, trial)


def _rollouts(experiment: Experiment, iteration: int) -> tuple[int, int]:
    """Return an iteration's numbers of rollouts and episodes."""
    agent, sampling = experiment.agent, experiment.config.sampling
    plan = plan_of(agent, iteration)
    if plan.collects == "nothing":
        return 0, 0
    steps = agent.adaptation_steps if plan.adaptation_steps is None else plan.adaptation_steps
    every = plan.collects == "all tasks"
    tasks = len(experiment.training_tasks.fixed) if every else sampling.meta_batch_size
    turns = -(-tasks // max(1, experiment.num_envs // sampling.episodes)) if every else 1
    return turns * (steps + 1), tasks * sampling.episodes * (steps + 1)
