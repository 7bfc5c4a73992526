"""Runs a trained proxy on images: `python -m piip_workers.tasks.detection.examples FOLDER`.

Loads the newest checkpoint of a trial's folder. Writes some validation images, their objects and their detections into
`examples/` beside it, for people to look at.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from piip_search.errors import DataError
from piip_search.evaluation.evaluation import EXAMPLES_FILE, EXAMPLES_FOLDER
from piip_search.file_paths import located
from piip_workers.mmlab.shims import install
from piip_workers.quiet import quiet

LONGEST_SIDE = 640
"""Longest side of a picture, in pixels."""
LEAST_SCORE = 0.05
"""Least score of a detection that is written."""
MOST_BOXES = 60
"""Most detections of an image that are written."""
MOST_IMAGES = 6
"""Default number of images."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the examples; returns 2 if the folder has nothing to load."""
    parser = argparse.ArgumentParser(
        prog="python -m piip_workers.tasks.detection.examples", description="Detect with a trained proxy."
    )
    parser.add_argument("folder", type=Path, help="a trial's folder, with config.py and checkpoints")
    parser.add_argument("--images", type=int, default=MOST_IMAGES, help="validation images, those with objects")
    options = parser.parse_args(arguments)
    try:
        count = write_examples(options.folder.resolve(), options.images)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {count} images to {options.folder / EXAMPLES_FOLDER}")
    return 0


def write_examples(folder: Path, images: int = MOST_IMAGES) -> int:
    """Writes the examples of a trial atomically.

    Args:
        folder: Folder of the trial.
        images: Number of images to write.

    Returns:
        The number of written images.

    Raises:
        DataError: The folder has no configuration or no checkpoint, no validation image has an object, or `images` is
            less than one.
    """
    if images < 1:
        raise DataError(f"images must be at least 1, got {images}")
    if not (folder / "config.py").is_file():
        raise DataError(f"no config.py in {located(folder)}; give the folder of a trial")
    draft = Path(tempfile.mkdtemp(dir=folder, prefix=".examples-"))
    try:
        with quiet(draft / "output.txt"):
            content = _detected(folder, draft, images)
        (draft / EXAMPLES_FILE).write_text(json.dumps(content), encoding="utf-8")
        shutil.rmtree(folder / EXAMPLES_FOLDER, ignore_errors=True)
        draft.chmod(0o755)
        draft.rename(folder / EXAMPLES_FOLDER)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return len(content["pictures"])


def _detected(folder: Path, out: Path, images: int) -> dict[str, Any]:
    install()
    from mmdet.registry import DATASETS, MODELS
    from mmengine.config import Config
    from mmengine.registry import DefaultScope
    from mmengine.runner import load_checkpoint

    from piip_workers.tasks.detection.proxy_training import last_whole_checkpoint

    config = Config.fromfile(str(folder / "config.py"))
    checkpoint = last_whole_checkpoint(folder, sys.maxsize)
    if checkpoint is None:
        raise DataError(f"no checkpoint in {folder}; the trial has not ended its first epoch")
    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset = DATASETS.build(config.val_dataloader.dataset)
        model = MODELS.build(config.model)
    load_checkpoint(model, str(checkpoint), map_location="cpu")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.to(device).eval()
    classes = [str(name) for name in dataset.metainfo["classes"]]
    pictures = []
    for number, index in enumerate(_with_objects(dataset, images)):
        item = dataset[index]
        with torch.no_grad():
            (result,) = model.test_step({"inputs": [item["inputs"]], "data_samples": [item["data_samples"]]})
        info = dataset.get_data_info(index)
        pictures.append(_picture(info, _pixels(config, info), result.pred_instances, classes, out, number))
    return {"epochs": int(checkpoint.stem.removeprefix("epoch_")), "classes": classes, "pictures": pictures}


def _with_objects(dataset: Any, wanted: int) -> list[int]:
    """Images with objects, spread over the whole set.

    Raises:
        DataError: No image has an object.
    """
    holding = [index for index in range(len(dataset)) if dataset.get_data_info(index)["instances"]]
    if not holding:
        raise DataError("no validation image holds an object")
    count = min(wanted, len(holding))
    return [holding[place * len(holding) // count] for place in range(count)]


def _pixels(config: Any, info: Mapping[str, Any]) -> Any:
    """An image as the detector's input before resizing."""
    from piip_workers.images.pixels import decoded

    read = config.val_dataloader.dataset.pipeline[0]
    size = info["height"], info["width"]
    return decoded(Path(info["img_path"]).read_bytes(), read.get("orientation", "exif"), read.get("bits", 16), size)


def _picture(
    info: Mapping[str, Any], pixels: Any, found: Any, classes: Sequence[str], out: Path, number: int
) -> dict[str, Any]:
    """Writes one image in a size for viewing; its boxes are [left, top, width, height] in pixels of that size."""
    import cv2

    height, width = pixels.shape[:2]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    if scale < 1:
        pixels = cv2.resize(pixels, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    name = f"{number}.jpg"
    cv2.imwrite(str(out / name), pixels, [cv2.IMWRITE_JPEG_QUALITY, 88])

    def box(corners: Sequence[float], label: int, **more: float) -> dict[str, Any]:
        left, top, right, bottom = (float(corner) * scale for corner in corners)
        sides = [left, top, right - left, bottom - top]
        return {"label": classes[label], "box": [round(side, 1) for side in sides], **more}

    objects = [one for one in info["instances"] if not one.get("ignore_flag")]
    best = found[found.scores >= LEAST_SCORE][:MOST_BOXES].cpu()
    rows = zip(best.bboxes.tolist(), best.labels.tolist(), best.scores.tolist(), strict=True)
    return {
        "file": name,
        "name": Path(info["img_path"]).name,
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "truth": [box(one["bbox"], one["bbox_label"]) for one in objects],
        "found": [box(corners, label, score=round(score, 4)) for corners, label, score in rows],
    }


if __name__ == "__main__":
    sys.exit(main())
