"""Maps at another size.

Legend: B images, H W grid, C channels; h and w are the new height and width.
"""

from contextlib import nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Mode = Literal["bilinear", "bicubic"]


def resize(x_BCHW: Tensor, height: int, width: int, mode: Mode, by_matrices: bool | None = None) -> Tensor:
    """A map at another size, without antialiasing, edges of the image at the edges of the grid; shape (B, C, h, w).

    Args:
        x_BCHW: The map, float32 at least.
        height: New height.
        width: New width.
        mode: What lies between places.
        by_matrices: Whether rows and columns are mixed by a matrix each, which is the same sum. Torch's kernels on GPUs
            share out places and not channels: a few programs walk through all channels, where matrix products use the
            whole device. On CPUs they take longer. None for what suits the device.
    """
    if x_BCHW.shape[-2:] == (height, width):
        return x_BCHW
    if not (x_BCHW.is_cuda if by_matrices is None else by_matrices):
        return F.interpolate(x_BCHW, (height, width), mode=mode, align_corners=False)
    kind = x_BCHW.device.type
    # Tracers do not take an autocast that changes nothing.
    with torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext():
        x_BHWC = x_BCHW.permute(0, 2, 3, 1)
        rows_hH = _mixture(x_BHWC, x_BHWC.shape[1], height, mode)
        columns_wW = _mixture(x_BHWC, x_BHWC.shape[2], width, mode)
        x_BhWC = (rows_hH @ x_BHWC.flatten(2)).unflatten(2, x_BHWC.shape[2:])
        x_BhwC: Tensor = columns_wW @ x_BhWC
        return x_BhwC.permute(0, 3, 1, 2)


def _mixture(like: Tensor, side: int, new: int, mode: Mode) -> Tensor:
    """What each of the new places takes of the old ones, shape (new, side)."""
    places_11XX = torch.eye(side, dtype=like.dtype, device=like.device)[None, None]
    return F.interpolate(places_11XX, (new, side), mode=mode, align_corners=False)[0, 0]
