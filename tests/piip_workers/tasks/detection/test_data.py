import copy
import json
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from piip_search.tasks.detection.section import DetectionData
from piip_workers.tasks.detection import data as data_sets

cv2 = pytest.importorskip("cv2")
pytest.importorskip("sklearn")

from piip_workers.tasks.detection.digits import compose  # noqa: E402

DIGITS = DetectionData(embedded="digits")
CONTENT: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 8}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0}],
    "categories": [{"id": 1, "name": "thing"}],
}


def write(root: Path, train: object = CONTENT, val: object = CONTENT) -> DetectionData:
    for name, content in (("train", train), ("val", val)):
        (root / name).mkdir(parents=True)
        (root / name / "a.png").write_bytes(b"picture")
        (root / f"{name}.json").write_text(
            content if isinstance(content, str) else json.dumps(content), encoding="utf-8"
        )
    part = {name: {"images": name, "annotations": f"{name}.json"} for name in ("train", "val")}
    return DetectionData.model_validate({"root": root, **part})


def changed(place: list[Any], value: object) -> dict[str, Any]:
    content = copy.deepcopy(CONTENT)
    target: Any = content
    for step in place[:-1]:
        target = target[step]
    if value is None:
        del target[place[-1]]
    else:
        target[place[-1]] = value
    return content


def test_the_embedded_set_is_coco_with_the_boxes_where_the_digits_are() -> None:
    from pycocotools.coco import COCO

    paths = data_sets.prepare(DIGITS)
    assert paths.classes == ("digit 0", "digit 1")
    for split, least in ((paths.train, 100), (paths.val, 30)):
        coco = COCO(str(split.annotations))
        assert len(coco.imgs) >= least
        sides = [annotation["bbox"][2:] for annotation in coco.anns.values()]
        assert min(max(side) for side in sides) < 25
        assert max(max(side) for side in sides) > 60
        for image in list(coco.imgs.values())[:5]:
            picture = cv2.imread(str(split.images / image["file_name"]))
            assert picture.shape == (image["height"], image["width"], 3)
            for annotation in coco.imgToAnns[image["id"]]:
                left, top, width, height = annotation["bbox"]
                inside = picture[top : top + height, left : left + width].astype(float)
                assert left >= 0
                assert top >= 0
                assert inside.shape[:2] == (height, width)
                assert inside.std() > 15  # ink on ground


def test_the_embedded_set_is_the_same_every_time(tmp_path: Path) -> None:
    one, other = compose(tmp_path / "one"), compose(tmp_path / "other")
    files = sorted(path.relative_to(one) for path in one.rglob("*.*"))
    assert all((one / file).read_bytes() == (other / file).read_bytes() for file in files)


@pytest.mark.slow
def test_processes_that_compose_at_once_agree(tmp_path: Path) -> None:
    with ProcessPoolExecutor(3) as pool:
        found = list(pool.map(compose, [tmp_path] * 3))
    assert len(set(found)) == 1
    assert [path.name for path in tmp_path.iterdir()] == [found[0].name]


def test_the_fingerprint_is_of_the_content_not_the_place(tmp_path: Path) -> None:
    one = data_sets.fingerprint(write(tmp_path / "one"))
    assert one == data_sets.fingerprint(write(tmp_path / "two"))
    other = changed(["annotations", 0, "bbox"], [0, 0, 4, 4])
    assert one != data_sets.fingerprint(write(tmp_path / "three", train=other))
    data = write(tmp_path / "four")
    (tmp_path / "four/val/a.png").write_bytes(b"another picture")
    assert one != data_sets.fingerprint(data)


def test_a_sound_set_has_no_problems(tmp_path: Path) -> None:
    data = write(tmp_path)
    assert data_sets.check(data) == []
    assert data_sets.prepare(data).classes == ("thing",)
    assert data_sets.check(DIGITS) == []


@pytest.mark.parametrize(
    ("train", "problem"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not COCO format"),
        ({"images": [], "annotations": {}}, "not COCO format"),
        (changed(["images", 0, "file_name"], None), "images[0].file_name: is missing"),
        (changed(["images", 0, "height"], "8"), "images[0].height: must be a whole number, got '8'"),
        (changed(["images", 0, "file_name"], "b.png"), "images[0].file_name: no such image, got "),
        (changed(["annotations", 0, "bbox"], [1, 2, 3]), "annotations[0].bbox: must be [left, top"),
        (changed(["annotations", 0, "bbox"], [1, 2, 3, 0]), "annotations[0].bbox: must have a positive size"),
        (changed(["annotations", 0, "bbox"], [1, 2, 3, float("nan")]), "annotations[0].bbox: must be [left, top"),
        (changed(["annotations", 0, "image_id"], 7), "annotations[0].image_id: no image has this id, got 7"),
        (changed(["annotations", 0, "category_id"], 7), "annotations[0].category_id: no category has this id, got 7"),
        (changed(["annotations", 0], 5), "annotations[0]: must be an object"),
        (changed(["annotations"], []), "annotations: is empty"),
        (changed(["annotations", 0, "id"], None), "annotations[0].id: is missing"),
        (
            changed(["annotations"], CONTENT["annotations"] * 2),
            "annotations[1].id: is a duplicate; each entry has its own, got 1 as annotations[0]",
        ),
        (
            changed(["images"], CONTENT["images"] * 2),
            "images[1].id: is a duplicate; each entry has its own, got 1 as images[0]",
        ),
    ],
)
def test_each_fault_is_one_line_with_file_and_place(tmp_path: Path, train: object, problem: str) -> None:
    found = data_sets.check(write(tmp_path, train=train))
    assert len(found) == 1
    assert found[0].startswith(str(tmp_path / "train.json"))
    assert problem in found[0]


def test_categories_must_agree_in_their_names(tmp_path: Path) -> None:
    found = data_sets.check(write(tmp_path, val=changed(["categories", 0, "name"], "other")))
    assert ["['thing'] only in train and ['other'] only in val" in line for line in found] == [True]


def test_ids_and_order_of_categories_may_differ(tmp_path: Path) -> None:
    two = changed(["categories"], [{"id": 1, "name": "thing"}, {"id": 2, "name": "other"}])
    turned = changed(["categories"], [{"id": 2, "name": "other"}, {"id": 1, "name": "thing"}])
    data = write(tmp_path, train=two, val=turned)
    assert data_sets.check(data) == []
    assert data_sets.prepare(data).classes == ("thing", "other")
    assert not data_sets.prepare(data).same_order


def test_what_a_file_holds_is_known_beforehand(tmp_path: Path) -> None:
    content = copy.deepcopy(CONTENT)
    content["images"] += [{"id": 2, "file_name": "a.png", "height": 120, "width": 40}]
    content["annotations"] += [
        {"id": 2, "image_id": 2, "category_id": 1, "bbox": [0, 0, 32, 32], "segmentation": [[0, 0, 9, 0, 9, 9]]},
        {"id": 3, "image_id": 2, "category_id": 1, "bbox": [0, 0, 99, 99], "iscrowd": 1},
    ]
    data = write(tmp_path, train=content)
    paths = data_sets.prepare(data)
    found = data_sets.contents(paths.train)
    assert (found.images, found.aspects, found.objects, found.masked) == (2, (1.0, 3.0), 3, 1)
    assert found.sizes == {"s", "m"}  # a crowd is not scored; 32 x 32 is both small and medium
    assert paths.aspects == (1.0, 3.0)
    wrong = changed(["images", 0, "width"], 0)
    found = data_sets.check(write(tmp_path / "x", train=wrong))
    assert "height and width must be 1 to 100000 pixels, got (8, 0)" in found[0]


def test_a_data_set_suits_a_detector_and_a_metric_or_not(tmp_path: Path) -> None:
    data = write(tmp_path)
    assert data_sets.unsuited(data, "bbox_mAP", "retinanet", masks=False) == []
    assert data_sets.unsuited(data, "bbox_mAP_s", "retinanet", masks=False) == []
    masks = data_sets.unsuited(data, "bbox_mAP", "cascade_mask_rcnn", masks=True)
    assert len(masks) == 2
    assert "cascade_mask_rcnn learns masks, and 1 of 1 objects in" in masks[0]
    (large,) = data_sets.unsuited(data, "bbox_mAP_l", "retinanet", masks=False)
    assert "bbox_mAP_l averages over objects of at least 9216 pixels" in large
    assert large.endswith("holds none; choose bbox_mAP")
    assert data_sets.unsuited(DIGITS, "bbox_mAP", "mask_rcnn", masks=True) == []


@pytest.mark.slow
def test_validation_images_are_decoded_once(tmp_path: Path) -> None:
    sound = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    content = changed(["images"], [{**CONTENT["images"][0], "id": i, "file_name": f"{i}.png"} for i in range(5)])
    data = write(tmp_path, val=content)
    for i in range(5):
        (tmp_path / "val" / f"{i}.png").write_bytes(sound)
    told: list[tuple[int, int]] = []

    def look(wanted: int | None = None) -> list[str]:
        told.clear()
        return data_sets.undecodable_images(data, wanted, lambda *counts: told.append(counts))

    broken = tmp_path / "val" / "3.png"
    for damage in (b"", b"no picture", None):
        broken.unlink()
        broken.write_bytes(damage) if damage is not None else None
        settle(tmp_path / "val")
        (line,) = look()
        assert line.startswith(f"{broken} cannot be decoded")
        assert "restore the file, or take it out of" in line
    broken.write_bytes(sound)
    settle(tmp_path / "val")
    assert look(2) == []
    assert look() == []
    assert told[-1] == (len(told), len(told))  # those that were looked at before are not looked at again
    assert (look(), told) == ([], [])
    broken.write_bytes(sound[:-1])
    assert (look()[0].startswith(str(broken)), told) == (True, [(1, 1)])


def settle(folder: Path) -> None:
    """Lets the files be so old that what is known of them is kept."""
    newest = max(file.stat().st_ctime for file in folder.iterdir())
    time.sleep(max(0.0, newest + 2.1 - time.time()))


def test_missing_files_are_all_named(tmp_path: Path) -> None:
    nothing = DetectionData.model_validate(
        {"root": tmp_path, **{n: {"images": n, "annotations": f"{n}.json"} for n in ("train", "val")}}
    )
    assert len(data_sets.check(nothing)) == 4
    gone = nothing.model_copy(update={"root": tmp_path / "nowhere"})
    assert data_sets.check(gone) == [
        f"data.root: no folder {tmp_path}/nowhere; put a COCO-format data set there, or name the folder that holds it"
    ]


@pytest.mark.parametrize("name", ["nuclei_dsb2018_tiny", "bccd_tiny", "coco_cc_mini_tiny", "nuclei_dsb2018"])
def test_real_sets_are_sound(shared: Path, name: str) -> None:
    splits = {
        split: {"images": split, "annotations": f"annotations/instances_{split}.json"} for split in ("train", "val")
    }
    if not (shared / "data" / name).is_dir():
        pytest.skip(f"no {shared / 'data' / name}")
    data = DetectionData.model_validate({"root": shared / "data" / name, **splits})
    assert data_sets.check(data) == []
    assert data_sets.prepare(data).classes
