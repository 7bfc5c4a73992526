"""A set that a tool wrote otherwise is trained and scored as its clean twin: equal pixels, boxes and averages."""

import json
import os
import re
import unicodedata
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("mmdet")
cv2 = pytest.importorskip("cv2")
pytestmark = pytest.mark.filterwarnings("ignore")

from mmdet.registry import DATASETS  # noqa: E402
from mmengine.registry import DefaultScope  # noqa: E402
from PIL import Image  # noqa: E402

from piip_search.architecture import Architecture  # noqa: E402
from piip_search.evaluation.evaluation import Fidelity  # noqa: E402
from piip_search.tasks.detection.mmdet.config import proxy_config  # noqa: E402
from piip_search.tasks.detection.mmdet.data import ProxyImages  # noqa: E402
from piip_search.tasks.detection.section import DetectionData, DetectionTraining  # noqa: E402
from piip_workers.tasks.detection import data as data_sets  # noqa: E402
from piip_workers.tasks.detection import images as registered  # noqa: E402, F401 - its data set and transforms
from piip_workers.tasks.detection.metric import CocoAverages  # noqa: E402
from support import squares  # noqa: E402
from support.squares import each, put  # noqa: E402

DESIGN = Architecture.parse("vit_pico@96:g")
TRAINING = DetectionTraining(detector="mask_rcnn", channels=32, flip=0)


def read(data: DetectionData) -> list[dict[str, Any]]:
    """What the training and the validation pipeline give, image by image."""
    paths = data_sets.prepare(data, masks=True)
    config = proxy_config(
        DESIGN, paths, TRAINING, fidelity=Fidelity(epochs=1), images=ProxyImages(4), seed=0, accumulated=1
    )
    found = []
    for loader in ("train_dataloader", "val_dataloader"):
        with (
            DefaultScope.overwrite_default_scope("mmdet"),
            Path(os.devnull).open("w", encoding="utf-8") as out,
            redirect_stdout(out),
        ):
            dataset = DATASETS.build(dict(config[loader]["dataset"]))
        for place in range(len(dataset)):
            item = dataset[place]
            truth = item["data_samples"].gt_instances
            found.append(
                {
                    "pixels": item["inputs"].numpy(),
                    "boxes": np.asarray(truth.bboxes.tensor if hasattr(truth.bboxes, "tensor") else truth.bboxes),
                    "labels": truth.labels.numpy(),
                    "masks": truth.masks.masks,
                }
            )
    return found


def averages(data: DetectionData) -> dict[str, float]:
    """The scorer's averages of perfect detections, found in the pixels."""
    paths = data_sets.prepare(data, masks=True)
    metric = CocoAverages(ann_file=str(paths.val.annotations), metric=["bbox"])
    metric.dataset_meta = {"classes": paths.classes}
    rows = []
    for image in metric._coco_api.dataset["images"]:
        place = next(at for at, one in enumerate(squares.content(seed=1)["images"]) if one["id"] == _plain(image))
        truth = [one for one in squares.content(seed=1)["annotations"] if one["image_id"] == place + 1]
        rows.append(
            (
                None,
                {
                    "img_id": image["id"],
                    "labels": np.array([one["category_id"] - 1 for one in truth]),
                    "scores": np.full(len(truth), 0.9),
                    "bboxes": np.array([_corners(one["bbox"]) for one in truth], float),
                },
            )
        )
    return metric.compute_metrics(rows)


def _plain(image: dict[str, Any]) -> int:
    """Number of an image by its file's name."""
    (digits,) = re.findall(r"^(\d+)", re.split(r"[/\\]", image["file_name"])[-1])
    return int(digits)


def _corners(box: list[int]) -> list[int]:
    left, top, width, height = box
    return [left, top, left + width, top + height]


def large_ids(found: squares.Content) -> None:
    for image in found["images"]:
        image["id"] += 7706992903151817196
    for number, one in enumerate(found["annotations"]):
        one["id"], one["image_id"] = 2**63 - 1 - number, one["image_id"] + 7706992903151817196
        one["category_id"] -= 2**62
    for category in found["categories"]:
        category["id"] -= 2**62


def ids_from_zero(found: squares.Content) -> None:
    for key in ("images", "annotations", "categories"):
        for entry in found[key]:
            entry["id"] -= 1
    for one in found["annotations"]:
        one["image_id"], one["category_id"] = one["image_id"] - 1, one["category_id"] - 1


def floats(found: squares.Content) -> None:
    for image in found["images"]:
        image |= {"id": float(image["id"]), "height": 64.0, "width": 96.0}
    for one in found["annotations"]:
        one |= {key: float(one[key]) for key in ("id", "image_id", "category_id", "iscrowd")}


def runs(found: squares.Content) -> None:
    """Masks as runs, uncompressed and compressed in turn."""
    from pycocotools import mask

    for number, one in enumerate(found["annotations"]):
        left, top, width, height = one["bbox"]
        pixels = np.zeros((squares.HEIGHT, squares.WIDTH), np.uint8, order="F")
        pixels[top : top + height, left : left + width] = 1
        edges = np.flatnonzero(np.diff(pixels.ravel("F"), prepend=0, append=1 - pixels.ravel("F")[-1]))
        counts = np.diff(np.concatenate([[0], edges])).tolist()
        coded = mask.encode(pixels)["counts"].decode()
        one["segmentation"] = {"size": [squares.HEIGHT, squares.WIDTH], "counts": coded if number % 2 else counts}


def annotations_first(found: squares.Content) -> squares.Content:
    return {
        "annotations": found["annotations"],
        "info": {"x": [1]},
        "categories": found["categories"],
        "images": found["images"],
    }


def in_place(found: squares.Content, change: Any) -> None:
    for image in found["images"]:
        image["file_name"] = change(image["file_name"])


def stored(path: Path, pixels: squares.Picture) -> None:
    """As annotated, with an EXIF that turns it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., ::-1]).save(path, exif=exif)


def upright(path: Path, pixels: squares.Picture) -> None:
    """As annotated once it is turned as its EXIF says."""
    stored(path, cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE))


def twelve_bits(path: Path, pixels: squares.Picture) -> None:
    squares.write_picture(path, pixels.astype(np.uint16) << 4)


TWINS: dict[str, dict[str, Any]] = {
    "ids from 0": {"change": ids_from_zero},
    "ids of 64 bits": {"change": large_ids},
    "whole numbers as floats": {"change": floats},
    "null": {"change": each("annotations", put(iscrowd=None, area=None))},
    "area 0": {"change": each("annotations", put(area=0))},
    "byte-order mark": {"dump": lambda found: b"\xef\xbb\xbf" + json.dumps(found).encode()},
    "one line an entry": {"dump": lambda found: json.dumps(found, indent=1).encode()},
    "no spaces": {"dump": lambda found: json.dumps(found, separators=(",", ":")).encode()},
    "annotations first": {"change": annotations_first},
    "masks as runs": {"change": runs},
    "Windows folders": {"change": each("images", lambda one: one.update(file_name=f".\\{one['file_name']}"))},
    "absolute names": {"absolute": True},
    "decomposed letters": {
        "suffix": "\u00e9.png",
        "change": each("images", lambda one: one.update(file_name=unicodedata.normalize("NFD", one["file_name"]))),
    },
    "odd names": {"suffix": "\u00a0\u202f\U0001f469\u200d\U0001f52c 100%#?.png"},
    "stored pixels of turned images": {"written": stored},
    "turned images": {"written": upright},
    "12 of 16 bits": {"written": twelve_bits, "train": {"bits": 12}, "val": {"bits": 12}},
}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], dict[str, float]]:
    data = squares.write(tmp_path_factory.mktemp("clean"))
    return read(data), averages(data)


@pytest.mark.slow
@pytest.mark.parametrize("name", TWINS)
def test_a_set_is_read_and_scored_as_its_clean_twin(
    tmp_path: Path, clean: tuple[list[dict[str, Any]], dict[str, float]], name: str
) -> None:
    settings = dict(TWINS[name])
    if settings.pop("absolute", False):
        root = tmp_path

        def inside(found: squares.Content) -> None:
            part = "val" if found["annotations"] == squares.content(seed=1)["annotations"] else "train"
            in_place(found, lambda file: str(root / part / file))

        settings["change"] = inside
    data = squares.write(tmp_path, settings.pop("change", lambda found: None), **settings)
    assert data_sets.check(data, masks=True) == []
    items, expected = read(data), clean[0]
    assert len(items) == len(expected) == 8
    for item, wanted in zip(items, expected, strict=True):
        for key, value in wanted.items():
            assert np.array_equal(item[key], value), key
    assert averages(data) == clean[1]
    assert clean[1]["bbox_mAP"] == 1.0


def test_what_is_to_be_ignored_is_neither_learnt_nor_scored(tmp_path: Path) -> None:
    def change(found: squares.Content) -> None:
        for one in found["annotations"][::2]:
            one["ignore"] = 1

    data = squares.write(tmp_path, change)
    report = data_sets.examine(data)
    assert report.problems == []
    assert "is marked as ignore" in report.notices[0]
    assert "4 of 8 in all" in report.notices[0]
    paths = data_sets.prepare(data)
    metric = CocoAverages(ann_file=str(paths.val.annotations), metric=["bbox"])
    metric.dataset_meta = {"classes": paths.classes}
    kept = squares.content(seed=1)["annotations"][1::2]
    rows = [
        (
            None,
            {
                "img_id": one["image_id"],
                "labels": np.array([one["category_id"] - 1]),
                "scores": np.array([0.9]),
                "bboxes": np.array([_corners(one["bbox"])], float),
            },
        )
        for one in kept
    ]
    assert metric.compute_metrics(rows)["bbox_mAP"] == 1.0


def test_boxes_that_pass_an_edge_are_cut_off_in_training_and_scoring(tmp_path: Path) -> None:
    def change(found: squares.Content) -> None:
        found["annotations"][0]["bbox"] = [-10, -10, 40, 40]

    data = squares.write(tmp_path, change, parts=("val",))
    (notice,) = data_sets.examine(data).notices
    assert "these boxes are cut off at the edge, in training and in scoring" in notice
    paths = data_sets.prepare(data)
    from piip_workers.tasks.detection.annotations import truth_of

    assert truth_of(str(paths.val.annotations)).anns[1]["bbox"] == [0, 0, 30, 30]


def test_other_contents_of_an_image_are_other_data(tmp_path: Path) -> None:
    data = squares.write(tmp_path, suffix=".bmp")
    before = data_sets.fingerprint(data)
    picture = tmp_path / "val" / "2.bmp"
    state = picture.stat()
    content = picture.read_bytes()
    picture.write_bytes(content[:-30] + bytes(30))
    assert picture.stat().st_size == state.st_size
    assert data_sets.fingerprint(data) != before
    picture.write_bytes(content)
    assert data_sets.fingerprint(data) == before
    for said in ({"bits": 12}, {"orientation": "stored"}):
        assert data_sets.fingerprint(squares.write(tmp_path, suffix=".bmp", train=said)) != before
