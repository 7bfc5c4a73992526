"""What is wrong with a data set is told before anything is trained, a line a kind."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")

from piip_search.tasks.detection.section import DetectionData  # noqa: E402
from piip_workers.tasks.detection import data as data_sets  # noqa: E402
from piip_workers.tasks.detection.coco.annotation_file import annotations_of  # noqa: E402
from support import squares  # noqa: E402
from support.squares import each, put  # noqa: E402


def problems_of(data: DetectionData, masks: bool = False) -> list[str]:
    return data_sets.examine(data, masks).problems


def corners(one: dict[str, Any]) -> None:
    left, top, width, height = one["bbox"]
    one["bbox"] = [left, top, left + width, top + height]


def turned_corners(one: dict[str, Any]) -> None:
    left, top, width, height = one["bbox"]
    one["bbox"] = [top, left, top + height, left + width]


def centres(one: dict[str, Any]) -> None:
    left, top, width, height = one["bbox"]
    one["bbox"] = [left + width / 2, top + height / 2, width, height]


def shares(one: dict[str, Any]) -> None:
    left, top, width, height = one["bbox"]
    one["bbox"] = [left / squares.WIDTH, top / squares.HEIGHT, width / squares.WIDTH, height / squares.HEIGHT]


def without_segmentation(change: Any) -> Any:
    def changed(one: dict[str, Any]) -> None:
        change(one)
        one.pop("segmentation")

    return changed


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (corners, "these look like x1 y1 x2 y2"),
        (without_segmentation(corners), "these look like x1 y1 x2 y2"),
        (turned_corners, "these look like y1 x1 y2 x2"),
        (centres, "these look like centre x, centre y, width, height"),
        (shares, "these look like shares of the image from 0 to 1, as in YOLO"),
        (without_segmentation(shares), "these look like shares of the image from 0 to 1, as in YOLO"),
    ],
)
def test_boxes_in_another_format_are_told_as_such(tmp_path: Path, change: Any, told: str) -> None:
    found = problems_of(squares.write(tmp_path, each("annotations", change)))
    assert len(found) == 2
    assert found[0].startswith(f"{tmp_path / 'train.json'}: annotations[")
    assert "must be [left, top, width, height] in pixels, got [" in found[0]
    assert found[0].endswith(told)


def moved(one: dict[str, Any]) -> None:
    one["bbox"][0] += 500


def enlarged(found: squares.Content) -> None:
    for image in found["images"]:
        image["height"], image["width"] = squares.HEIGHT // 2, squares.WIDTH // 2


def exchanged(found: squares.Content) -> None:
    for image in found["images"]:
        image["height"], image["width"] = squares.WIDTH, squares.HEIGHT


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (each("annotations", moved), "annotations[0].bbox: lies outside of its image, got ["),
        (enlarged, "got 48 x 32, but 1.png has 96 x 64"),
        (enlarged, "4 of 4 in all; all of these files are 2 times as large"),
        (exchanged, "height and width look exchanged"),
        (each("annotations", put(iscrowd=1)), "annotations: are all crowds (iscrowd 1)"),
        (each("annotations", put(ignore=1)), "annotations: are all crowds (iscrowd 1) or ignored"),
        (each("annotations", put(bbox=None)), "annotations[0].bbox: is missing; also annotations[1]"),
        (each("images", put(id="7")), "images[0].id: must be a whole number, got '7'"),
        (each("images", put(height=64.5)), "images[0].height: must be a whole number, got 64.5"),
        (each("annotations", put(id=2**63)), "must be a number of at most 64 bits"),
        (each("annotations", put(id=10**30)), "must be a number of at most 64 bits"),
        (each("annotations", put(area="9")), "must be the object's area in pixels, or absent, got '9'"),
        (each("annotations", put(ignore="yes")), ".ignore: must be 0 or 1, got 'yes'"),
    ],
)
def test_what_is_wrong_in_all_entries_is_one_line(tmp_path: Path, change: squares.Change, told: str) -> None:
    found = problems_of(squares.write(tmp_path, change, parts=("train",)))
    assert len(found) == 1
    assert found[0].startswith(f"{tmp_path / 'train.json'}: ")
    assert told in found[0]
    assert len(found[0]) < 700


def test_a_line_names_three_places_and_the_count(tmp_path: Path) -> None:
    (line,) = problems_of(squares.write(tmp_path, each("annotations", put(category_id=9)), parts=("val",)))
    assert line == (
        f"{tmp_path / 'val.json'}: annotations[0].category_id: no category has this id, got 9; "
        "also annotations[1] (9), annotations[2] (9); 8 of 8 in all; add it to categories"
    )


RLE = {"size": [squares.HEIGHT, squares.WIDTH], "counts": [10, 20, squares.HEIGHT * squares.WIDTH - 30]}


@pytest.mark.parametrize(
    ("segmentation", "told"),
    [
        ([1, 2, 3, 4, 5, 6], "it lacks the outer list, as VIA writes it"),
        ([[[1, 2], [3, 4], [5, 6]]], "these are pairs [x, y], as LabelMe writes them"),
        ([[1, 2, 3, 4, 5]], "must have an x and a y for each corner"),
        ([[1, 2, 30, 40]], "must enclose an area"),
        ([[1, 2, 1, 40, 1, 9]], "must enclose an area"),
        ([[1, 1, 2, 2, 3, 3]], "must enclose an area"),
        ([[float("nan"), 1, 5, 5, 7, 7]], "must hold finite numbers of pixels"),
        ([[1e400, 1, 5, 5, 7, 7]], "must hold finite numbers of pixels"),
        ([[10**400, 1, 5, 5, 7, 7]], "must hold finite numbers of pixels"),
        ([[1e9, 1, 5, 5, 7, 7]], "must lie within 100,000 pixels"),
        ([[0, 0, 90000, 0, 0, 50, 90000, 90] * 9], "must have edges of at most 1,000,000 pixels"),
        ([[400, 1, 450, 5, 470, 70]], "must lie on its image"),
        ([["1", "2", "3", "4", "5", "6"]], "must be a list of polygons"),
        ([[None] * 6], "must be a list of polygons"),
        ("text", "must be a list of polygons"),
        (7, "must be a list of polygons"),
        ({"size": [64, 96], "counts": [5, 5]}, "these add up to 10, and 64 x 96 is 6,144"),
        ({"size": [64, 96], "counts": [7000, -856]}, "must have runs that add up to height x width"),
        ({"size": [64, 96], "counts": "zzzz!!"}, "must be an RLE with size [height, width]"),
        ({"size": [64, 96], "counts": "o" * 40}, "must be an RLE"),
        ({"size": [64, 96], "counts": [6144]}, "must enclose an area"),
        ({"size": [96, 64], "counts": RLE["counts"]}, "these look like [width, height]; COCO's order"),
        ({"size": [32, 32], "counts": [10, 1014]}, "must have the size of its image, got [32, 32] where the image has"),
        ({"size": [2**40, 2**40], "counts": [1]}, "must have sides of 1 to 100,000 pixels"),
        ({"counts": [1]}, "must be an RLE"),
        ({"size": [64, 96], "counts": [2**70]}, "must be an RLE"),
    ],
)
def test_an_outline_that_would_harm_a_library_is_refused(tmp_path: Path, segmentation: Any, told: str) -> None:
    def change(found: squares.Content) -> None:
        found["annotations"][2]["segmentation"] = segmentation

    data = squares.write(tmp_path, change, parts=("val",))
    (line,) = problems_of(data, masks=True)
    assert line.startswith(f"{tmp_path / 'val.json'}: annotations[2].segmentation: ")
    assert told in line
    assert problems_of(data) == []  # boxes are all that is learnt


@pytest.mark.parametrize("counts", [RLE["counts"], None])
def test_a_sound_outline_passes_in_every_form(tmp_path: Path, counts: Any) -> None:
    from pycocotools import mask

    coded = mask.frPyObjects({"size": RLE["size"], "counts": RLE["counts"]}, squares.HEIGHT, squares.WIDTH)
    outline = {"size": [float(side) for side in RLE["size"]], "counts": counts or coded["counts"].decode()}
    boxed = put(segmentation=outline, bbox=[0, 10, 1, 20], area=20)
    assert problems_of(squares.write(tmp_path, each("annotations", boxed)), True) == []


def by_row(one: dict[str, Any]) -> None:
    """Writes a mask row by row, where COCO goes column by column."""
    left, top, width, height = one["bbox"]
    mask = np.zeros((squares.HEIGHT, squares.WIDTH), np.uint8)
    mask[top : top + height, left : left + width] = 1
    edges = np.flatnonzero(np.diff(mask.ravel(), prepend=0))
    counts = np.diff(np.concatenate([[0], edges, [mask.size]])).tolist()
    one["segmentation"] = {"size": [squares.HEIGHT, squares.WIDTH], "counts": counts}


def test_masks_that_lie_elsewhere_than_their_boxes_are_told(tmp_path: Path) -> None:
    found = problems_of(squares.write(tmp_path, each("annotations", by_row)), masks=True)
    assert len(found) == 2
    assert "annotations[0].bbox: must surround the segmentation" in found[0]


@pytest.mark.parametrize("value", [float("nan"), None])
def test_null_is_what_is_not_there_however_it_is_written(tmp_path: Path, value: Any) -> None:
    data = squares.write(tmp_path, each("annotations", put(area=value, iscrowd=value, ignore=value)))
    report = data_sets.examine(data, masks=True)
    assert (report.problems, report.notices) == ([], [])
    without = squares.write(tmp_path / "masks", each("annotations", put(segmentation=value)))
    assert problems_of(without) == []
    assert "have no segmentation" in data_sets.unsuited(without, "segm_mAP", "mask_rcnn", masks=True)[0]


def test_boxes_in_percent_are_told_as_such(tmp_path: Path) -> None:
    def large(path: Path, pixels: squares.Picture) -> None:
        squares.write_picture(path, cv2.resize(pixels, None, fx=10, fy=10, interpolation=cv2.INTER_NEAREST))

    def percents(found: squares.Content) -> None:
        for image in found["images"]:
            image |= {"height": 10 * squares.HEIGHT, "width": 10 * squares.WIDTH}
        for one in found["annotations"]:
            left, top, width, height = one["bbox"]
            one["bbox"] = [
                100 * left / squares.WIDTH,
                100 * top / squares.HEIGHT,
                100 * width / squares.WIDTH,
                100 * height / squares.HEIGHT,
            ]
            del one["segmentation"], one["area"]

    found = problems_of(squares.write(tmp_path, percents, written=large))
    assert found[0].endswith("these look like percents of the image, as in Label Studio")


def test_a_box_that_passes_an_edge_does_not_make_another_format(tmp_path: Path) -> None:
    def large(found: squares.Content) -> None:
        for one in found["annotations"]:
            one |= {"bbox": [3, 3, squares.WIDTH, squares.HEIGHT], "area": squares.WIDTH * squares.HEIGHT}
            del one["segmentation"]

    found = problems_of(squares.write(tmp_path, large, parts=("train",)))
    assert "must end inside of its image" in found[0]
    assert "look like" not in found[0]


def test_a_file_is_parsed_once_for_all_that_a_command_asks(tmp_path: Path) -> None:
    def parsed(done: int, total: int) -> None:
        pytest.fail("the file is parsed again")

    data = squares.write(tmp_path)
    assert problems_of(data, masks=True) == []
    paths = data_sets.prepare(data)
    data_sets.fingerprint(data)
    for split in (paths.train, paths.val):
        annotations_of(split.annotations, masks=True, outlines=True, progress=parsed)
        annotations_of(split.annotations, progress=parsed)

    def unsound(found: squares.Content) -> None:
        found["annotations"][0]["segmentation"] = [1, 2, 3]

    other = squares.write(tmp_path / "other", unsound)
    assert problems_of(other, masks=True)
    assert data_sets.contents(data_sets.prepare(other).train).objects == 8  # boxes alone do not mind the outline


@pytest.mark.parametrize("scale", [1 / (squares.WIDTH * squares.HEIGHT), 4.0])
def test_areas_that_are_not_in_pixels_are_told(tmp_path: Path, scale: float) -> None:
    def scaled(one: dict[str, Any]) -> None:
        one["area"] *= scale

    (line,) = problems_of(squares.write(tmp_path / "all", each("annotations", scaled), parts=("train",)))
    assert "annotations[0].area: must be about that of the box, or of the outline in it, got " in line
    assert line.endswith("write it in pixels, or leave it out")

    def some(found: squares.Content) -> None:
        scaled(found["annotations"][0])

    report = data_sets.examine(squares.write(tmp_path / "one", some, parts=("train",)))
    assert report.problems == []
    assert report.notices[0].endswith("averages by size may be wrong")


def test_a_category_without_objects_under_the_name_of_another_is_left_out(tmp_path: Path) -> None:
    def roboflow(found: squares.Content) -> None:
        found["categories"].insert(0, {"id": 0, "name": "red", "supercategory": "none"})

    data = squares.write(tmp_path, roboflow)
    report = data_sets.examine(data)
    assert report.problems == []
    assert "categories[0].name: belongs to another category, and no object has this one, got 'red'" in report.notices[0]
    assert data_sets.prepare(data).classes == ("red", "blue")


def test_names_that_only_look_alike_are_explained(tmp_path: Path) -> None:
    def composed(found: squares.Content) -> None:
        found["categories"][0]["name"] = "Red "

    (line,) = problems_of(squares.write(tmp_path, composed, parts=("val",)))
    assert "they differ in spaces, in capital letters, or in how letters with accents are composed" in line


def test_objects_without_an_area_are_left_out_where_they_are_few(tmp_path: Path) -> None:
    def change(found: squares.Content) -> None:
        one = found["annotations"][0]
        found["annotations"] += [{**one, "id": 100 + number} for number in range(200)]
        found["annotations"][0]["bbox"] = [5, 5, 10.5, 0]
        found["annotations"][1]["bbox"] = [500, 5, 10, 10]

    report = data_sets.examine(squares.write(tmp_path, change, parts=("train",)))
    assert report.problems == []
    assert [line.rpartition("; ")[2] for line in report.notices] == [
        "they are left out",
        "these objects are neither learnt nor scored",
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"annotations": [{"segments_info": []}], "images": [], "categories": []}, "this is a panoptic file; give"),
        ({"annotations": [{"caption": "x"}], "images": []}, "this is a file of captions"),
        ({"annotations": [{"keypoints": [1]}], "images": [], "categories": []}, "a file of keypoints without boxes"),
        ({"images": [{"neg_category_ids": []}], "annotations": [], "categories": []}, "this is an LVIS file"),
        ([{"image_id": 1, "bbox": [], "score": 1}], "a list of detections, not of ground truth"),
        ([{"image": "a", "annotations": []}], "a CreateML file"),
        ({"shapes": [], "imagePath": "a"}, "a LabelMe file of one image"),
        ({"a.png1": {"filename": "a.png", "regions": []}}, "a VIA project"),
        ({"type": "FeatureCollection", "features": []}, "a GeoJSON file"),
        (b"0 0.5 0.5 0.1 0.1\n", "not JSON"),
        (b"<?xml version='1.0'?><annotation/>", "an XML file, such as Pascal VOC's"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "a page of a web site"),
        (b"", "not JSON"),
        (b'{"images": [', "not JSON"),
        (b"\xff\xfe{\x00}\x00", "text in UTF-16; save it as UTF-8"),
        (b'{"images": [], "images": []}', "the key 'images' is a duplicate"),
        ({"images": []}, "a list of images alone"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: Any, told: str) -> None:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    (line,) = problems_of(squares.write(tmp_path, lambda _: raw, parts=("train",)))
    assert line.startswith(f"{tmp_path / 'train.json'}: ")
    assert told in line


def test_an_oblong_image_is_told(tmp_path: Path) -> None:
    def oblong(path: Path, pixels: squares.Picture) -> None:
        squares.write_picture(path, np.zeros((600, 4, 3), np.uint8) if path.stem == "2" else pixels)

    def recorded(found: squares.Content) -> None:
        found["images"][1].update(height=600, width=4)
        found["annotations"] = [one for one in found["annotations"] if one["image_id"] != 2]

    data = squares.write(tmp_path, recorded, written=oblong)
    assert problems_of(data) == []
    assert data_sets.unsuited(data, "bbox_mAP", "retinanet", False, (256.0, 256.0)) == []
    found = data_sets.unsuited(data, "bbox_mAP", "retinanet", False, (128.0, 128.0))
    assert len(found) == 2
    assert "images[1] (2.png, 4 x 600) is so oblong that its short side would be 0 pixels at image size 128" in found[0]


def test_an_image_whose_masks_fill_the_memory_is_told(tmp_path: Path) -> None:
    def large(found: squares.Content) -> None:
        found["images"][2].update(height=60_000, width=60_000)

    data = squares.write(tmp_path, large, parts=("train",))
    assert data_sets.unsuited(data, "bbox_mAP", "retinanet", masks=False) == []
    (line,) = data_sets.unsuited(data, "segm_mAP", "mask_rcnn", masks=True)
    assert "images[2] (3.png, 60000 x 60000) holds so many masks that they take more than 4 GiB" in line


def test_outlines_that_take_long_to_draw_are_told(tmp_path: Path) -> None:
    zigzag = [value for x in range(2000) for value in (x % squares.WIDTH, (x % 2) * squares.HEIGHT)]

    def slow(found: squares.Content) -> None:
        one = found["annotations"][0]
        box = {"bbox": [0, 0, squares.WIDTH, squares.HEIGHT], "area": squares.WIDTH * squares.HEIGHT}
        found["annotations"] += [{**one, **box, "id": 100 + n, "segmentation": [zigzag]} for n in range(200)]

    data = squares.write(tmp_path, slow, parts=("val",))
    assert problems_of(data, masks=True) == []
    (line,) = data_sets.unsuited(data, "segm_mAP", "mask_rcnn", masks=True)
    assert "images[0] (1.png, 96 x 64) holds outlines with edges of more than 20,000,000 pixels" in line
    assert data_sets.unsuited(data, "bbox_mAP", "retinanet", masks=False) == []


def test_a_relative_root_is_told_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = squares.write(tmp_path).model_copy(update={"root": Path("gone")})
    (line,) = problems_of(data)
    assert line.startswith(f"data.root: no folder gone ({tmp_path / 'gone'}: a relative path starts at")
