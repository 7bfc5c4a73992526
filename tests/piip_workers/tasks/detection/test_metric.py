"""Averages against pycocotools' own summary."""

import io
import json
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mmdet")
pytestmark = pytest.mark.filterwarnings("ignore")

from pycocotools import mask as masks  # noqa: E402
from pycocotools.coco import COCO  # noqa: E402
from pycocotools.cocoeval import COCOeval  # noqa: E402

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what mmengine does while it is imported
    from piip_workers.tasks.detection.metric import CocoAverages

CLASSES = ("cat", "dog", "rat")
ORDER = ("", "_50", "_75", "_s", "_m", "_l")


def made(objects: int, seed: int) -> tuple[dict[str, Any], list[tuple[dict[str, Any], dict[str, Any]]]]:
    """Annotations of three images, of which the third class and the last image hold nothing; and noisy detections."""
    random = np.random.RandomState(seed)
    content: dict[str, Any] = {
        "images": [{"id": 7 + i, "width": 640, "height": 640, "file_name": f"{i}.png"} for i in range(3)],
        "categories": [{"id": 10 + i, "name": name} for i, name in enumerate(CLASSES)],
        "annotations": [],
    }
    results = []
    for image in content["images"]:
        boxes, labels = [], []
        for _ in range(objects if image["id"] < 9 else 0):
            corner, side = random.uniform(0, 400, 2), random.uniform(8, 200, 2)
            label = int(random.randint(2))
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": image["id"],
                    "category_id": 10 + label,
                    "bbox": [*corner, *side],
                    "area": side[0] * side[1],
                    "iscrowd": 0,
                }
            )
            moved = np.concatenate([corner, corner + side]) + random.normal(0, 4, 4)
            boxes.append(moved)
            labels.append(label if random.rand() < 0.9 else 2)
        found = {
            "img_id": image["id"],
            "bboxes": np.array(boxes).reshape(-1, 4),
            "labels": np.array(labels, dtype=int),
            "scores": random.rand(len(boxes)),
        }
        results.append(({}, found))
    return content, results


def metric(content: dict[str, Any], folder: Path, detections: int = 100, kind: str = "bbox") -> CocoAverages:
    file = folder / "val.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    with redirect_stdout(io.StringIO()):
        found = CocoAverages(detections, ann_file=str(file), metric=[kind])
    found.dataset_meta = {"classes": CLASSES}
    return found


def summary(content: dict[str, Any], results: list[Any], folder: Path, kind: str = "bbox") -> dict[str, float]:
    """What pycocotools prints."""
    with redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "val.json"))
        rows = []
        for _, found in results:
            for index, box in enumerate(found["bboxes"]):
                place = (
                    {"segmentation": found["masks"][index]}
                    if kind == "segm"
                    else {"bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]]}
                )
                rows.append(
                    {
                        "image_id": found["img_id"],
                        "category_id": 10 + int(found["labels"][index]),
                        "score": float(found["scores"][index]),
                        **place,
                    }
                )
        scorer = COCOeval(truth, truth.loadRes(rows), kind)
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    return {f"{kind}_mAP{name}": float(value) for name, value in zip(ORDER, scorer.stats, strict=False) if value > -1}


@pytest.mark.parametrize("seed", [0, 1])
def test_averages_are_cocos_in_full_precision(tmp_path: Path, seed: int) -> None:
    content, results = made(30, seed)
    found = metric(content, tmp_path).compute_metrics(results)
    assert found == pytest.approx(summary(content, results, tmp_path), abs=1e-12)
    assert found["bbox_mAP"] != round(found["bbox_mAP"], 3)


def test_averages_of_masks_are_cocos(tmp_path: Path) -> None:
    content, results = made(20, seed=6)
    for one in content["annotations"]:
        left, top, width, height = one["bbox"]
        one["segmentation"] = [[left, top, left + width, top, left + width, top + height]]  # half of the box
    for _, found in results:
        found["masks"] = []
        for left, top, right, bottom in found["bboxes"]:
            half = masks.frPyObjects([[left, top, right, top, right, bottom]], 640, 640)
            found["masks"].append(masks.merge(half))
    found = metric(content, tmp_path, kind="segm").compute_metrics(results)
    assert found == pytest.approx(summary(content, results, tmp_path, "segm"), abs=1e-12)
    assert found["segm_mAP"] > 0.1


def test_more_detections_count_where_images_hold_more_objects(tmp_path: Path) -> None:
    content, results = made(250, seed=2)
    coco = metric(content, tmp_path).compute_metrics(results)
    assert coco == pytest.approx(summary(content, results, tmp_path), abs=1e-12)
    more = metric(content, tmp_path, 300).compute_metrics(results)
    assert more["bbox_mAP"] > 1.05 * coco["bbox_mAP"]


def test_the_images_that_were_seen_are_what_is_averaged_over(tmp_path: Path) -> None:
    content, results = made(30, seed=3)
    part = {**content, "images": content["images"][:1]}
    part["annotations"] = [a for a in content["annotations"] if a["image_id"] == 7]
    (tmp_path / "part").mkdir()
    alone = metric(part, tmp_path / "part").compute_metrics(results[:1])
    assert metric(content, tmp_path).compute_metrics(results[:1]) == alone


def test_no_detection_is_an_average_of_zero(tmp_path: Path) -> None:
    content, results = made(3, seed=4)
    nothing = [({}, {**found, "bboxes": [], "labels": [], "scores": []}) for _, found in results]
    found = metric(content, tmp_path).compute_metrics(nothing)
    sizes = {"sml"[int(a["area"] >= 32**2) + int(a["area"] >= 96**2)] for a in content["annotations"]}
    assert len(sizes) == 2
    assert found == dict.fromkeys(["bbox_mAP", "bbox_mAP_50", "bbox_mAP_75", *(f"bbox_mAP_{s}" for s in sizes)], 0.0)


def test_no_object_is_no_average(tmp_path: Path) -> None:
    content, results = made(3, seed=4)
    assert metric({**content, "annotations": []}, tmp_path).compute_metrics(results) == {}


def test_labels_go_by_name_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    content, results = made(30, seed=5)
    expected = metric(content, tmp_path).compute_metrics(results)
    ids = {10: 3, 11: 2, 12: 1}
    other = {
        **content,
        "categories": [{"id": ids[one["id"]], "name": one["name"]} for one in reversed(content["categories"])],
        "annotations": [{**one, "category_id": ids[one["category_id"]]} for one in content["annotations"]],
    }
    (tmp_path / "other").mkdir()
    assert metric(other, tmp_path / "other").compute_metrics(results) == expected
