"""Caps a trial's GPU memory at its share, so that its neighbours are safe."""

from types import ModuleType
from typing import Any

import torch

from piip_search.cost.gpu_share import torch_fraction


def cap_gpu_memory(share: float, cuda: ModuleType | Any = torch.cuda) -> None:
    """Caps this process at its share of a GPU's memory; more raises an error in this process only.

    Args:
        share: GPUs of the trial; from one on nothing is capped.
        cuda: `torch.cuda`.
    """
    if cuda.is_available():
        total = cuda.get_device_properties(0).total_memory
        cuda.set_per_process_memory_fraction(torch_fraction(share, total), 0)
