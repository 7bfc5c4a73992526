"""The processes that train a parent together: each reads some of the designs of a step."""

from typing import Protocol

import torch
from torch import Tensor

from piip_search.errors import LostPeersError

GONE_TEXTS = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting")
"""Texts in gloo's errors of a process whose peers are gone; they have no type of their own."""


class Group(Protocol):
    """Processes that run the same training.

    Attributes:
        rank: Number of this process, from 0; the first one writes all files.
        size: Number of processes.
    """

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def add(self, values: Tensor) -> None:
        """Replaces values by their sums over all processes; all call it, with equal shapes."""
        ...

    def of_first(self, value: bool) -> bool:
        """The first process's value; all call it."""
        ...


class Alone:
    """One process."""

    rank = 0
    size = 1

    def add(self, values: Tensor) -> None:
        """Leaves the values as they are."""

    def of_first(self, value: bool) -> bool:
        return value


class TorchGroup:
    """The processes of torch's default group: NCCL between GPUs, gloo between CPUs."""

    def __init__(self, device: torch.device) -> None:
        """Reads the group.

        Args:
            device: Device of what is exchanged.
        """
        self.rank = torch.distributed.get_rank()
        self.size = torch.distributed.get_world_size()
        self._device = device

    def add(self, values: Tensor) -> None:
        torch.distributed.all_reduce(values)

    def of_first(self, value: bool) -> bool:
        told = torch.tensor([float(value)], device=self._device)
        torch.distributed.broadcast(told, src=0)
        return bool(told.item())


def group_of(device: torch.device) -> Group:
    """The group of this process, which is alone unless torch's default group was started."""
    started = torch.distributed.is_available() and torch.distributed.is_initialized()
    return TorchGroup(device) if started else Alone()


def is_lost(error: Exception) -> bool:
    """Whether an error says that another process of the group is gone."""
    backend = torch.distributed.is_available() and isinstance(error, torch.distributed.DistBackendError)
    said = isinstance(error, RuntimeError) and any(text in str(error) for text in GONE_TEXTS)
    return backend or said or isinstance(error, LostPeersError)
