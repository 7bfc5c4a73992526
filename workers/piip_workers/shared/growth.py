"""Which tensors designs have in common, and how those of several branches begin as those of one."""

from torch import Tensor

from piip_search.architecture import Architecture
from piip_search.architecture.branch_names import branch_names


def kind_of(design: Architecture) -> str:
    """What decides which tensors a design has: all but image sizes and windows, and which image is the largest."""
    return f"{'+'.join(branch_names(design))}/{design.output}/{design.interaction}/{design.merge}"


MAP_READERS = ("P", "N")
"""Kinds of keys of what reads the merged map: the pyramid, and the first layers after it."""
INTERACTION_GATES = ("gamma", "tau")
"""Names of the gates of interactions."""


def take_over(own: Tensor, source: Tensor, widens: bool) -> None:
    """Gives the first channels of a tensor the values of one of fewer channels, in place.

    The merged map begins with zeros in all other channels. A layer of the pyramid gives as many channels as it reads:
    nothing may lead from the first ones to the others, nor back. The layer after it reads zeros in the others, so its
    own values there stay: with zeros, neither they nor the merge would ever get a gradient.

    Args:
        own: Tensor of a layer that reads the merged map: a bias, shape (out,), or weights, shape (out, in, k, k); those
            of a layer that widens, shape (in, out, k, k).
        source: Tensor of the same layer behind the output branch alone.
        widens: Whether it is a transposed convolution of the pyramid.
    """
    if own.dim() == 1 or not widens:
        cut = tuple(slice(min(a, b)) for a, b in zip(own.shape, source.shape, strict=True))
        own[cut] = source[cut]
        return
    ins, outs = (min(a, b) for a, b in zip(own.shape[:2], source.shape[:2], strict=True))
    own[ins:, :outs] = 0
    own[:ins, outs:] = 0
    own[:ins, :outs] = source[:ins, :outs]
