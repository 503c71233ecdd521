"""The promises of every agent, as claims that are tried on a small probe.

Each claim is a function of an :class:`metarl.plugins.agent_probe.AgentProbe`; the first line of its docstring
is the promise. It raises :class:`BrokenPromise` with what was seen instead, or :class:`OpenQuestion` where it
does not apply.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from metarl.plugins import agent_claims_acting as acting
from metarl.plugins import agent_claims_learning as learning
from metarl.plugins import agent_claims_memory as memory
from metarl.plugins.agent_probe import AgentProbe

Claim: TypeAlias = Callable[[AgentProbe], None]

CLAIMS: tuple[Claim, ...] = (
    acting.actions_have_the_shapes_of_the_protocol,
    acting.acting_draws_from_the_generator_alone,
    acting.acting_without_a_generator_has_no_noise,
    acting.likelihoods_are_those_of_the_actions,
    acting.agent_is_a_function_of_its_seed,
    acting.experience_changes_the_policy,
    acting.adapting_never_changes_the_agent,
    acting.adapting_leaves_the_actor_it_started_from,
    acting.adapting_draws_from_the_generator_alone,
    acting.permuting_tasks_permutes_adapted_policies,
    acting.a_task_adapts_alone_as_among_others,
    memory.memory_keeps_its_names_and_shapes,
    memory.a_trial_equals_replaying_the_same_steps,
    memory.dead_slots_leave_all_others_alone,
    memory.two_rollouts_of_one_actor_are_independent,
    memory.acting_leaves_the_memory_that_it_is_given,
    learning.updating_changes_the_agent,
    learning.updating_gives_the_same_numbers_again,
    learning.updating_reports_finite_numbers,
    learning.updating_leaves_the_rollouts_alone,
    learning.a_stopped_update_leaves_the_agent_as_it_was,
    learning.state_is_a_copy,
    learning.loaded_state_is_not_shared,
    learning.loaded_agent_goes_on_like_the_saved_one,
    learning.state_of_another_architecture_is_refused,
    learning.state_of_another_precision_is_refused,
    learning.settings_are_the_same_when_read_from_json,
)
