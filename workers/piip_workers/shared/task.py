"""What the training of a parent needs of a task."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from piip_search.architecture import Architecture


class Asked(NamedTuple):
    """A batch that a step needs.

    Attributes:
        design: Design that reads it, at the scale of the proxies.
        images: Images of the batch; their augmentation is part of the number.
    """

    design: Architecture
    images: tuple[int, ...]


class SharedTask(Protocol):
    """Builds, feeds and scores the networks of many designs."""

    @property
    def device(self) -> torch.device:
        """Device of the training."""
        ...

    @property
    def network(self) -> Mapping[str, Any]:
        """Settings of the PIIP networks besides their designs, plain data."""
        ...

    def build(self, design: Architecture) -> nn.Module:
        """A network of a design with the weights that a training of its own starts from."""
        ...

    @staticmethod
    def keys(design: Architecture, network: nn.Module) -> dict[str, str]:
        """The key of each parameter of a network; see `piip_search.models.weights.shared_keys`."""
        ...

    def rates(self, design: Architecture, network: nn.Module) -> dict[str, float]:
        """Factors on the learning rate by the names of parameters; 1 for those that it lacks."""
        ...

    def batches(self, epoch: int) -> list[tuple[int, ...]]:
        """The batches of one pass over the images, a pure function of the seed; all passes have equally many."""
        ...

    def read(self, asked: Iterable[Asked]) -> Iterator[Any]:
        """The batches in their order."""
        ...

    def loss(self, network: nn.Module, batch: Any) -> Tensor:
        """The training loss of a batch, a scalar."""
        ...
