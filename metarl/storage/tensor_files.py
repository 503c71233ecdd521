"""Tensors as safetensors bytes, safe from strangers.

Reading them runs no code.
"""

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
    """Return the tensors of a safetensors file, on the CPU.

    Raises:
        ValueError: if the bytes are not such a file.
    """
    try:
        return safetensors.torch.load(content)
    # safetensors raises AssertionError and KeyError on crafted shapes and unknown dtypes
    except (safetensors.SafetensorError, ValueError, RuntimeError, AssertionError, KeyError) as error:
        raise ValueError("Expected a safetensors file.") from error


def sha256(content: bytes) -> str:
    """Return the SHA-256 sum of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """Return a CPU copy that shares no memory.

    Safetensors requires it.
    """
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
