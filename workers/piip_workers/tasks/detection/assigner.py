"""mmdet's assignment of anchors to objects, for GPUs.

mmdet assigns the objects of an image one by one and waits for the device after each: hundreds of times in an image of
hundreds of nuclei, and a GPU that several trainings share answers slowly. Importing this module replaces mmdet's
assigner by one that waits once an image, under the same name and with the same assignments.

Legend: K objects, N anchors.
"""

import torch
from torch import Tensor

from piip_workers.mmlab.shims import install

install()
from mmdet.models.task_modules.assigners import AssignResult, MaxIoUAssigner  # noqa: E402
from mmdet.registry import TASK_UTILS  # noqa: E402


@TASK_UTILS.register_module(name="MaxIoUAssigner", force=True)
class AtOnceAssigner(MaxIoUAssigner):  # type: ignore[misc]
    """Assigns the anchors of an image to all its objects together, on a GPU."""

    def assign_wrt_overlaps(self, overlaps: Tensor, gt_labels: Tensor) -> AssignResult:
        """Assigns objects and labels to anchors by their overlaps of shape (K, N)."""
        if not (overlaps.is_cuda and self.match_low_quality and self.gt_max_assign_all and overlaps.numel()):
            return super().assign_wrt_overlaps(overlaps, gt_labels)
        self.match_low_quality: bool = False
        try:
            result = super().assign_wrt_overlaps(overlaps, gt_labels)
        finally:
            self.match_low_quality = True
        result.gt_inds = with_nearest(overlaps, result.gt_inds, self.min_pos_iou)
        result.labels = torch.where(result.gt_inds > 0, gt_labels[(result.gt_inds - 1).clamp(min=0)], -1)
        return result


def with_nearest(overlaps_KN: Tensor, object_N: Tensor, least: float) -> Tensor:
    """Gives every object the anchors that it overlaps most; an anchor of several objects goes to the last.

    Args:
        overlaps_KN: Overlap of each object with each anchor.
        object_N: Number of the object that each anchor was assigned to, from 1.
        least: Least overlap of such an anchor.
    """
    most_K1 = overlaps_KN.amax(1, keepdim=True)
    objects, anchors = ((overlaps_KN == most_K1) & (most_K1 >= least)).nonzero(as_tuple=True)
    last_N = torch.zeros_like(object_N).scatter_reduce_(0, anchors, objects + 1, "amax")
    return torch.where(last_N > 0, last_N, object_N)
