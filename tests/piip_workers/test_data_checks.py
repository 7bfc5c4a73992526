"""What is wrong with a data set is told before anything is trained, a line a kind."""

import json
import os
import resource
import threading
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

cv2 = pytest.importorskip("cv2")

import squares  # noqa: E402
from hostile import deadline  # noqa: E402
from squares import each, put  # noqa: E402

from piip_search.shipped import find_space  # noqa: E402
from piip_search.spec import Data, load_spec  # noqa: E402
from piip_search.wiring.spaces import watched_images  # noqa: E402
from piip_workers import data as data_sets  # noqa: E402


def problems_of(data: Data, masks: bool = False) -> list[str]:
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
        (enlarged, "got 48 x 32, and 1.png has 96 x 64"),
        (enlarged, "4 of 4 in all; all of these files are 2 times as large"),
        (exchanged, "height and width look exchanged"),
        (each("annotations", put(iscrowd=1)), "annotations: are all crowds (iscrowd 1)"),
        (each("annotations", put(ignore=1)), "annotations: are all crowds (iscrowd 1), or to be ignored"),
        (each("annotations", put(bbox=None)), "annotations[0].bbox: is missing; also annotations[1]"),
        (each("images", put(id="7")), "images[0].id: must be a whole number, got '7'"),
        (each("images", put(height=64.5)), "images[0].height: must be a whole number, got 64.5"),
        (each("annotations", put(id=2**63)), "must be a number of at most 64 bits"),
        (each("annotations", put(area="9")), "must be the object's area in pixels, or not there, got '9'"),
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


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    data = squares.write(tmp_path)
    for name, odd in (("1", os.mkfifo), ("2", os.mkdir)):
        (tmp_path / "train" / f"{name}.png").unlink()
        odd(tmp_path / "train" / f"{name}.png")
    (tmp_path / "train" / "3.png").unlink()
    (tmp_path / "train" / "3.png").symlink_to("/dev/zero")
    with deadline(20):
        (line,) = problems_of(data)
    assert "images[0].file_name: must be a regular file, and not a folder, a pipe or a device" in line
    assert "3 of 4 in all" in line


def test_a_link_to_nothing_and_a_long_name_are_missing_files(tmp_path: Path) -> None:
    data = squares.write(tmp_path)
    (tmp_path / "val" / "2.png").unlink()
    (tmp_path / "val" / "2.png").symlink_to("/nowhere.png")
    (line,) = problems_of(data)
    assert "it is a link to /nowhere.png, which is not there" in line
    long = squares.write(tmp_path / "long", named(lambda name: "\u00e9" * 300 + name), parts=("train",))
    assert "no such image" in problems_of(long)[0]


@pytest.mark.parametrize(("suffix", "orientation"), [(".tiff", 3), (".tiff", 6)])
def test_a_tag_that_the_library_does_not_obey_is_never_guessed(tmp_path: Path, suffix: str, orientation: int) -> None:
    """Pixels are as the annotations say, or the set is refused."""

    def written(path: Path, pixels: squares.Picture) -> None:
        turned(orientation)(path, pixels)

    upright = squares.write(tmp_path / "upright", written=written, suffix=suffix)
    stored = {"orientation": "stored"}
    said = squares.write(tmp_path / "stored", written=written, suffix=suffix, train=stored, val=stored)
    for data in (upright, said):
        assert (problems_of(data) == []) == (orientation == 6)  # sizes say what a half turn hides


@pytest.mark.parametrize("suffix", [".ppm", ".png", ".tiff"])
def test_depth_is_known_in_every_format(tmp_path: Path, suffix: str) -> None:
    def dark(path: Path, pixels: squares.Picture) -> None:
        deep = pixels.astype(np.uint16) << 2
        deep[0, 0] = 65535  # a broken pixel of a sensor
        squares.write_picture(path, deep)

    assert "set data.bits to 10" in problems_of(squares.write(tmp_path, written=dark, suffix=suffix))[0]


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
    assert "categories[0].name: is that of another category, and no object has this one, got 'red'" in report.notices[0]
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


TURN = {6: cv2.ROTATE_90_COUNTERCLOCKWISE, 3: cv2.ROTATE_180}


def turned(orientation: int) -> squares.Write:
    """Writes pictures whose pixels are stored turned, and stand upright with their EXIF."""

    def written(path: Path, pixels: squares.Picture) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = cv2.rotate(pixels, TURN[orientation])
        Image.fromarray(stored[..., ::-1]).save(path, quality=100, subsampling=0, exif=exif)

    return written


def test_a_turned_image_whose_size_tells_nothing_needs_a_word(tmp_path: Path) -> None:
    data = squares.write(tmp_path, written=turned(3), suffix=".jpg")
    found = problems_of(data)
    assert len(found) == 2
    assert "got orientation 3 in 1.jpg" in found[0]
    assert "orientation: exif where they are, orientation: stored where they are of the pixels as stored" in found[0]
    for said in ("exif", "stored"):
        part = {"orientation": said}
        assert problems_of(squares.write(tmp_path, written=turned(3), suffix=".jpg", train=part, val=part)) == []


def test_turned_images_are_read_as_their_sizes_say(tmp_path: Path) -> None:
    data = squares.write(tmp_path, written=turned(6), suffix=".jpg")
    report = data_sets.examine(data)
    assert (report.problems, report.notices) == ([], [])  # upright annotations
    wrong = squares.write(tmp_path / "other", written=turned(6), suffix=".jpg", train={"orientation": "stored"})
    assert "height and width must be those of its file" in problems_of(wrong)[0]


@pytest.mark.parametrize(("bits", "told"), [(12, "set data.bits to 12"), (8, "set data.bits to 8")])
def test_images_that_would_be_read_as_black_need_a_word(tmp_path: Path, bits: int, told: str) -> None:
    def deep(path: Path, pixels: squares.Picture) -> None:
        scaled = pixels.astype(np.uint32) * ((1 << bits) - 1) // 220
        squares.write_picture(path, scaled.astype(np.uint16))

    found = problems_of(squares.write(tmp_path / "a", written=deep))
    assert len(found) == 2
    assert told in found[0]
    assert problems_of(squares.write(tmp_path / "a", written=deep, bits=bits)) == []
    if bits > 8:
        assert (
            f"data.bits is 8, and they use {bits}"
            in problems_of(squares.write(tmp_path / "a", written=deep, bits=8))[0]
        )


def test_images_of_all_their_bits_and_of_none_that_can_be_read(tmp_path: Path) -> None:
    def full(path: Path, pixels: squares.Picture) -> None:
        squares.write_picture(path, pixels.astype(np.uint16) << 8)

    def floats(path: Path, pixels: squares.Picture) -> None:
        squares.write_picture(path, pixels.astype(np.float32) / 255)

    def grey_floats(path: Path, pixels: squares.Picture) -> None:
        floats(path, pixels[..., 0])

    assert problems_of(squares.write(tmp_path / "full", written=full)) == []
    for written in (floats, grey_floats):
        found = problems_of(squares.write(tmp_path / written.__name__, written=written, suffix=".tiff"))
        assert "must hold whole numbers of 8 or 16 bits without a sign, got 32-bit floating-point numbers" in found[0]


def named(change: Any) -> squares.Change:
    return each("images", lambda image: image.update(file_name=change(image["file_name"])))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        (lambda name: f"train/{name}", "it is there relative to"),
        (lambda name: f"x/{name}", "lies in"),
        (lambda name: name.replace(".png", ".PNG"), "capital and small letters differ"),
        (lambda name: name.replace(".png", ".jpg"), "the ending differs"),
        (lambda name: f"x\\y{name}", "divided by \\, as on Windows"),
        (lambda name: f"../{name}", "must be a file in the folder of images"),
        (lambda name: f"/elsewhere/{name}", "must be a file in the folder of images"),
        (lambda name: f"a\n{name}", "must be the name of a file"),
        (lambda name: "x" * 2000, "must be the name of a file"),
    ],
)
def test_a_missing_image_is_told_with_where_it_seems_to_be(tmp_path: Path, name: Any, hint: str) -> None:
    (line,) = problems_of(squares.write(tmp_path, named(name), parts=("train",)))
    assert line.startswith(f"{tmp_path / 'train.json'}: images[0].file_name: ")
    assert hint in line


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
        (b'{"images": [], "images": []}', "the key 'images' stands twice"),
        ({"images": []}, "a list of images alone"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: Any, told: str) -> None:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    (line,) = problems_of(squares.write(tmp_path, lambda _: raw, parts=("train",)))
    assert line.startswith(f"{tmp_path / 'train.json'}: ")
    assert told in line


def test_an_oblong_image_and_one_full_of_masks_are_told(tmp_path: Path) -> None:
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


def test_a_relative_root_is_told_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = squares.write(tmp_path).model_copy(update={"root": Path("gone")})
    (line,) = problems_of(data)
    assert line.startswith(f"data.root: no folder gone ({tmp_path / 'gone'}: a relative path starts at")


def test_training_images_that_cannot_be_decoded_are_told(tmp_path: Path) -> None:
    def broken(some: tuple[str, ...]) -> squares.Write:
        def written(path: Path, pixels: squares.Picture) -> None:
            squares.write_picture(path, pixels)
            if path.parent.name == "train" and path.stem in some:
                path.write_bytes(b"<html>not found</html>")

        return written

    few = squares.write(tmp_path / "few", written=broken(("2",)))
    report = data_sets.undecodable_training_images(few, None)
    assert report.problems == []
    assert "1 of 4 training images cannot be decoded" in report.notices[0]
    assert str(tmp_path / "few/train/2.png") in report.notices[0]
    most = squares.write(tmp_path / "most", written=broken(("1", "2", "3")))
    assert data_sets.undecodable_training_images(most, 4).problems[0].endswith("restore the files")


def test_all_training_images_are_looked_at_while_a_search_runs(tmp_path: Path) -> None:
    def many(found: squares.Content) -> None:
        for number in range(5, data_sets.SAMPLE + 8):
            name = f"more/{number}.png"
            found["images"].append({"id": number, "file_name": name, "height": squares.HEIGHT, "width": squares.WIDTH})
            squares.write_picture(tmp_path / "train" / name, np.zeros((squares.HEIGHT, squares.WIDTH, 3), np.uint8))

    data = squares.write(tmp_path, many, parts=("train",))
    files = sorted((tmp_path / "train").rglob("*.png"))
    for file in files:
        content = file.read_bytes()
        file.write_bytes(b"broken")
        if not data_sets.undecodable_training_images(data, data_sets.SAMPLE).notices:
            break  # not among those that are looked at beforehand
        file.write_bytes(content)
    else:
        pytest.fail("all images were looked at beforehand")
    spec = load_spec(find_space("quickstart")).model_copy(update={"data": data})
    told: list[str] = []
    shown = threading.Event()

    def noted(text: str) -> None:
        told.append(text)
        shown.set()

    with watched_images(spec, noted):
        assert shown.wait(60)
    assert str(file) in told[0]
    assert data_sets.undecodable_training_images(data, None, ended=lambda: True).notices == []


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
@settings(max_examples=150, deadline=None)
@given(outline=OUTLINES, crowd=st.sampled_from([0, 1, None]), box=st.one_of(st.none(), st.lists(NUMBERS, max_size=5)))
def test_nothing_in_a_file_hangs_or_fills_the_memory(
    tmp_path_factory: pytest.TempPathFactory, outline: Any, crowd: Any, box: Any
) -> None:
    """What the checks let through is scored, as detections of itself, in bounded time and memory."""
    pytest.importorskip("mmdet")
    from piip_workers.annotations import truth_of
    from piip_workers.metric import CocoAverages

    def change(found: squares.Content) -> None:
        found["annotations"][1] |= {"segmentation": outline, "iscrowd": crowd}
        if box is not None:
            found["annotations"][0]["bbox"] = box

    data = squares.write(tmp_path_factory.getbasetemp() / f"fuzz-{os.getpid()}", change, parts=("val",))
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    try:
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, before[1]))
        with deadline(20):
            if problems_of(data, masks=True) or data_sets.unsuited(data, "segm_mAP", "mask_rcnn", masks=True):
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


def test_composed_and_decomposed_names_are_one(tmp_path: Path) -> None:
    def decomposed(image: dict[str, Any]) -> None:
        image["file_name"] = unicodedata.normalize("NFD", image["file_name"])

    data = squares.write(tmp_path, each("images", decomposed), suffix="\u00e9\u202f\U0001f98a.png")
    assert problems_of(data) == []
