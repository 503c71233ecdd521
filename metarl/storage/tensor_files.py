"""Tensors as safetensors bytes; reading a stranger's runs no code."""

from __future__ import annotations

import hashlib

import safetensors
import safetensors.torch
import torch

from metarl.types import Params


def encode_tensors(tensors: Params) -> bytes:
    """Return tensors as a safetensors file has them."""
    return safetensors.torch.save({name: _plain(tensor) for name, tensor in tensors.items()})


def decode_tensors(content: bytes) -> Params:
    """Return a safetensors file's tensors, on the CPU, or raise ValueError."""
    try:
        return safetensors.torch.load(content)
    # safetensors raises AssertionError and KeyError on crafted shapes and unknown dtypes
    except (safetensors.SafetensorError, ValueError, RuntimeError, AssertionError, KeyError) as error:
        raise ValueError("Expected a safetensors file.") from error


def sha256(content: bytes) -> str:
    """Return the SHA-256 sum of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """Return a CPU copy that shares no memory, as safetensors requires."""
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
