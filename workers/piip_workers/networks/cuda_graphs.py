"""Training steps as CUDA graphs: a network's kernels are recorded once a batch size, then replayed.

A PIIP network of three branches launches about ten thousand small kernels a training step. The host takes longer to
launch them than the GPU to run them. A recorded step is two launches.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from piip_search.models.kernels import dispatch

SEEN = 2
"""Batches of a size that run normally before it is recorded: a rare size is not worth it."""
MOST_SIZES = 4
"""Most sizes that are recorded: each holds gradients of all weights."""
TRIALS = 3
"""Trial runs of a step before it is recorded: libraries choose and compile their kernels in them."""

Maps = Tensor | tuple[Tensor, ...]
Record = Callable[[Callable[[], Any]], tuple[Any, Callable[[], None]]]
"""Records a function's kernels: returns its result, and a function that recomputes it in the same memory."""


class Recorded:
    """A network whose training steps are recorded and replayed on a GPU; elsewhere and in inference it runs normally.

    The results are the same. A replayed step has one backward pass, before the next step of its size, and adds to the
    gradients of the network's weights. Images that need gradients themselves run normally.
    """

    def __init__(self, network: nn.Module, record: Record | None = None) -> None:
        """Wraps a network.

        Args:
            network: Takes images and returns maps, without synchronisation in its forward pass.
            record: Records a function's kernels; by default as a CUDA graph.
        """
        self._network, self._own = network, record
        self._steps: dict[tuple[int, ...], _Step] = {}
        self._seen: Counter[tuple[int, ...]] = Counter()
        self._pool: Any = None

    def __call__(self, image_BCHW: Tensor) -> Maps:
        """The network's maps: one or several, each of shape (B, C, H, W) with its own C, H and W.

        A second backward pass through it, or one after the next step of its size, raises a RuntimeError.

        Args:
            image_BCHW: Images.
        """
        network: Callable[[Tensor], Maps] = self._network
        trains = self._network.training and torch.is_grad_enabled() and not image_BCHW.requires_grad
        if trains and (image_BCHW.is_cuda or self._own):
            for step in self._steps.values():
                step.keep_gradients()
            network = self._step(image_BCHW) or network
        return network(image_BCHW)

    @property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the batches that are recorded."""
        return tuple(self._steps)

    def _step(self, image_BCHW: Tensor) -> "_Step | None":
        """The recorded step of this size, recorded now if it is due; None otherwise."""
        size = tuple(image_BCHW.shape)
        if size not in self._steps:
            self._seen[size] += 1
            if self._seen[size] <= SEEN or len(self._steps) >= MOST_SIZES:
                return None
            self._steps[size] = self._record(image_BCHW)
        return self._steps[size]

    def _record(self, image_BCHW: Tensor) -> "_Step":
        # The recording would read copies of weights that autocast made before it for ever.
        torch.clear_autocast_cache()
        kind, cuda = image_BCHW.device.type, image_BCHW.is_cuda
        state = torch.cuda.get_rng_state() if cuda else torch.get_rng_state()
        if cuda and self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        autocast = torch.autocast(kind, enabled=torch.is_autocast_enabled(kind), cache_enabled=False)
        with autocast, dispatch.recorded(), warnings.catch_warnings():
            # The trial runs use one stream, which autograd remembers; the recording uses another.
            warnings.filterwarnings("ignore", "The AccumulateGrad node's stream does not match")
            step = _Step(self._network, image_BCHW, self._own or partial(_record_on_gpu, self._pool))
        # Undo the trial runs' effects.
        torch.cuda.set_rng_state(state) if cuda else torch.set_rng_state(state)
        return step


class _Step:
    """The recorded step of one size: a forward and a backward pass over places in memory.

    It runs over tensors that share the memory of the network's weights and have no history. For a weight that an
    earlier step used, autograd keeps a node that waits for the stream of that step as long as its loss is alive.
    Nothing may wait while a graph is recorded.
    """

    def __init__(self, network: nn.Module, image_BCHW: Tensor, record: Record) -> None:
        own = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
        weights: dict[str, Tensor] = {name: nn.Parameter(weight.detach()) for name, weight in own.items()}
        self._originals = list(own.values())
        self._lent: list[tuple[nn.Parameter, Tensor]] = []
        self._image = torch.randn_like(image_BCHW)
        # One input for autograd instead of a thousand weights, which would take the host longer than the replay.
        self._source = torch.zeros((), device=image_BCHW.device, requires_grad=True)
        self._awaited: object = None
        maps: list[Tensor] = []

        def forward() -> list[Tensor]:
            with torch.enable_grad():
                found = functional_call(network, weights, (self._image,))
            self._single = isinstance(found, Tensor)
            maps[:] = [found] if isinstance(found, Tensor) else found
            return [map_.detach() for map_ in maps]

        def backward() -> list[Tensor | None]:
            return _gradients(maps, list(weights.values()), self._towards)

        def whole() -> None:
            self._towards = [torch.ones_like(map_) for map_ in forward()]
            backward()
            self.fixed = [index for index, map_ in enumerate(maps) if not map_.requires_grad]
            maps.clear()

        _try_out(whole, image_BCHW.is_cuda)
        self._maps, self._replay_forward = record(forward)
        self._gradients, self._replay_backward = record(backward)

    def __call__(self, image_BCHW: Tensor) -> Maps:
        """The network's maps."""
        maps: tuple[Tensor, ...] = _Replay.apply(self._source, self, image_BCHW)  # type: ignore[no-untyped-call]
        return maps[0] if self._single else maps

    def forward(self, image_BCHW: Tensor) -> tuple[object, list[Tensor]]:
        """Returns the maps, and the token by which their backward pass is recognised."""
        self._image.copy_(image_BCHW)
        self._replay_forward()
        self._awaited = object()
        return self._awaited, self._maps

    def backward(self, awaited: object, towards: Sequence[Tensor]) -> None:
        """Adds to the gradients of the network's weights.

        Raises:
            RuntimeError: The maps are not those of the last forward pass, or had their backward pass.
        """
        if awaited is not self._awaited:
            raise RuntimeError(
                "a replayed step has one backward pass, before the next step of its size: its activations are gone; "
                "leave cuda_graphs off for other loops"
            )
        self._awaited = None
        for place, toward in zip(self._towards, towards, strict=True):
            place.copy_(toward)
        self._replay_backward()
        found = [pair for pair in zip(self._originals, self._gradients, strict=True) if pair[1] is not None]
        before = [(original.grad, gradient) for original, gradient in found if original.grad is not None]
        if before:
            torch._foreach_add_(*map(list, zip(*before, strict=True)))
        for original, gradient in found:
            if original.grad is None:
                # Copying them all takes the host longer than the replay, and most loops drop them before the next step.
                original.grad = gradient
                self._lent.append((original, gradient))

    def keep_gradients(self) -> None:
        """Moves gradients that are still in use before the recording overwrites their memory."""
        for original, lent in self._lent:
            if original.grad is lent:
                original.grad = lent.clone()
        self._lent.clear()


class _Replay(torch.autograd.Function):
    """A recorded step for autograd; its backward pass writes the gradients itself."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, step: _Step, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        ctx.step = step
        ctx.awaited, places = step.forward(image_BCHW)
        maps = tuple(place.detach() for place in places)
        ctx.mark_non_differentiable(*(maps[index] for index in step.fixed))
        return maps

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *towards: Tensor) -> tuple[None, None, None]:
        ctx.step.backward(ctx.awaited, towards)
        return None, None, None


def _gradients(maps: Sequence[Tensor], weights: Sequence[Tensor], towards: Sequence[Tensor]) -> list[Tensor | None]:
    """Gradients of all weights; None for weights that no map depends on.

    Each has the layout of its weight and memory of its own: optimisers and clipping write there.
    """
    pairs = [(map_, toward) for map_, toward in zip(maps, towards, strict=True) if map_.requires_grad]
    if not pairs:
        return [None] * len(weights)
    outputs, directions = zip(*pairs, strict=True)
    found = torch.autograd.grad(outputs, weights, directions, allow_unused=True)
    gradients: list[Tensor | None] = []
    places: set[int] = set()
    for gradient, weight in zip(found, weights, strict=True):
        if gradient is not None:
            # Autograd returns one shared tensor for both weights of a sum.
            if gradient.stride() != weight.stride() or gradient.data_ptr() in places:
                gradient = torch.empty_like(weight).copy_(gradient)
            places.add(gradient.data_ptr())
        gradients.append(gradient)
    return gradients


def _try_out(step: Callable[[], None], cuda: bool) -> None:
    if not cuda:
        step()
        return
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        for _ in range(TRIALS):
            step()
    torch.cuda.synchronize()


def _record_on_gpu(pool: Any, function: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        outputs = function()
    return outputs, graph.replay
