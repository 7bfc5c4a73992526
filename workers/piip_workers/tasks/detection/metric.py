"""COCO's averages for mmdet, in full precision and for any number of detections an image.

mmdet's own metric rounds to three digits, so that a search would rank by ties. COCO's summary computes averages only at
100 detections an image, but a microscope's image has hundreds of objects. The scorer is faster-coco-eval, which gives
COCO's own numbers to the last digit in a small part of the time.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from piip_workers.mmlab.shims import install
from piip_workers.tasks.detection.annotations import ids_of, indexed, truth_of

install()
from mmdet.evaluation import CocoMetric  # noqa: E402
from mmdet.registry import METRICS  # noqa: E402

AREAS = {"s": "small", "m": "medium", "l": "large"}


@METRICS.register_module()
class CocoAverages(CocoMetric):  # type: ignore[misc]
    """Average precisions by name (`bbox_mAP`, `_50`, `_75`, `_s`, `_m`, `_l`; `segm_` likewise), in [0, 1].

    Averages over no objects are left out. A class without objects in the validation images is ignored.
    """

    def __init__(self, detections: int = 100, *, ann_file: str, **settings: Any) -> None:
        """Builds the metric.

        Args:
            detections: Number of best detections an image that count; COCO's own averages take 100.
            ann_file: Annotation file of the images.
            settings: Settings of mmdet's `CocoMetric`.
        """
        super().__init__(**settings)
        self.detections = detections
        self._coco_api = truth_of(ann_file, "segm" in self.metrics)  # mmdet's name for it

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """The averages over the processed images."""
        _, found = zip(*results, strict=True)
        categories = ids_of(self._coco_api.dataset, self.dataset_meta["classes"])
        images = [item["img_id"] for item in found]
        averages: dict[str, float] = {}
        for kind in self.metrics:
            rows = [row for item in found for row in _rows(item, categories, kind == "segm")]
            averages |= self._averages(kind, rows, images, categories)
        return averages

    def _averages(
        self, kind: str, rows: list[dict[str, Any]], images: list[int], categories: list[int]
    ) -> dict[str, float]:
        with warnings.catch_warnings():
            # A warning of the scorer means wrong averages.
            warnings.simplefilter("error", UserWarning)
            scorer = COCOeval_faster(self._coco_api, self._coco_api.loadRes(rows) if rows else self._nothing(), kind)
            scorer.params.imgIds, scorer.params.catIds = images, categories
            scorer.params.maxDets = [self.detections]
            scorer.evaluate()
            scorer.accumulate()
        # Legend: T thresholds of overlap, R recalls, K classes, A ranges of area; -1 without objects.
        precision_TRKA = scorer.eval["precision"][..., -1]
        area = {label: index for index, label in enumerate(scorer.params.areaRngLbl)}
        threshold = {round(float(value) * 100): index for index, value in enumerate(scorer.params.iouThrs)}
        named = {"": precision_TRKA[..., area["all"]]}
        named |= {f"_{level}": precision_TRKA[threshold[level], ..., area["all"]] for level in (50, 75)}
        named |= {f"_{letter}": precision_TRKA[..., area[label]] for letter, label in AREAS.items()}
        return {
            f"{kind}_mAP{name}": float(values[values > -1].mean())
            for name, values in named.items()
            if bool(np.any(values > -1))
        }

    def _nothing(self) -> COCO:
        """The result for no detections, which the scorer cannot load."""
        return indexed({**self._coco_api.dataset, "annotations": []})


def _rows(item: dict[str, Any], categories: Sequence[int], masks: bool) -> list[dict[str, Any]]:
    """One image's detections as rows in COCO's form."""
    rows = []
    for index, (label, score, box) in enumerate(zip(item["labels"], item["scores"], item["bboxes"], strict=True)):
        left, top, right, bottom = (float(side) for side in box)
        row = {
            "image_id": item["img_id"],
            "category_id": categories[int(label)],
            "score": float(score),
            "bbox": [left, top, right - left, bottom - top],
        }
        if masks:
            # With a box COCO would use the box's area instead of the object's.
            del row["bbox"]
            row["segmentation"] = item["masks"][index]
        rows.append(row)
    return rows
