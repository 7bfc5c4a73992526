"""Chooses between torch's operators and our GPU kernels for the sums that have both."""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from piip_search.errors import UserError

KERNELS_VARIABLE = "PIIP_SEARCH_KERNELS"
WISHES = ("auto", "portable", "fused")
_HAS_TRITON = importlib.util.find_spec("triton") is not None


def _wish() -> str:
    wish = os.environ.get(KERNELS_VARIABLE, "auto")
    if wish not in WISHES:
        raise UserError(f"the environment variable {KERNELS_VARIABLE} must be one of {', '.join(WISHES)}, got {wish!r}")
    return wish


WISH = _wish()
"""The choice of the environment variable `PIIP_SEARCH_KERNELS`, read once; `portable` and `fused` force one way."""

_records = False


@contextmanager
def recorded() -> Iterator[None]:
    """Marks that operations inside are recorded, and later replayed without launches by the host."""
    global _records
    before, _records = _records, True
    try:
        yield
    finally:
        _records = before


def records() -> bool:
    """Whether operations are being recorded."""
    return _records


def uses_kernel(x: Tensor, in_order: bool, spares: bool) -> bool:
    """Whether one of our kernels computes with this tensor.

    By default a kernel runs on GPUs with Triton, except for float64, and except where torch must be deterministic while
    the kernel sums in no fixed order. A kernel that saves few launches over torch's operators is only for compiled or
    recorded steps: from Python its launch costs the host more than torch's.

    Args:
        x: The tensor.
        in_order: Whether the kernel's sums, and those of its gradients, have a fixed order.
        spares: Whether it saves many launches over torch's operators, forward and backward.
    """
    if WISH != "auto":
        return WISH == "fused"
    return (
        _HAS_TRITON
        and x.is_cuda
        and x.dtype in (torch.float32, torch.float16, torch.bfloat16)
        and (in_order or not torch.are_deterministic_algorithms_enabled())
        # A compiler that read this flag would compile again during a recording.
        and (spares or torch.compiler.is_compiling() or _records)
    )
