"""Training steps that a GPU replays: a network's kernels are recorded once for each size of batch (CUDA graphs).

A PIIP network of three branches launches some ten thousand small kernels a training step, which take the host longer
than the GPU. A recorded step is two launches.
"""

import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from piip_search.models import kernels

SEEN = 2
"""Batches of a size that are run as usual before it is recorded: a rare size is not worth it."""
SIZES = 4
"""Sizes that are recorded at most: each holds gradients of all weights."""


class Recorded:
    """A network whose training steps are recorded and replayed on a GPU; elsewhere and in inference it runs as usual.

    What it computes is the same.
    """

    def __init__(self, network: nn.Module, record: Callable[..., Any] | None = None) -> None:
        """Wraps a network.

        Args:
            network: Takes images, gives maps, and waits for nothing in its forward pass.
            record: Replaces a module's forward pass by its recording, `torch.cuda.make_graphed_callables` by default;
                called with the module, its arguments, `allow_unused_input` and a `pool` of memory.
        """
        self._network, self._own = network, record
        self._steps: dict[tuple[int, ...], _Step] = {}
        self._seen: Counter[tuple[int, ...]] = Counter()
        self._pool: Any = None

    def __call__(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """What the network gives."""
        network = self._network
        if network.training and torch.is_grad_enabled() and (image_BCHW.is_cuda or self._own):
            for step in self._steps.values():
                step.keep_gradients()
            network = self._step(image_BCHW) or network
        maps: tuple[Tensor, ...] = network(image_BCHW)
        return maps

    @property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the batches that are recorded."""
        return tuple(self._steps)

    def _step(self, image_BCHW: Tensor) -> nn.Module | None:
        """The recorded step of this size, if there is one or it is time for it."""
        size = tuple(image_BCHW.shape)
        if size not in self._steps:
            self._seen[size] += 1
            if self._seen[size] <= SEEN or len(self._steps) >= SIZES:
                return None
            self._steps[size] = self._record(image_BCHW)
        return self._steps[size]

    def _record(self, image_BCHW: Tensor) -> "_Step":
        step = _Step(self._network)
        # Copies of weights that autocast made before the recording would be read for ever.
        torch.clear_autocast_cache()
        kind, cuda = image_BCHW.device.type, image_BCHW.is_cuda
        state = torch.cuda.get_rng_state() if cuda else torch.get_rng_state()
        if cuda and self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        autocast = torch.autocast(kind, enabled=torch.is_autocast_enabled(kind), cache_enabled=False)
        with autocast, kernels.recorded(), warnings.catch_warnings():
            # Torch tries a step out on one stream, keeps it alive, and records the next on another.
            warnings.filterwarnings("ignore", "The AccumulateGrad node's stream does not match")
            record = self._own or torch.cuda.make_graphed_callables
            record(step, (torch.randn_like(image_BCHW),), allow_unused_input=True, pool=self._pool)
        # As if nothing had been tried out.
        torch.cuda.set_rng_state(state) if cuda else torch.set_rng_state(state)
        step.hand_over_gradients()
        return step


class _Step(nn.Module):
    """The network over weights that lie in the memory of its own and have no history.

    Of a weight that an earlier step used, autograd keeps a node which waits for the stream of that step as long as
    anybody holds its loss; and nothing may wait while a graph is recorded.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = (network,)  # no module of this one
        self._names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
        own = dict(network.named_parameters())
        self._originals = [own[name] for name in self._names]
        self.weights = nn.ParameterList(nn.Parameter(parameter.detach()) for parameter in self._originals)
        self._lent: list[tuple[nn.Parameter, Tensor]] = []

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        weights = dict(zip(self._names, self.weights, strict=True))
        maps: tuple[Tensor, ...] = functional_call(self._network[0], weights, (image_BCHW,))
        return maps

    def hand_over_gradients(self) -> None:
        """Adds every gradient from now on to that of the network's own weight."""
        for weight, original in zip(self.weights, self._originals, strict=True):
            weight.register_post_accumulate_grad_hook(partial(self._hand_over, original))

    def keep_gradients(self) -> None:
        """Moves gradients that are still added to, before the recording writes its next ones where they lie."""
        for original, lent in self._lent:
            if original.grad is lent:
                original.grad = lent.clone()
        self._lent.clear()

    def _hand_over(self, original: nn.Parameter, weight: Tensor) -> None:
        if weight.grad is None:
            return
        if original.grad is None:
            # Copying them all takes the host longer than the replay, and most loops drop them before the next step.
            original.grad = weight.grad
            self._lent.append((original, weight.grad))
        else:
            original.grad += weight.grad
        weight.grad = None
