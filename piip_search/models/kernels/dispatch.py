"""Which way the sums are computed that also have a kernel of their own for GPUs: by it, or by torch's operators."""

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
"""Which way: the environment variable `PIIP_SEARCH_KERNELS`, read once. `portable` and `fused` force one way."""

_records = False


@contextmanager
def recorded() -> Iterator[None]:
    """Says that what runs inside is recorded, and then replayed without being launched by the host."""
    global _records
    before, _records = _records, True
    try:
        yield
    finally:
        _records = before


def records() -> bool:
    """Whether what runs now is recorded."""
    return _records


def uses_kernel(x: Tensor, in_order: bool, spares: bool) -> bool:
    """Whether a kernel of ours computes with this tensor.

    Left to itself it does on GPUs where Triton is installed, but for float64, and where torch is asked for
    deterministic algorithms while the kernel adds up in no fixed order. A kernel that takes hardly fewer launches than
    torch's operators is for steps that are compiled or recorded: from Python a launch costs the host more than from
    torch.

    Args:
        x: The tensor.
        in_order: Whether the kernel's sums, and those of its gradients, are in a fixed order.
        spares: Whether it takes far fewer launches than torch's operators, forward and backward.
    """
    if WISH != "auto":
        return WISH == "fused"
    return (
        _HAS_TRITON
        and x.is_cuda
        and x.dtype in (torch.float32, torch.float16, torch.bfloat16)
        and (in_order or not torch.are_deterministic_algorithms_enabled())
        # A compiler that looked at what is recorded would compile anew while it is.
        and (spares or torch.compiler.is_compiling() or _records)
    )
