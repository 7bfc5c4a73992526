"""The mmcv operators that detectors need in plain torch, for installations without compiled code.

Legend: N boxes, K regions, B images, C channels, H W map.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Indices of the boxes that survive greedy non-maximum suppression, best score first.

    Args:
        boxes: Corners x1, y1, x2, y2, shape (N, 4).
        scores: Shape (N,).
        iou_threshold: Overlap with a better box above which a box is removed.
        offset: Added to both corners' distance: 1 where a box includes its last pixel.
    """
    order = scores.argsort(descending=True, stable=True)
    x1, y1, x2, y2 = boxes[order].detach().cpu().double().numpy().T
    areas = (x2 - x1 + offset) * (y2 - y1 + offset)
    rest, kept = np.arange(len(order)), []
    while len(rest):
        best, rest = rest[0], rest[1:]
        kept.append(best)
        width = (np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest]) + offset).clip(0)
        height = (np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest]) + offset).clip(0)
        shared = width * height
        rest = rest[shared <= iou_threshold * (areas[best] + areas[rest] - shared)]
    return order[torch.as_tensor(np.array(kept, dtype=np.int64), device=order.device)]


def roi_align(
    maps_BCHW: Tensor, regions_K5: Tensor, size: tuple[int, int], scale: float, sampling_ratio: int, aligned: bool
) -> Tensor:
    """Average of bilinear samples in each cell of each region (Mask R-CNN, arXiv 1703.06870, section 3).

    Args:
        maps_BCHW: Maps.
        regions_K5: Index of the image, then x1, y1, x2, y2 in pixels of the image.
        size: Cells of a region, rows and columns.
        scale: Map pixels per image pixel.
        sampling_ratio: Samples along a side of a cell; 0 for as many as the cell covers pixels.
        aligned: Whether pixel centres lie at half coordinates.

    Returns:
        Shape (K, C, rows, columns); differentiable in the maps.
    """
    rows, columns = size
    corners_K4 = regions_K5[:, 1:] * scale - (0.5 if aligned else 0.0)
    extent_K2 = corners_K4[:, 2:] - corners_K4[:, :2]
    if not aligned:
        extent_K2 = extent_K2.clamp(min=1.0)
    output = maps_BCHW.new_zeros(len(regions_K5), maps_BCHW.shape[1], rows, columns)
    for chosen, image, down, across in _groups(regions_K5, extent_K2, size, sampling_ratio):
        y_KR = _samples(corners_K4[chosen, 1], extent_K2[chosen, 1], rows * down)
        x_KS = _samples(corners_K4[chosen, 0], extent_K2[chosen, 0], columns * across)
        sampled_CKRS = _bilinear(maps_BCHW[image], y_KR, x_KS)
        cells = sampled_CKRS.unflatten(3, (columns, across)).unflatten(2, (rows, down)).mean((3, 5))
        output = output.index_copy(0, chosen, cells.transpose(0, 1).to(output.dtype))
    return output


def _groups(
    regions_K5: Tensor, extent_K2: Tensor, size: tuple[int, int], sampling_ratio: int
) -> Iterator[tuple[Tensor, int, int, int]]:
    """Regions of one image with the same number of samples: their indices, the image, samples down and across."""
    if not len(regions_K5):
        return
    cells_2 = extent_K2.new_tensor((size[1], size[0]))
    counts_K2 = (extent_K2 / cells_2).ceil().clamp(min=1).long()
    if sampling_ratio > 0:
        counts_K2 = torch.full_like(counts_K2, sampling_ratio)
    keys_K3 = torch.cat([regions_K5[:, :1].long(), counts_K2.flip(1)], dim=1)
    groups, member_K = keys_K3.unique(dim=0, return_inverse=True)
    for index, (image, down, across) in enumerate(groups.tolist()):
        yield (member_K == index).nonzero()[:, 0], image, down, across


def _samples(start_K: Tensor, extent_K: Tensor, count: int) -> Tensor:
    """Evenly spaced positions inside each region, shape (K, count)."""
    steps = (torch.arange(count, device=start_K.device, dtype=start_K.dtype) + 0.5) / count
    return start_K[:, None] + steps * extent_K[:, None]


def _bilinear(map_CHW: Tensor, y_KR: Tensor, x_KS: Tensor) -> Tensor:
    """Samples the map at all pairs of positions, shape (C, K, R, S).

    A position is zero beyond a pixel outside the map, and the border within it.
    """
    _, H, W = map_CHW.shape
    inside = ((y_KR >= -1) & (y_KR <= H))[:, :, None] & ((x_KS >= -1) & (x_KS <= W))[:, None, :]

    def to_grid(position: Tensor, pixels: int) -> Tensor:
        return position.clamp(0, pixels - 1) * (2 / max(1, pixels - 1)) - 1

    R, S = y_KR.shape[1], x_KS.shape[1]
    grid_KRS2 = torch.stack(
        [to_grid(x_KS, W)[:, None, :].expand(-1, R, -1), to_grid(y_KR, H)[:, :, None].expand(-1, -1, S)], dim=-1
    )
    grid = grid_KRS2.flatten(1, 2)[None].to(map_CHW.dtype)
    sampled = F.grid_sample(map_CHW[None], grid, mode="bilinear", padding_mode="border", align_corners=True)
    sampled_CKRS: Tensor = sampled[0].unflatten(2, (R, S))
    return sampled_CKRS * inside.to(map_CHW.dtype)


def sigmoid_focal_loss(logits_NC: Tensor, target_N: Tensor, gamma: float, alpha: float, weight_C: Tensor) -> Tensor:
    """Focal loss of each class separately, shape (N, C) (arXiv 1708.02002, eq. 5).

    Args:
        logits_NC: One logit a class.
        target_N: Class index, or C for background.
        gamma: Focusing power.
        alpha: Weight of the positive.
        weight_C: Weight of each class; empty for none.
    """
    classes = logits_NC.shape[1]
    positive_NC = F.one_hot(target_N.clamp(0, classes), classes + 1)[:, :classes].to(logits_NC.dtype)
    chance_NC = logits_NC.sigmoid()
    miss_NC = chance_NC + positive_NC - 2 * chance_NC * positive_NC
    balance_NC = alpha * positive_NC + (1 - alpha) * (1 - positive_NC)
    entropy_NC = F.binary_cross_entropy_with_logits(logits_NC, positive_NC, reduction="none")
    loss_NC = balance_NC * miss_NC.pow(gamma) * entropy_NC
    return loss_NC * weight_C if weight_C.numel() else loss_NC
