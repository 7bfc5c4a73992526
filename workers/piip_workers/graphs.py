"""Training steps that a GPU replays: a network's kernels are recorded once for each size of batch (CUDA graphs).

A PIIP network of three branches launches some ten thousand small kernels a training step, which take the host longer
than the GPU. A recorded step is two launches.
"""

import warnings
from collections import Counter

import torch
from torch import Tensor, nn

SEEN = 2
"""Batches of a size that are run as usual before it is recorded: a rare size is not worth it."""
SIZES = 4
"""Sizes that are recorded at most: each holds gradients of all weights."""


class Recorded:
    """A network whose training steps are recorded and replayed on a GPU; elsewhere and in inference it runs as usual.

    What it computes is the same. Gradients must be let go of between two steps (`zero_grad(set_to_none=True)`), as they
    lie where the next step of the same size writes its own: so nothing may be added up over several backward passes.
    """

    def __init__(self, network: nn.Module) -> None:
        """Wraps a network.

        Args:
            network: Takes images, gives maps, and waits for nothing in its forward pass.
        """
        self._network = network
        self._steps: dict[tuple[int, ...], nn.Module] = {}
        self._seen: Counter[tuple[int, ...]] = Counter()
        self._pool: tuple[int, int] | None = None

    def __call__(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """What the network gives."""
        network = self._network
        if network.training and torch.is_grad_enabled() and image_BCHW.is_cuda:
            network = self._step(image_BCHW) or network
        maps: tuple[Tensor, ...] = network(image_BCHW)
        return maps

    def _step(self, image_BCHW: Tensor) -> nn.Module | None:
        """The recorded step of this size, if there is one or it is time for it."""
        size = tuple(image_BCHW.shape)
        if size not in self._steps:
            self._seen[size] += 1
            if self._seen[size] <= SEEN or len(self._steps) >= SIZES:
                return None
            self._steps[size] = self._record(image_BCHW)
        return self._steps[size]

    def _record(self, image_BCHW: Tensor) -> nn.Module:
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        state = torch.cuda.get_rng_state()
        step = _Step(self._network)
        # Copies of weights that autocast made before the recording would be read for ever.
        torch.clear_autocast_cache()
        autocast = torch.autocast("cuda", enabled=torch.is_autocast_enabled("cuda"), cache_enabled=False)
        with autocast, warnings.catch_warnings():
            # Of steps before the recording; none adds up gradients while it is made.
            warnings.filterwarnings("ignore", "The AccumulateGrad node's stream does not match")
            torch.cuda.make_graphed_callables(
                step, (torch.randn_like(image_BCHW),), allow_unused_input=True, pool=self._pool
            )
        torch.cuda.set_rng_state(state)  # as if nothing had been tried out
        return step


class _Step(nn.Module):
    """The network as a module of its own, whose forward pass the recording replaces."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        maps: tuple[Tensor, ...] = self.network(image_BCHW)
        return maps
