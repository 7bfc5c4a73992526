"""Anchors assigned to all objects at once, as mmdet assigns them one by one."""

import warnings

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mmdet")
pytestmark = pytest.mark.filterwarnings("ignore")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what mmengine does while it is imported
    from piip_workers.mmlab.shims import install

    install()
    from mmdet.models.task_modules.assigners import MaxIoUAssigner
    from mmdet.registry import TASK_UTILS

    from piip_workers.tasks.detection.assigner import AtOnceAssigner, with_nearest

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
THRESHOLDS = {"pos_iou_thr": 0.7, "neg_iou_thr": 0.3}


@pytest.mark.parametrize("least", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("objects", [1, 7, 60])
def test_all_at_once_is_one_by_one(objects: int, least: float) -> None:
    draw = torch.Generator().manual_seed(objects)
    overlaps = torch.rand(objects, 200, generator=draw).mul(10).floor() / 10  # many that are equal
    overlaps[0, :] = 0  # an object that no anchor meets
    labels = torch.randint(5, (objects,), generator=draw)
    theirs = MaxIoUAssigner(**THRESHOLDS, min_pos_iou=least).assign_wrt_overlaps(overlaps, labels)
    without = MaxIoUAssigner(**THRESHOLDS, match_low_quality=False).assign_wrt_overlaps(overlaps, labels)
    assert torch.equal(with_nearest(overlaps, without.gt_inds, least), theirs.gt_inds)
    ours = AtOnceAssigner(**THRESHOLDS, min_pos_iou=least).assign_wrt_overlaps(overlaps.to(DEVICE), labels.to(DEVICE))
    for found, expected in ((ours.gt_inds, theirs.gt_inds), (ours.labels, theirs.labels)):
        assert found.dtype == expected.dtype
        assert torch.equal(found.cpu(), expected)


def test_an_image_without_objects_has_none() -> None:
    empty = AtOnceAssigner(**THRESHOLDS).assign_wrt_overlaps(
        torch.zeros(0, 9, device=DEVICE), torch.zeros(0, dtype=torch.long, device=DEVICE)
    )
    assert empty.gt_inds.tolist() == [0] * 9


def test_it_stands_in_the_place_of_mmdets() -> None:
    assert type(TASK_UTILS.build({"type": "MaxIoUAssigner", **THRESHOLDS})) is AtOnceAssigner
