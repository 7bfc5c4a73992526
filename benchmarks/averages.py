"""COCO's averages over microscopy, by the scorer that proxies use and by pycocotools: seconds, and that they are equal.

    PIIP_SHARED=../shared python benchmarks/averages.py

64 validation images of nuclei; 300 boxes each, most of them near a nucleus, with scores of which many are equal.
"""

import io
import os
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import faster_coco_eval
import numpy as np
import pycocotools.coco
import pycocotools.cocoeval

FILE = Path(os.environ.get("PIIP_SHARED", "../shared"), "data/nuclei_dsb2018/annotations/instances_val.json")
IMAGES, BOXES = 64, 300


def boxes_of(truth: Any) -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    rows = []
    for image in sorted(truth.imgs)[:IMAGES]:
        nuclei = truth.imgToAnns[image]
        for index in range(BOXES):
            box = np.array([*random.uniform(0, 200, 2), *random.uniform(5, 40, 2)])
            if index < len(nuclei) and random.random() < 0.8:
                real = np.array(nuclei[index]["bbox"], dtype=float)
                box = real + random.normal(0, 0.1, 4) * real[[2, 3, 2, 3]]
            score = round(float(random.random()), 2)
            rows.append({"image_id": image, "category_id": 1, "bbox": box.tolist(), "score": score})
    return rows


def scored(library: Any, scorer: Any) -> tuple[float, np.ndarray]:
    """Seconds, and precision by threshold, recall, class and range of areas."""
    with redirect_stdout(io.StringIO()):
        truth = library.COCO(str(FILE))
        rows = boxes_of(truth)
        started = time.perf_counter()
        score = scorer(truth, truth.loadRes(rows), "bbox")
        score.params.imgIds, score.params.maxDets = sorted(truth.imgs)[:IMAGES], [BOXES]
        score.evaluate()
        score.accumulate()
    return time.perf_counter() - started, score.eval["precision"]


def main() -> None:
    if not FILE.is_file():
        raise SystemExit(f"no {FILE}; set PIIP_SHARED to the folder that holds data/nuclei_dsb2018")
    theirs, expected = scored(pycocotools.coco, pycocotools.cocoeval.COCOeval)
    ours, found = scored(faster_coco_eval, faster_coco_eval.COCOeval_faster)
    print(f"pycocotools {theirs:.2f} s, faster-coco-eval {ours:.2f} s: {theirs / ours:.0f} times as fast")
    print(f"largest difference of a precision {np.abs(found - expected).max():g}")


if __name__ == "__main__":
    main()
