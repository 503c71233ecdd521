"""Soft actor-critic against stable-baselines3's, by hand, and against finite differences."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import stable_baselines3
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.distributions import SquashedDiagGaussianDistribution
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.utils import polyak_update
from torch.nn import functional

from metarl.functional.distributions import Gaussian
from metarl.functional.params import unflatten
from metarl.functional.squashed_gaussian import squash
from metarl.learning import sac
from metarl.learning.sac import SAC, Noise, SACBatch, SACConfig, SACState, States
from metarl.networks.off_policy import SquashedPolicy, TwinCritic
from metarl.types import Params

OBSERVATIONS, ACTIONS, BATCH, HIDDEN = 5, 2, 16, (8, 7)
CONFIG = SACConfig(learning_rate=1e-2, discount=0.9, target_rate=0.1, initial_temperature=0.5)
POLICY = SquashedPolicy(state_size=OBSERVATIONS, action_size=ACTIONS, hidden_sizes=HIDDEN)
CRITIC = TwinCritic(state_size=OBSERVATIONS, action_size=ACTIONS, hidden_sizes=HIDDEN)


class Blank(gymnasium.Env[np.ndarray, np.ndarray]):
    observation_space = Box(-np.inf, np.inf, (OBSERVATIONS,), np.float32)
    action_space = Box(-1, 1, (ACTIONS,), np.float32)


def reference() -> stable_baselines3.SAC:
    model = stable_baselines3.SAC(
        "MlpPolicy",
        Blank(),
        learning_rate=CONFIG.learning_rate,
        gamma=CONFIG.discount,
        tau=CONFIG.target_rate,
        ent_coef=f"auto_{CONFIG.initial_temperature}",
        policy_kwargs={"net_arch": list(HIDDEN)},
        buffer_size=10,
        seed=0,
        device="cpu",
    )
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model


def params_of(model: stable_baselines3.SAC, critic: str = "critic") -> Params:
    """Return the weights of stable-baselines3's networks under our names."""
    weights = {name: value.detach().clone() for name, value in model.policy.state_dict().items()}
    last = len(HIDDEN)
    params: Params = {}
    for layer in range(last):
        params[f"policy.layer_{layer}.weight"] = weights[f"actor.latent_pi.{2 * layer}.weight"].T
        params[f"policy.layer_{layer}.bias"] = weights[f"actor.latent_pi.{2 * layer}.bias"]
    for part in ("weight", "bias"):
        head = torch.cat([weights[f"actor.{name}.{part}"] for name in ("mu", "log_std")])
        params[f"policy.layer_{last}.{part}"] = head.T if part == "weight" else head
    for layer in range(last + 1):
        for part in ("weight", "bias"):
            both = torch.stack([weights[f"{critic}.qf{i}.{2 * layer}.{part}"] for i in range(2)])
            value = both.mT if part == "weight" else both.unsqueeze(1)
            params[f"critic.layer_{layer}.{part}"] = value
    params["log_temperature"] = model.log_ent_coef.detach().clone().squeeze()
    return {name: value.contiguous() for name, value in params.items()}


def learner(params: Params, config: SACConfig = CONFIG) -> SAC:
    return SAC.of(POLICY, CRITIC, config, params, {})


def random_params(dtype: torch.dtype = torch.float32) -> Params:
    generator = torch.Generator().manual_seed(3)
    drawn = {
        **POLICY.network.initial_params(generator, dtype),
        **CRITIC.network.initial_params(generator, dtype),
    }
    return {**drawn, "log_temperature": torch.tensor(-0.4, dtype=dtype)}


def draw_batch(seed: int, dtype: torch.dtype = torch.float32) -> tuple[SACBatch, States]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    terminated = torch.rand(BATCH, generator=generator) < 0.3
    actions = 0.9 * normal(BATCH, ACTIONS).tanh()
    batch = SACBatch(actions, normal(BATCH), terminated)
    return batch, States(normal(BATCH, OBSERVATIONS), normal(BATCH, OBSERVATIONS))


def draw_noise(seed: int, dtype: torch.dtype = torch.float32) -> Noise:
    generator = torch.Generator().manual_seed(seed)
    return Noise(*(torch.randn(BATCH, ACTIONS, generator=generator, dtype=dtype) for _ in range(2)))


def test_log_density_of_squashed_actions_is_stable_baselines3s() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, log_std, noise = (0.6 * torch.randn(50, 3, generator=generator) for _ in range(3))
    before = mean + log_std.exp() * noise
    theirs = SquashedDiagGaussianDistribution(3).proba_distribution(mean, log_std)
    found = squash(Gaussian(mean, log_std), noise)
    torch.testing.assert_close(found.actions, before.tanh(), rtol=1e-5, atol=1e-7)
    expected = theirs.log_prob(before.tanh(), before)
    torch.testing.assert_close(found.log_probs, expected, rtol=1e-5, atol=1e-5)


def test_whole_gradient_steps_are_stable_baselines3s() -> None:
    model = reference()
    with torch.no_grad():  # so that a target that is not the critic is seen as such
        for value in model.critic_target.parameters():
            value.add_(0.05)
    ours = learner(params_of(model))
    state = ours.start()
    aside = params_of(model, "critic_target")
    state = state._replace(target=torch.cat([aside[name].flatten() for name in ours.target_like]))
    for step in range(4):
        batch, states = draw_batch(step)
        sampled = ReplayBufferSamples(
            states.states,
            batch.actions,
            states.next_states,
            batch.terminated.float().unsqueeze(1),
            batch.rewards.unsqueeze(1),
        )
        model.replay_buffer.sample = lambda *_, sampled=sampled, **__: sampled  # type: ignore[method-assign, union-attr]  # the same batch
        with torch.random.fork_rng():
            torch.manual_seed(step)
            model.train(1, BATCH)
            torch.manual_seed(step)
            noise = Noise(*(torch.normal(torch.zeros(BATCH, ACTIONS), torch.ones(())) for _ in range(2)))
        state, metrics = ours.step(state, batch, lambda _, states=states: states, noise)
        logged = model.logger.name_to_value
        for name, value in (("critic_loss", metrics.critic_loss), ("actor_loss", metrics.actor_loss)):
            assert float(value) == pytest.approx(logged[f"train/{name}"], rel=1e-5)
        assert float(metrics.temperature_loss) == pytest.approx(logged["train/ent_coef_loss"], rel=1e-4)
    found = {**unflatten(state.actor, ours.actor_like), **unflatten(state.critic, ours.critic_like)}
    for name, value in params_of(model).items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)
    target = unflatten(state.target, ours.target_like)
    expected = params_of(model, "critic_target")
    for name, value in target.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)


def test_polyak_update_is_stable_baselines3s() -> None:
    source, target = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    theirs = target.clone()
    polyak_update([source], [theirs], 0.3)
    torch.testing.assert_close(sac.polyak(target, source, 0.3), theirs, rtol=1e-6, atol=0)


def test_target_by_hand() -> None:
    batch = SACBatch(torch.zeros(2, 1), torch.tensor([1.0, 2.0]), torch.tensor([False, True]))
    next_q = torch.tensor([[10.0, 10.0], [8.0, 30.0]])
    found = sac.critic_target(batch, next_q, torch.tensor([-2.0, -2.0]), torch.tensor(0.5), 0.9)
    # 1 + 0.9 (8 + 0.5 x 2); the second episode ended for good
    assert found.tolist() == pytest.approx([9.1, 2.0])


def test_losses_by_hand() -> None:
    q = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    assert float(sac.critic_loss(q, torch.tensor([1.0, 1.0]))) == pytest.approx(0.5 * (0.5 + 10.0))
    log_probs = torch.tensor([-1.0, 3.0])
    assert float(sac.actor_loss(log_probs, q, torch.tensor(0.1))) == pytest.approx((-0.1 - 1 + 0.3 - 2) / 2)
    found = sac.temperature_loss(torch.tensor(2.0), log_probs, target_entropy=-3.0)
    assert float(found) == pytest.approx(-2.0 * (1.0 - 3.0))


def moved(change: float, index: int, part: str, state: SACState) -> SACState:
    vector = getattr(state, part).clone()
    vector[index] += change
    return state._replace(**{part: vector})


@pytest.mark.parametrize("part", ["actor", "critic"])
def test_first_step_of_adam_follows_finite_differences(part: str) -> None:
    params = random_params(torch.float64)
    ours = learner(params, SACConfig(learning_rate=1e-9, learns_temperature=False))
    state, (batch, states) = ours.start(), draw_batch(0, torch.float64)
    noise = draw_noise(1, torch.float64)

    def loss(at: SACState) -> float:
        metrics = ours.step(at, batch, lambda _: states, noise)[1]
        return float(getattr(metrics, f"{part}_loss"))

    after, _ = ours.step(state, batch, lambda _: states, noise)
    # after one step Adam's mean is a tenth of the gradient
    slopes = after.adam[f"{part}.mean.weights"] / 0.1
    size = 1e-6
    for index in range(0, len(slopes) - 1, 7):
        above, below = (loss(moved(change, index, part, state)) for change in (size, -size))
        # the target of the critic also reads the actor, but only its own loss is differentiated
        assert float(slopes[index]) == pytest.approx((above - below) / (2 * size), rel=1e-5, abs=1e-8)


def test_temperature_rises_where_entropy_is_missing() -> None:
    ours = learner(random_params(), SACConfig(entropy_per_action=5.0))
    batch, states = draw_batch(0)
    after, metrics = ours.step(ours.start(), batch, lambda _: states, draw_noise(0))
    assert float(metrics.entropy) < 10.0
    assert float(after.actor[-1]) > -0.4


def test_temperature_that_is_not_learned_stays() -> None:
    ours = learner(random_params(), SACConfig(learns_temperature=False))
    batch, states = draw_batch(0)
    after, _ = ours.step(ours.start(), batch, lambda _: states, draw_noise(0))
    assert float(after.actor[-1]) == pytest.approx(-0.4)


def test_what_follows_a_terminated_step_does_not_matter() -> None:
    ours, (batch, states) = learner(random_params()), draw_batch(0)
    elsewhere = states._replace(next_states=states.next_states + 3.0)
    ended = batch._replace(terminated=torch.ones(BATCH, dtype=torch.bool))
    one, other = (
        ours.step(ours.start(), ended, lambda _, seen=seen: seen, draw_noise(0))[0].critic
        for seen in (states, elsewhere)
    )
    assert torch.equal(one, other)
    going_on = batch._replace(terminated=torch.zeros(BATCH, dtype=torch.bool))
    one, other = (
        ours.step(ours.start(), going_on, lambda _, seen=seen: seen, draw_noise(0))[0].critic
        for seen in (states, elsewhere)
    )
    assert not torch.equal(one, other)


def test_a_step_changes_none_of_its_arguments() -> None:
    ours, (batch, states) = learner(random_params()), draw_batch(0)
    state = ours.start()
    copies = [part.clone() for part in (state.actor, state.critic, state.target)]
    ours.step(state, batch, lambda _: states, draw_noise(0))
    assert all(torch.equal(*pair) for pair in zip(copies, state[:3], strict=True))


def test_initial_weights_are_distributed_as_torchs_linear_layers() -> None:
    network = TwinCritic(state_size=3, action_size=1, hidden_sizes=(400,)).network
    params = network.initial_params(torch.Generator().manual_seed(0))
    with torch.random.fork_rng():
        layers = torch.nn.Linear(4, 400), torch.nn.Linear(400, 1)
    for number, layer in enumerate(layers):
        ours, theirs = params[f"critic.layer_{number}.weight"], layer.weight.detach()
        assert float(ours.abs().max()) == pytest.approx(float(theirs.abs().max()), rel=0.02)
        assert float(ours.std()) == pytest.approx(float(theirs.std()), rel=0.1)


def test_twin_critic_is_two_networks() -> None:
    params, (batch, states) = random_params(), draw_batch(0)
    both = CRITIC(params, states.states, batch.actions)
    for copy in range(2):
        hidden = torch.cat([states.states, batch.actions], dim=-1)
        for layer in range(3):
            weight, bias = (params[f"critic.layer_{layer}.{part}"][copy] for part in ("weight", "bias"))
            hidden = functional.linear(hidden, weight.T, bias.squeeze(0))
            hidden = hidden.relu() if layer < 2 else hidden
        torch.testing.assert_close(both[copy], hidden.squeeze(-1))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"discount": 1.5}, "Expected discount in"),
        ({"learning_rate": 0.0}, "Expected learning_rate in"),
        ({"target_rate": 0.0}, "Expected target_rate in"),
        ({"initial_temperature": 0.0}, "Expected initial_temperature in"),
        ({"entropy_per_action": 1000.0}, "Expected entropy_per_action in"),
    ],
)
def test_setting_that_makes_no_sense_is_refused(settings: dict[str, float], said: str) -> None:
    with pytest.raises(Exception, match=said):
        SACConfig(**settings)
