"""Keeps a trial to its share of a GPU, so that its neighbours are safe."""

from types import ModuleType
from typing import Any

import torch

from piip_search.cost.gpu_share import torch_fraction


def cap_gpu_memory(share: float, cuda: ModuleType | Any = torch.cuda) -> None:
    """Lets this process take no more of a GPU's memory than its share; more is an error of that process alone.

    Args:
        share: GPUs that the trial has; from one on there is nothing to share.
        cuda: `torch.cuda`.
    """
    if cuda.is_available():
        total = cuda.get_device_properties(0).total_memory
        cuda.set_per_process_memory_fraction(torch_fraction(share, total), 0)
