"""One run: training, logging, evaluation and checkpoints, which goes on after a stop.

Every random number of iteration n comes from a stream that is a function of (seed, purpose, n), and every
episode begins with a reset to a seed. So nothing random outlives an iteration, and the agent's state and
the counters are all that a checkpoint needs for the run to go on, bit for bit, as if it had never stopped.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from metarl.config import ExperimentConfig, to_json
from metarl.errors import MetarlError, Stopped, require
from metarl.evaluation.evaluate import evaluate, slots_needed
from metarl.evaluation.physics import Physics, physics_of
from metarl.evaluation.record import Evaluation
from metarl.evaluation.summary import summarize
from metarl.functional.random_streams import Purpose, make_rng
from metarl.meta_learner import (
    Inputs,
    MetaLearner,
    check_device,
    check_learner,
    inputs_at_start,
    plan_of,
    state_of,
    steps_to_adapt,
)
from metarl.rollouts.tally import (
    FitsBaseline,
    Limits,
    Tally,
    count_iteration,
    sampled_inputs,
    tally_from_json,
)
from metarl.spaces import action_size, observation_size
from metarl.storage.checkpoint_files import Checkpoint
from metarl.storage.checkpoints import save
from metarl.storage.files import write_json
from metarl.storage.locks import locked
from metarl.storage.metrics import MetricsLog, read_metrics
from metarl.storage.run_folder import CHECKPOINTS, CONFIG, forget_evaluation
from metarl.system.ranks import Ranks, own_device
from metarl.system.sharing import sharing, slots_here
from metarl.system.threads import one_thread, stoppable, use_threads
from metarl.tasks import TaskDistribution, check_disjoint, sample_evenly
from metarl.text import count
from metarl.training.best_so_far import BestSoFar
from metarl.training.divergence import check_loaded, check_update, naming_agent, taking_state
from metarl.training.loggers import Logger, find_loggers, opened
from metarl.training.meta_iteration import meta_iteration
from metarl.training.notices import (
    Notices,
    baseline_notice,
    evaluation_notices,
    filling_notice,
    kl_limit,
    running_notices,
    training_notices,
)
from metarl.training.observers import HearsNotices, Observer
from metarl.training.replicas import check_replicas, traffic_metrics
from metarl.training.training_tasks import TrainingTasks
from metarl.training.warm_start import start_from
from metarl.types import Task
from metarl.vector_env import TaskVectorEnv

logger = logging.getLogger(__name__)

MAX_TRANSITIONS = 100_000_000
"""Most transitions of one rollout in memory; the largest published meta-batches have 0.5 million."""
_ADAPTATION_EPISODES = "--evaluation.adaptation-episodes, --adaptation-episodes of metarl evaluate"


class Experiment:
    """A run in its folder of ``metrics.jsonl``, ``tensorboard/`` and ``checkpoints/``."""

    def __init__(self, config: ExperimentConfig, folder: Path, observers: Sequence[Observer] = ()) -> None:
        self.config, self.folder = config, folder
        self.observers = list(observers)  # called in this order; more may be added at any time
        self.suite: TaskDistribution = config.build_suite()
        check_disjoint(self.suite)
        transitions = self.num_envs * self.suite.horizon
        require(
            transitions <= MAX_TRANSITIONS,
            f"tasks x episodes x horizon must be at most {MAX_TRANSITIONS}",
            transitions,
        )
        self.training_tasks = TrainingTasks(self.suite, config.sampling.training_tasks, config.seed)
        device = own_device(config.device)
        with one_thread():  # the last bits of orthogonal weights depend on the number of threads
            self.agent: MetaLearner = config.agent.build(
                self.suite, seed=config.seed, device=device, sampling=config.sampling
            )
        with naming_agent(config.agent):
            check_learner(self.agent)
            check_device(self.agent, device)
            self.training_tasks.check(self.agent, config.iterations)
        self.iteration, self.env_steps, self.elapsed = 0, 0, 0.0
        self.tally = Tally()
        self.ranks: Ranks | None = None
        """The processes that share the work, see :meth:`share_among`; None in one process."""
        self.restored = False  # whether the run goes on from a checkpoint
        self._stop = False
        self._finished: Checkpoint | None = None
        self._make_loggers = find_loggers(config.loggers)
        self._loggers: list[Logger] = []
        self._physics: tuple[TaskDistribution, Physics] | None = None  # the models' sums take a while
        self._best = BestSoFar()

    @property
    def num_envs(self) -> int:
        """Slots for a meta-batch or a task's evaluation."""
        sampling = self.config.sampling
        return max(sampling.meta_batch_size * sampling.episodes, slots_needed(self.config.evaluation))

    @property
    def physics(self) -> Physics:
        """Engine, MuJoCo's version and sums of models."""
        engine = self.config.sampling.engine
        known = self._physics
        if known is None or known[0] is not self.suite or known[1]["engine"] != engine:
            known = self._physics = self.suite, physics_of(self.suite, engine)
        return known[1]

    @property
    def brief_adaptation_steps(self) -> int:
        """Adaptation steps of evaluations during training."""
        return steps_to_adapt(self.agent)

    @property
    def saved_iteration(self) -> int:
        """Last finished iteration that will not be lost."""
        return self._finished.iteration if self._finished is not None else 0

    @property
    def writes(self) -> bool:
        """Whether this process writes the run's files; of several ranks the first does."""
        return self.ranks is None or self.ranks.is_first

    def share_among(self, ranks: Ranks | None) -> None:
        """Share the work among ranks, all of which call this; None changes nothing.

        Raises:
            MetarlError: if there are more ranks than tasks, or the training may end early.
        """
        if ranks is None:
            return
        tasks = self.config.sampling.meta_batch_size
        require(
            ranks.size <= tasks,
            f"There must be at most {tasks} ranks, one a task of the meta-batch",
            ranks.size,
        )
        patience = self.config.evaluation.patience
        require(patience == 0, "Only one process ends early, so --evaluation.patience must be 0", patience)
        self.ranks = ranks

    def request_stop(self) -> None:
        """Stop before the next step; :meth:`run` saves and raises Stopped."""
        self._stop = True

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint.

        Raises:
            MetarlError: if it belongs to another architecture, has diverged, or has no run's counters.
        """
        source = f"{self.config.agent.kind} after {checkpoint.iteration} iterations"
        mend = "Take an earlier checkpoint, RUN/checkpoints/N."
        with naming_agent(self.config.agent), taking_state(self.config.agent, f"of {source}"):
            self.agent.load_state(checkpoint.agent)
            check_loaded(self.agent, self._blank_inputs(), source, mend)
        self.iteration = checkpoint.iteration
        try:
            self.env_steps = int(str(checkpoint.progress["env_steps"]))
            self.elapsed = float(str(checkpoint.progress["elapsed_seconds"]))
        except (KeyError, ValueError) as error:
            raise MetarlError(f"The checkpoint has no usable counters: {checkpoint.progress}.") from error
        self.tally = tally_from_json(checkpoint.progress.get("tally"))
        self.restored = True

    def initialize(self) -> None:
        """Initialise from the config's run or policy file; an unfit one raises ``MetarlError``."""
        if self.config.init_from:
            source, mend = f"of {self.config.init_from}", "Take another file."
            with taking_state(self.config.agent, source):
                start_from(self.agent, self.config.agent, Path(self.config.init_from))
                check_loaded(self.agent, self._blank_inputs(), source, mend)

    def _blank_inputs(self) -> Inputs:
        observed = torch.zeros(1, 1, observation_size(self.suite.observation_space))
        return inputs_at_start(observed, action_size(self.suite.action_space))

    def run(self) -> Evaluation:
        """Train, then evaluate on every test task.

        Raises:
            Stopped: after :meth:`request_stop`; the last iteration that was finished is saved.
            MetarlError: if an environment or an agent in a file misbehaves (likewise saved), if the disk
                is full (the last checkpoint stands), or if another process has the run.
        """
        with (
            locked(self.folder) if self.writes else nullcontext(),
            use_threads(self._of_count(self.config.threads)),
            sharing(self.ranks, self.num_envs),
            naming_agent(self.config.agent),
            closing(self.make_env()) as env,
        ):
            try:
                self._train(env)
                return self.test(env, self.suite.tasks("test"), make_rng(self.config.seed, Purpose.TEST))
            except (Exception, SystemExit):
                if self._finished is not None:
                    self._save(self._finished)
                raise

    def make_env(self) -> TaskVectorEnv:
        """Build the vector environment; the caller closes it."""
        sampling = self.config.sampling
        of_task = sampling.episodes, slots_needed(self.config.evaluation, self.agent.trial)
        return self.suite.make_vector_env(
            slots_here(self.ranks, self.num_envs, of_task),
            engine=sampling.engine,
            num_workers=self._of_count(sampling.workers),
        )

    def _of_count(self, workers: int) -> int:
        """Return this process's part of a number of threads or processes."""
        return workers if self.ranks is None else self.ranks.of_count(workers)

    def test(
        self,
        env: TaskVectorEnv,
        tasks: Sequence[Task],
        rng: np.random.Generator,
        adaptation_steps: int | None = None,
    ) -> Evaluation:
        """Evaluate on tasks, after the config's adaptation steps unless others are given."""
        how = self.config.evaluation
        with naming_agent(self.config.agent), stoppable(lambda: self._stop):
            return evaluate(
                self.agent,
                env,
                tasks,
                how,
                adaptation_steps=how.adaptation_steps if adaptation_steps is None else adaptation_steps,
                horizon=self.suite.horizon,
                rng=rng,
                on_step=self.on_step,
            )

    @property
    def baseline_features(self) -> int:
        """Number of the baseline's features; 0 without one."""
        if not isinstance(self.agent, FitsBaseline):
            return 0
        return self.agent.baseline_features(observation_size(self.suite.observation_space))

    @property
    def _limits(self) -> Limits:
        return Limits(self.baseline_features, kl_limit(self.config.agent))

    def training_notices(self) -> Notices:
        """Return the training's notices so far; see :mod:`metarl.training.notices`."""
        success = self.suite.reports_success
        return training_notices(self.tally, self.config.agent, self.baseline_features, success)

    def evaluation_notices(self, evaluation: Evaluation) -> Notices:
        """Return what must be known of an evaluation."""
        config, horizon = self.config.evaluation, self.suite.horizon
        features = self.baseline_features if evaluation.adaptation_steps else 0
        return evaluation_notices(
            evaluation.counts,
            success=self.suite.reports_success,
            measured_success=evaluation.successes is not None,
            horizon=horizon,
        ) | baseline_notice(features, config.adaptation_episodes, horizon, _ADAPTATION_EPISODES)

    def _give(self, notices: Notices) -> None:
        """Give notices while the run goes on."""
        hearers = [observer for observer in self.observers if isinstance(observer, HearsNotices)]
        for name, sentence in notices.items():
            for hearer in hearers:
                hearer.on_notice(sentence)
            if not hearers and self.writes:
                logger.warning("%s", sentence)
            self.tally = replace(self.tally, said=(*self.tally.said, name))

    def _train(self, env: TaskVectorEnv) -> None:
        """Train with open logs, going on with those of a restored run."""
        resume_after = self.iteration if self.restored else -1
        makers = self._make_loggers if self.writes else ()
        with (
            closing(MetricsLog(self.folder, resume_after)) if self.writes else nullcontext() as log,
            opened(makers, self.config, self.folder) as self._loggers,
        ):
            for row in read_metrics(self.folder) if self.restored and self.writes else []:
                self._best.rate(row)
            self._meta_train(env, log)

    def _meta_train(self, env: TaskVectorEnv, log: MetricsLog | None) -> None:
        if "baseline" not in self.tally.said:
            episodes, horizon = self.config.sampling.episodes, self.suite.horizon
            self._give(baseline_notice(self.baseline_features, episodes, horizon, "--sampling.episodes"))
        if "filling" not in self.tally.said:
            self._give(filling_notice(self.agent, self.config.iterations))
        if not self.restored:
            self.initialize()
            if self.evaluates_after(0):
                self._log(log, self._brief_test(env))
            self._save(self._checkpoint())
        self._finished = self._checkpoint()
        while self.iteration < self.config.iterations:
            start = time.perf_counter()
            metrics = self._iterate(env)
            evaluated = self.evaluates_after(self.iteration)
            if evaluated:
                metrics |= self._brief_test(env)
            self.elapsed += time.perf_counter() - start
            if self.writes:
                forget_evaluation(self.folder)  # a shorter run's: it is of another agent now
            # log before saving, so that a checkpoint never claims iterations without a row
            self._log(log, metrics)
            if evaluated and 0 < self.config.evaluation.patience <= self._best.waited:
                self._end_here()
            self._finished = self._checkpoint()
            how = self.config.checkpoint
            due = self.iteration % how.every == 0 or self.iteration == self.config.iterations
            if due or (how.keep_best and self._best.iteration == self.iteration):
                self._save(self._finished)

    def _iterate(self, env: TaskVectorEnv) -> dict[str, float]:
        sampling = self.config.sampling
        plan = plan_of(self.agent, self.iteration)
        rng = make_rng(self.config.seed, Purpose.TRAINING, self.iteration)
        before = env.restarts
        with naming_agent(self.config.agent):
            done = meta_iteration(
                self.agent,
                env,
                self.training_tasks.draw(plan, sampling.meta_batch_size, rng),
                episodes=sampling.episodes,
                horizon=self.suite.horizon,
                rng=rng,
                on_step=self.on_step,
                should_stop=lambda: self._stop,
                plan=plan,
            )
        # a diverged agent must not be saved, nor act in the next iteration
        seen = sampled_inputs(done.rollouts[-1]) if done.rollouts else self._blank_inputs()
        check_update(self.agent, self.config.agent, seen, done.metrics, self.iteration + 1)
        if plan.collects == "meta-batch" and plan.learns:
            self.tally = count_iteration(self.tally, done.rollouts, done.actors, done.metrics, self._limits)
        check_replicas(self.ranks, self.agent, self.iteration + 1)
        # tell the user as soon as it is certain that nothing is learned
        self._give(running_notices(self.tally, self.training_notices()))
        self.env_steps += done.num_steps
        self.iteration += 1
        restarts = env.restarts - before
        return {**done.row(), "engine/restarts": float(restarts), **traffic_metrics(self.ranks)}

    def _brief_test(self, env: TaskVectorEnv) -> dict[str, float]:
        start = time.perf_counter()
        rng = make_rng(self.config.seed, Purpose.VALIDATION, self.iteration)
        evaluation = self.test(env, self.brief_tasks(), rng, self.brief_adaptation_steps)
        return {**summarize(evaluation, rng).metrics(), "time/evaluation": time.perf_counter() - start}

    def brief_tasks(self) -> list[Task]:
        """Return the learning curve's fixed held-out tasks."""
        tasks = self.suite.tasks("test")
        count = min(self.config.evaluation.tasks, len(tasks))
        return sample_evenly(tasks, count, make_rng(self.config.seed, Purpose.VALIDATION_TASKS))

    def evaluates_after(self, iteration: int) -> bool:
        """Return whether the held-out tasks are measured after an iteration."""
        every = self.config.evaluation.every
        return every > 0 and iteration % every == 0

    def on_step(self, episodes: int) -> None:
        """Notify the observers of a step's running episodes; raise Stopped after :meth:`request_stop`."""
        if self._stop:
            raise Stopped
        for observer in self.observers:
            observer.on_step(episodes)

    def _log(self, log: MetricsLog | None, metrics: dict[str, float]) -> None:
        row = {"env_steps": self.env_steps, **metrics, "time/elapsed": self.elapsed}
        if log is not None:
            log.log(self.iteration, row)
        self._best.rate({"iteration": self.iteration, **row})
        for other in self._loggers:
            other.log(self.iteration, row)
        for observer in self.observers:
            observer.on_iteration(self.iteration, row)

    def _end_here(self) -> None:
        """Let this iteration be the run's last, as its config says from now on."""
        self.config = replace(self.config, iterations=self.iteration)
        write_json(self.folder / CONFIG, to_json(self.config), indent=2)
        sentence = (
            f"Training ends at iteration {self.iteration}: in {count(self._best.waited, 'evaluation')} the "
            f"return on held-out tasks was not better than at iteration {self._best.iteration}."
        )
        self._give({"patience": sentence})

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(
            iteration=self.iteration,
            config=to_json(self.config),
            agent=state_of(self.agent),
            progress={
                "env_steps": self.env_steps,
                "elapsed_seconds": self.elapsed,
                "tally": self.tally.to_json(),
            },
            physics=self.physics,
        )

    def _save(self, checkpoint: Checkpoint) -> None:
        if not self.writes:
            return
        how = self.config.checkpoint
        spared = self._best.iteration if how.keep_best else None
        save(self.folder / CHECKPOINTS, checkpoint, how.keep, spared)
