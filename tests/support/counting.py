"""The second way to a cost: build the network and count what runs."""

import weakref
from collections.abc import Set
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


def _bilinear(_input: Any, _grid: Any, *_: Any, out_shape: Any, **__: Any) -> int:
    """Four products a sample, and one for its weight, which is multiplied outside; the counter takes two a product."""
    B, C, H, W = out_shape
    return 2 * 5 * B * C * H * W


def counted_macs(model: nn.Module, *inputs: Tensor) -> int:
    """Multiply-accumulates of a forward pass by torch's operator counter, bilinear samples included.

    Attention runs as explicit products, which the counter sees in full.
    """
    mapping = {torch.ops.aten.grid_sampler_2d: _bilinear}
    counter = FlopCounterMode(display=False, custom_mapping=mapping)
    with torch.no_grad(), counter, sdpa_kernel(SDPBackend.MATH):
        model(*inputs)
    assert counter.get_total_flops() % 2 == 0
    return int(counter.get_total_flops() // 2)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def kept_values(model: nn.Module, *inputs: Tensor) -> int:
    """Values of four bytes that a forward pass keeps for the backward pass, but for parameters; each memory once."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> None:
        # The storage is held, or its memory would be given to the next; the tensor is not: a graph that holds a tensor
        # which holds the graph is never freed.
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage

    def never(_: None) -> Tensor:
        raise AssertionError("nothing goes backward here")

    with torch.autograd.graph.saved_tensors_hooks(keep, never):
        output = model(*inputs)
    del output
    return sum(storage.nbytes() for storage in kept.values()) // 4


class LiveValues(TorchDispatchMode):
    """The most values of four bytes that were alive at once, of those made while it is on."""

    def __init__(self, own: Set[int]) -> None:
        """Watches.

        Args:
            own: Addresses of what was there before: weights and inputs.
        """
        super().__init__()
        self.most = self._now = 0
        self._own = own
        self._known: weakref.WeakKeyDictionary[Any, None] = weakref.WeakKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and not isinstance(tensor, nn.Parameter):
                self._see(tensor.untyped_storage())
        return result

    def _see(self, storage: Any) -> None:
        if storage in self._known or storage.data_ptr() in self._own:
            return
        self._known[storage] = None
        size = storage.nbytes() // 4
        self._now += size
        self.most = max(self.most, self._now)
        weakref.finalize(storage, self._gone, size)

    def _gone(self, size: int) -> None:
        self._now -= size


def live_values(model: nn.Module, *inputs: Tensor) -> int:
    """The most values that are alive at once in a forward pass that keeps nothing, inputs included."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers(), *inputs)}
    mode = LiveValues(own)
    with torch.no_grad(), mode:
        model(*inputs)
    return mode.most + sum(tensor.numel() for tensor in inputs)
