"""Perceptrons by name agree with PyTorch's own layers."""

from __future__ import annotations

import torch

from metarl.networks.layers import apply_layers, draw_layer, draw_layers


def test_perceptron_is_pytorchs_own() -> None:
    params = draw_layers("net", (3, 5, 4, 2), torch.Generator().manual_seed(0), last_gain=0.5)
    layers = [params[f"net_{layer}.weight"] for layer in range(3)]
    modules: list[torch.nn.Module] = []
    for layer, weight in enumerate(layers):
        module = torch.nn.utils.skip_init(torch.nn.Linear, weight.shape[1], weight.shape[0])
        module.load_state_dict({"weight": weight, "bias": params[f"net_{layer}.bias"]})
        modules += [module, torch.nn.Tanh()]
    inputs = torch.linspace(-1, 1, 21).view(7, 3)
    found = apply_layers(params, "net", inputs, torch.tanh)
    torch.testing.assert_close(found, torch.nn.Sequential(*modules[:-1])(inputs))


def test_weights_are_orthogonal_times_their_gain() -> None:
    weight = draw_layer("one", 6, 4, torch.Generator().manual_seed(0), dtype=torch.float64)["one.weight"]
    torch.testing.assert_close(weight @ weight.T, 2 * torch.eye(4, dtype=torch.float64))
    small = draw_layers("net", (6, 4), torch.Generator().manual_seed(0), last_gain=0.1)["net_0.weight"]
    torch.testing.assert_close(small @ small.T, 0.01 * torch.eye(4))
