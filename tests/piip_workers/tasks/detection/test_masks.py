"""Nothing that an annotation file holds makes a library hang, fill the memory or end the process."""

import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("cv2")

from piip_workers.tasks.detection import data as data_sets
from support import squares
from support.hostile import deadline

NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(), st.floats(-1e6, 1e6), st.none(), st.text(max_size=3), st.booleans()
)
RLES = st.fixed_dictionaries(
    {
        "size": st.one_of(st.just([64, 96]), st.lists(NUMBERS, max_size=3)),
        "counts": st.one_of(st.text(max_size=40), st.lists(st.integers(-10, 7000), max_size=9), NUMBERS),
    }
)
OUTLINES = st.one_of(
    st.lists(st.lists(st.floats(-1e7, 1e7), max_size=12), max_size=3),
    st.lists(st.lists(NUMBERS, max_size=8), max_size=3),
    RLES,
    NUMBERS,
    st.lists(NUMBERS, max_size=8),
)
MEMORY = 2**30
"""Bytes that looking at a file and scoring what passes may take, beyond what the process has."""


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150)
@given(outline=OUTLINES, crowd=st.sampled_from([0, 1, None]), box=st.one_of(st.none(), st.lists(NUMBERS, max_size=5)))
def test_nothing_in_a_file_hangs_or_fills_the_memory(
    tmp_path_factory: pytest.TempPathFactory, outline: Any, crowd: Any, box: Any
) -> None:
    """What the checks let through is scored, as detections of itself, in bounded time and memory."""
    pytest.importorskip("mmdet")
    from piip_workers.tasks.detection.annotations import truth_of
    from piip_workers.tasks.detection.metric import CocoAverages

    def change(found: squares.Content) -> None:
        found["annotations"][1] |= {"segmentation": outline, "iscrowd": crowd}
        if box is not None:
            found["annotations"][0]["bbox"] = box

    data = squares.write(tmp_path_factory.getbasetemp() / f"fuzz-{os.getpid()}", change, parts=("val",))
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
    try:
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, before[1]))
        with deadline(20):
            if data_sets.check(data, masks=True) or data_sets.unsuited(data, "segm_mAP", "mask_rcnn", masks=True):
                return
            file = str((data.root or Path()) / "val.json")
            truth = truth_of(file, masks=True)
            metric = CocoAverages(ann_file=file, metric=["segm"])
            metric.dataset_meta = {"classes": tuple(squares.COLOURS)}
            averages = metric.compute_metrics([(None, detections(truth, image)) for image in truth.imgs])
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert averages["segm_mAP"] > 0.99


def detections(truth: Any, image: int) -> dict[str, Any]:
    """What is in an image, as if it had been detected."""
    found = [one for one in truth.imgToAnns[image] if not one["iscrowd"]]
    boxes = [[left, top, left + width, top + height] for left, top, width, height in (one["bbox"] for one in found)]
    masks = [truth.annToRLE(one) for one in found]
    return {
        "img_id": image,
        "labels": np.array([one["category_id"] - 1 for one in found]),
        "scores": np.full(len(found), 0.9),
        "bboxes": np.array(boxes).reshape(-1, 4),
        "masks": [{**one, "counts": _text(one["counts"])} for one in masks],
    }


def _text(counts: Any) -> str:
    return counts.decode() if isinstance(counts, bytes) else str(counts)
