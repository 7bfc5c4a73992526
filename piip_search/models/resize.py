"""Resizes maps.

Legend: B images, H W grid, C channels; h and w are the new height and width.
"""

from contextlib import nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Mode = Literal["bilinear", "bicubic"]


def resize(x_BCHW: Tensor, height: int, width: int, mode: Mode, by_matrices: bool | None = None) -> Tensor:
    """Resizes a map without antialiasing, with aligned edges of image and grid; shape (B, C, h, w).

    Args:
        x_BCHW: The map, float32 at least.
        height: New height.
        width: New width.
        mode: Interpolation mode.
        by_matrices: Whether to mix rows and columns by a matrix each, which gives the same sums. Torch's kernels on
            GPUs run in parallel over places, not over channels, so few programs walk through all channels; matrix
            products use the whole device. On CPUs they take longer. None chooses by the device.
    """
    if x_BCHW.shape[-2:] == (height, width):
        return x_BCHW
    if not (x_BCHW.is_cuda if by_matrices is None else by_matrices):
        return F.interpolate(x_BCHW, (height, width), mode=mode, align_corners=False)
    kind = x_BCHW.device.type
    # Tracers refuse an autocast without effect.
    with torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext():
        x_BHWC = x_BCHW.permute(0, 2, 3, 1)
        rows_hH = _mixture(x_BHWC, x_BHWC.shape[1], height, mode)
        columns_wW = _mixture(x_BHWC, x_BHWC.shape[2], width, mode)
        x_BhWC = (rows_hH @ x_BHWC.flatten(2)).unflatten(2, x_BHWC.shape[2:])
        x_BhwC: Tensor = columns_wW @ x_BhWC
        return x_BhwC.permute(0, 3, 1, 2)


def _mixture(like: Tensor, side: int, new: int, mode: Mode) -> Tensor:
    """Weights of the old places in each new place, shape (new, side)."""
    places_11XX = torch.eye(side, dtype=like.dtype, device=like.device)[None, None]
    return F.interpolate(places_11XX, (new, side), mode=mode, align_corners=False)[0, 0]
