"""Shares of a GPU for trials, by their predicted memory.

No share was measured on a GPU yet. The closed form of a training step is within 5 % of what torch saves on a CPU. The
margin is for the rest, from workspaces of kernels to the allocator's losses.
"""

import math
from typing import Any

from piip_search.units import GIB

Number = Any
"""A number, or an array of them."""
CONTEXT = GIB
"""Bytes of a process's CUDA context."""
MARGIN = 1.25
"""Factor on the predicted memory of a step."""
SHARE_STEP = 0.05
"""Shares are multiples of this."""


def process_bytes(training: Number) -> Number:
    """Bytes of a GPU that a process takes for a predicted training step; arrays give arrays."""
    return MARGIN * training + CONTEXT


def share_of(training: int, gpu_memory: float) -> float:
    """Share of a GPU that a training takes, in (0, 1]: predicted bytes over the GPU's memory, rounded up.

    Args:
        training: Predicted bytes of a training step.
        gpu_memory: Memory of one GPU, GiB.
    """
    steps = math.ceil(process_bytes(training) / (gpu_memory * GIB) / SHARE_STEP - 1e-9)
    return float(min(1.0, round(max(1, steps) * SHARE_STEP, 2)))


def max_step_bytes(gpu_memory: float, share: float = 1.0) -> int:
    """Most predicted bytes of a training step that fit a share of a GPU; negative if none fits."""
    return math.floor((min(share, 1.0) * gpu_memory * GIB - CONTEXT) / MARGIN)


def torch_fraction(share: float, total: int) -> float:
    """Share of a GPU's memory that torch may allocate in a process with a share of the GPU.

    CUDA's own context is outside of torch's memory, but inside the share.

    Args:
        share: Share of the GPU; one or more for all of it.
        total: Bytes of the GPU.
    """
    return 1.0 if share >= 1 else max(0.0, share - CONTEXT / total)
