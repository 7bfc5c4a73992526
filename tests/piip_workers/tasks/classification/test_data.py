"""Images and classes are read in one order, and all that is wrong with them is told at once."""

import io
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from piip_search.errors import DataError, ImageError
from piip_search.tasks.classification.section import DIGIT_CLASSES, ClassificationData
from piip_workers.tasks.classification import data as data_sets
from support import ROOT

Tree = dict[str, bytes | int | None]


def picture(colour: int = 0, kind: str = "PNG") -> bytes:
    """An image of one colour, another one for each number."""
    content = io.BytesIO()
    Image.new("RGB", (4, 4), (colour % 256, colour // 256, 7)).save(content, kind)
    return content.getvalue()


def put(root: Path, tree: Tree) -> None:
    """Writes files; a number stands for an image of that colour, None for a folder."""
    for name, content in tree.items():
        path = root / name
        (path if content is None else path.parent).mkdir(parents=True, exist_ok=True)
        if content is not None:
            path.write_bytes(picture(content) if isinstance(content, int) else content)


PETS: Tree = {"train/cat/1.png": 1, "train/dog/1.png": 2, "val/cat/1.png": 3, "val/dog/1.png": 4}


def folders(root: Path, tree: Tree, **given: Any) -> ClassificationData:
    put(root, tree)
    return ClassificationData.model_validate({"root": root, "train": "train", "val": "val"} | given)


def listed(root: Path, train: bytes, val: bytes | None = None, **columns: Any) -> ClassificationData:
    put(root, {"train.csv": train, "val.csv": train if val is None else val})
    parts = {part: {"images": "images", "list": f"{part}.csv"} | columns for part in ("train", "val")}
    return ClassificationData.model_validate({"root": root} | parts)


def only(lines: list[str]) -> str:
    """The only line."""
    assert len(lines) == 1, lines
    assert "\n" not in lines[0]
    return lines[0]


# The order


def test_classes_and_images_are_in_natural_order_and_labels_are_places(tmp_path: Path) -> None:
    data = folders(
        tmp_path,
        {f"{part}/{name}/{n}.png": 1 for part in ("train", "val") for name in ("a10", "a2", "B") for n in (10, 9)},
    )
    found = data_sets.contents(data)
    assert found.classes == ("a2", "a10", "B")
    assert found.train.names == ("a2/9.png", "a2/10.png", "a10/9.png", "a10/10.png", "B/9.png", "B/10.png")
    assert found.train.labels == (0, 0, 1, 1, 2, 2)
    assert data_sets.image_counts(data) == (6, 6)


def test_the_order_is_that_of_every_process(tmp_path: Path) -> None:
    folders(tmp_path, {f"{part}/{name}/1.png": 1 for part in ("train", "val") for name in ("a1", "a01", "A1", "a001")})
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'workers')!r}]\n"
        "from piip_search.tasks.classification.section import ClassificationData\n"
        "from piip_workers.tasks.classification.data import contents\n"
        f"print(contents(ClassificationData(root={str(tmp_path)!r}, train='train', val='val')).classes)"
    )
    orders = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert orders == {b"('A1', 'a001', 'a01', 'a1')\n"}


def test_given_classes_order_the_outputs(tmp_path: Path) -> None:
    data = folders(tmp_path, PETS, classes=["dog", "cat"])
    assert data_sets.examine(data).problems == []
    assert data_sets.contents(data).train.labels == (0, 1)
    assert data_sets.contents(data).train.names == ("dog/1.png", "cat/1.png")


def test_resolved_data_have_a_whole_path_and_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "pets", PETS)
    monkeypatch.chdir(tmp_path)
    data = ClassificationData.model_validate({"root": "pets", "train": "train", "val": "val"})
    found = data_sets.resolved(data)
    assert (found.root, found.classes, found.outputs) == (tmp_path / "pets", ("cat", "dog"), 2)
    assert data_sets.contents(found) == data_sets.contents(data)
    assert data_sets.fingerprint(found) == data_sets.fingerprint(data)


# Folders


def test_hidden_files_and_those_of_systems_are_no_class_and_no_image(tmp_path: Path) -> None:
    clutter = ["train/.DS_Store", "train/cat/._1.png", "train/.ipynb_checkpoints/1.png", "train/cat/.tmp/1.png"]
    clutter += ["val/Thumbs.db", "val/cat/desktop.ini", "train/__MACOSX/cat/1.png"]
    data = folders(tmp_path, PETS | dict.fromkeys(clutter, 9))
    report = data_sets.examine(data)
    assert (report.problems, report.notices) == ([], [])
    assert data_sets.image_counts(data) == (2, 2)


def test_images_are_found_by_ending_in_any_case_and_by_content(tmp_path: Path) -> None:
    kinds = {
        "a.JPG": "JPEG",
        "b.webp": "WEBP",
        "c.Bmp": "BMP",
        "d.tif": "TIFF",
        "e.GIF": "GIF",
        "f": "PNG",
        "g.jfif": "JPEG",
    }
    tree: Tree = {f"train/cat/{name}": picture(1, kind) for name, kind in kinds.items()}
    data = folders(tmp_path, PETS | tree | {"train/cat/notes.txt": b"BM, and more", "train/dog/x.heic": b"\0\0"})
    assert only(data_sets.examine(data).notices) == (
        "data.train: 2 files are not read as images, and are left out: 1 .heic, 1 .txt"
    )
    assert data_sets.image_counts(data) == (9, 2)
    assert data_sets.undecodable_training_images(data, None).notices == []


def test_a_missing_folder_is_told_with_those_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "data", {"train/cat/1.png": 1, "train/dog/1.png": 1, "holdout/cat/1.png": 2, ".git/x": b""})
    monkeypatch.chdir(tmp_path)
    data = ClassificationData.model_validate({"root": "data", "train": "train", "val": "val"})
    line = only(data_sets.examine(data).problems)
    assert line.startswith("data.val: no folder data/val (there are holdout and train); ")
    assert data_sets.image_counts(data) is None
    with pytest.raises(DataError, match="no folder data/val"):
        data_sets.contents(data)


def test_a_missing_root_is_one_problem(tmp_path: Path) -> None:
    data = ClassificationData.model_validate({"root": tmp_path / "none", "train": "train", "val": "val"})
    assert f"data.root: no folder {tmp_path / 'none'}" in only(data_sets.examine(data).problems)
    assert data_sets.image_counts(data) is None


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"train/animal/fox/1.png": 5}, "got|one folder deeper; move them up"),
        ({"train/cat/more/deep/1.png": 5}, "cat/more hold images one folder deeper"),
        ({"train/fox": None}, "each class must have an image that is read (PNG, JPEG, WebP, BMP, TIFF or GIF), and"),
        ({"train/fox/1.heic": b"\0", "train/fox/2.heic": b"\0"}, "these have none: 'fox' (2 .heic)"),
        ({"val/fox/1.png": 5}, "data.val: classes must be among those of training, got 'fox' (1 image)"),
        ({"val/Cat/1.png": 5}, "('Cat' and 'cat' differ in capital letters, spaces or the form of accents alone)"),
    ],
)
def test_what_is_wrong_with_class_folders(tmp_path: Path, tree: Tree, told: str) -> None:
    line = only(data_sets.examine(folders(tmp_path, PETS | tree)).problems)
    assert told.rpartition("|")[2] in line


def test_a_folder_without_classes_and_one_class_are_refused(tmp_path: Path) -> None:
    flat = folders(tmp_path / "flat", {"train/1.png": 1, "train/2.png": 2, "val/cat/1.png": 3})
    assert "must hold a folder of images for each class, and holds 2 images without a class" in only(
        data_sets.examine(flat).problems
    )
    alone = folders(tmp_path / "alone", {"train/cat/1.png": 1, "val/cat/1.png": 2})
    assert "there must be two classes or more, got 'cat' alone" in only(data_sets.examine(alone).problems)


def test_a_class_that_val_lacks_is_told_and_does_not_change_numbers(tmp_path: Path) -> None:
    data = folders(tmp_path, PETS | {"train/bee/1.png": 5, "val/bee/.gitkeep": b"", "val/0.png": 6})
    report = data_sets.examine(data)
    assert report.problems == []
    assert report.notices == [
        "data.val: 1 image beside the class folders left out: 0.png",
        "data.val: has no image of 1 of 3 classes: 'bee'; averages say nothing of them",
    ]
    assert data_sets.contents(data).val.labels == (1, 2)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    data = folders(tmp_path, PETS | {"train/x/y/1.png": 5, "train/z": None, "val/cat/a/1.png": 6})
    (tmp_path / "val" / "dog" / "2.png").symlink_to(tmp_path / "nowhere")
    assert len(data_sets.examine(data, ["top5"]).problems) == 5


def test_given_classes_must_be_those_of_the_folders(tmp_path: Path) -> None:
    problems = data_sets.examine(folders(tmp_path, PETS, classes=["cat", "Dog", "fox"])).problems
    assert "classes must be among data.classes, got 'dog' ('dog' and 'Dog' differ" in problems[0]
    assert "these have none: 'Dog', 'fox'" in problems[1]
    assert "data.val: classes must be among those of data.classes, got 'dog'" in problems[2]


@pytest.mark.parametrize(("count", "refused"), [(5, True), (6, False)])
def test_top5_needs_more_than_five_classes(tmp_path: Path, count: int, refused: bool) -> None:
    data = folders(tmp_path, {f"{part}/{name}/1.png": name for part in ("train", "val") for name in range(count)})
    problems = data_sets.examine(data, ["top1", "top5"]).problems
    assert [line.endswith("take top1") for line in problems] == [True] * refused
    assert data_sets.examine(data, ["top1"]).problems == []


# Lists

IMAGES: Tree = {"images/0001.png": 1, "images/0002.png": 2, "images/more/3.jpg": picture(3, "JPEG"), "images/4.png": 4}


@pytest.mark.parametrize(
    "content",
    [
        b"image,label\n0001.png,bolt\n0002.png,nut\n",
        b"\xef\xbb\xbfimage;label\r\n0001.png;bolt\r\n0002.png;nut\r\n\r\n",
        b'"image"\t"label"\n"0001.png"\t"bolt"\n\n"0002.png"\t"nut"',
        b"image|label|\n0001.png| bolt|\n0002.png|nut |\n",
        b"sep=;\nimage;label\n0001.png;bolt\n0002.png;nut\n",
        b"id,label\n0001,bolt\n0002,nut\n,\n",
        b"0001.png bolt\n0002.png nut\n",
        b"0001.png,bolt\n0002.png,nut\n",
        "image\tlabel\r\n0001.png\tbolt\r\n0002.png\tnut\r\n".encode("utf-16"),
    ],
)
def test_lists_are_read_as_programs_write_them(tmp_path: Path, content: bytes) -> None:
    put(tmp_path, IMAGES)
    data = listed(tmp_path, content)
    assert data_sets.examine(data).problems == []
    found = data_sets.contents(data)
    assert (found.classes, found.train.names) == (("bolt", "nut"), ("0001.png", "0002.png"))
    assert data_sets.read_image(found.train.folder / found.train.names[1]).shape == (4, 4, 3)


def test_columns_are_named_and_texts_in_quotes_hold_separators(tmp_path: Path) -> None:
    put(tmp_path, IMAGES)
    content = b'n,kind,file,note\n1,"cat, black",0001,"a ""b"""\n2,2,more\\3,\n'
    data = listed(tmp_path, content, file_column="file", label_column="kind")
    assert data_sets.examine(data).notices[2:] == []  # only that both parts share their images
    found = data_sets.contents(data)
    assert found.classes == ("2", "cat, black")
    assert found.train.names == ("more/3.jpg", "0001.png")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty; write one row an image"),
        (b"image,label\n", "must have one row an image, and has none below its header"),
        (b"image\n0001.png\n", "has one column, 'image'; a list has a column of images and a column of classes"),
        (b"image,label\n0001.png,a\n0002.png,\n", "the class must not be empty; write it, or drop the row: row 3"),
        (b"image,label\n,a\n0002.png,b\n", "the name of the image must not be empty; write it, or drop the row: row 2"),
        (b"image,label\n0001.png,a\n\n9.png,b\n", "no such image; restore it, or drop the row: row 4 ("),
        (b"image,label\n../val.csv,a\n0001.png,b\n", "images must lie in "),
        (b"image,label\n/etc/hostname,a\n0001.png,b\n", "relative to it, or set images to a folder that holds them"),
        (b"image,label\n0001.png,a\n0001,b\n", "row 3 (0001.png is a in row 2 and b)"),
        (
            b"image,label\n0001.png,a\n0002.png,b,c\n",
            "each row must have 2 cells as the first one has, and row 3 has 3",
        ),
        (b"image,label\n0001.png,a\n0002.png\n", "row 3 has 1"),
        (b",image,label\n0,0001.png,a\n1,0002.png,b\n", "the first column has no name, as that of row numbers"),
        (b"image,label\n0001.png,Stra\xdfe\n0002.png,b\n", "must be text in UTF-8, got byte 0xdf in row 2"),
        (b"PK\x03\x04xxxx", "is a ZIP archive or an Excel workbook; save the sheet as CSV"),
        (b'image,label\n"0001.png,a\n' + b"x" * 200_000, "must be a table of separated values (field larger than"),
        (b"image,label\n\0,a\n0001.png,b\n", "the name of the image must not be empty"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_is_wrong_with_a_list(tmp_path: Path, content: bytes, told: str) -> None:
    put(tmp_path, IMAGES)
    data = listed(tmp_path, content, b"image,label\n0001.png,a\n4.png,b\n")
    line = only([line for line in data_sets.examine(data).problems if "data.train" in line])
    assert told in line
    assert line.startswith("data.train: ")
    with pytest.raises(DataError):
        data_sets.contents(data)


def test_columns_that_are_not_there_are_told_with_those_that_are(tmp_path: Path) -> None:
    put(tmp_path, IMAGES)
    data = listed(tmp_path, b"image,label\n0001.png,a\n4.png,b\n", file_column="imagge", label_column="x")
    problems = data_sets.examine(data).problems
    assert "file_column: " in problems[0]
    assert problems[0].endswith("train.csv has no column 'imagge'; did you mean image?")
    assert problems[1].endswith("train.csv has no column 'x'; known: image, label")


def test_a_missing_image_is_named_with_the_file_that_is_there(tmp_path: Path) -> None:
    put(tmp_path, IMAGES | {"images/a.png": 5, "images/a.jpg": 6})
    data = listed(tmp_path, b"image,label\n0001.png,x\n4.jpeg,y\n5.png,x\n")
    line = data_sets.examine(data).problems[0]
    assert "2 rows: row 3 (" in line
    assert line.endswith("5.png); 4.png exists: the ending differs")
    data = listed(tmp_path, b"image,label\na,x\n0002.png,y\n")
    assert "must fit one file; write the ending: row 2 (a.jpg, a.png are there)" in data_sets.examine(data).problems[0]


def test_rows_that_are_there_twice_count_once(tmp_path: Path) -> None:
    put(tmp_path, IMAGES)
    data = listed(tmp_path, b"image,label\n0001.png,x\n4.png,y\n0001,x\n")
    assert "listed twice count once: 0001.png in rows 2 and 4" in data_sets.examine(data).notices[0]
    assert data_sets.image_counts(data) == (2, 2)


@pytest.mark.parametrize("missing", ["images", "train.csv"])
def test_a_missing_list_or_folder_of_images_is_told(tmp_path: Path, missing: str) -> None:
    put(tmp_path, IMAGES)
    data = listed(tmp_path, b"image,label\n0001.png,x\n4.png,y\n")
    (tmp_path / missing).rename(tmp_path / "other")
    assert str(tmp_path / missing) in data_sets.examine(data).problems[0]


def parquet_of(file: Path, **columns: Any) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table(columns), file)


def of_parquet(root: Path) -> ClassificationData:
    parts = {part: {"images": "images", "list": "list.parquet"} for part in ("train", "val")}
    return ClassificationData.model_validate({"root": root} | parts)


def test_dictionaries_of_parquet_are_read_as_names(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    put(tmp_path, IMAGES)
    labels = pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["nut", "bolt"]))
    parquet_of(tmp_path / "list.parquet", image=["0001", "0002.png"], label=labels)
    found = data_sets.contents(of_parquet(tmp_path))
    assert (found.classes, found.train.names) == (("bolt", "nut"), ("0002.png", "0001.png"))


@pytest.mark.parametrize(
    ("labels", "classes", "told"),
    [
        ([10, 2, 2], ("2", "10"), ""),
        ([1.0, None, 0.0], ("0", "1"), "the class must not be empty; write it, or drop the row: row 2 (0002)"),
        ([0.5, 1.0, 2.0], (), "column 'label' must hold texts or whole numbers, got 0.5 in row 1"),
        ([b"a", b"b", b"c"], (), "must hold texts or whole numbers, got b'a' in row 1"),
    ],
)
def test_numbers_of_parquet_are_names(tmp_path: Path, labels: list[Any], classes: tuple[str, ...], told: str) -> None:
    put(tmp_path, IMAGES)
    parquet_of(tmp_path / "list.parquet", image=["0001", "0002", "4"], label=labels)
    data = of_parquet(tmp_path)
    problems = data_sets.examine(data).problems
    assert told in problems[0] if told else data_sets.contents(data).classes == classes


def test_a_damaged_parquet_file_and_a_missing_extra_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, IMAGES | {"list.parquet": b"PAR1 and so on"})
    if pytest.importorskip("pyarrow"):
        assert "cannot be read as Parquet" in data_sets.examine(of_parquet(tmp_path)).problems[0]
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert 'pip install "piip-search[parquet]"' in data_sets.examine(of_parquet(tmp_path)).problems[0]


# Contents of images


def test_the_fingerprint_covers_contents_labels_and_names_of_classes(tmp_path: Path) -> None:
    prints = set()
    for number, change in enumerate(
        [{}, {"train/cat/1.png": 9}, {"train/cat/2.png": 1}, {"val/dog/2.png": 4}, {"val/cat/0.png": 4}]
    ):
        prints.add(data_sets.fingerprint(folders(tmp_path / str(number), PETS | change)))
    put(tmp_path / "names", {name.replace("cat", "fox"): content for name, content in PETS.items()})
    prints.add(data_sets.fingerprint(folders(tmp_path / "names", {})))
    assert len(prints) == 6
    assert data_sets.fingerprint(folders(tmp_path / "again", PETS)) in prints


def test_images_of_both_parts_are_told(tmp_path: Path) -> None:
    data = folders(tmp_path, PETS | {"val/cat/2.png": 2})
    assert only(data_sets.shared_images(data)) == (
        "data: 1 of 3 validation images are training images too: cat/2.png; 1 of them have another class there; "
        "averages on them say little of other images"
    )
    assert data_sets.shared_images(folders(tmp_path / "other", PETS)) == []


def test_images_that_cannot_be_decoded_are_named_with_the_reason(tmp_path: Path) -> None:
    broken: Tree = {"val/cat/2.png": b"<!DOCTYPE html>", "val/dog/2.png": b"", "train/dog/2.png": picture(3)[:50]}
    data = folders(tmp_path, PETS | broken)
    assert data_sets.examine(data).problems == []
    lines = data_sets.undecodable_images(data, None)
    assert [line.partition("; ")[0] for line in lines] == [
        f"{tmp_path}/val/cat/2.png cannot be decoded: it is a page of a web site, saved in the place of the file",
        f"{tmp_path}/val/dog/2.png cannot be decoded: it is empty",
    ]
    assert data_sets.undecodable_images(data, None) == lines  # what was decoded is remembered
    report = data_sets.undecodable_training_images(data, 64)
    assert "1 of 3 training images cannot be used" in only(report.notices)
    assert data_sets.undecodable_training_images(data, 64, lambda: True).notices == []
    put(tmp_path, {"train/cat/1.png": b"x"})
    assert "2 of 3 training images" in only(data_sets.undecodable_training_images(data, None).problems)


def saved(path: Path, pixels: Any, mode: str | None = None, **options: Any) -> Path:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_images_of_16_bits_are_scaled(tmp_path: Path, ending: str) -> None:
    levels = np.array([[0, 4500, 26000, 52000, 65535]], dtype=np.uint16)
    found = data_sets.read_image(saved(tmp_path / f"deep.{ending}", levels))
    assert found.dtype == np.uint8
    assert found[0, :, 0].tolist() == [0, 18, 101, 202, 255]
    assert (found == found[:, :, :1]).all()


def test_clear_pixels_lie_over_white(tmp_path: Path) -> None:
    pixels = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [200, 0, 0, 51]]], dtype=np.uint8)
    found = data_sets.read_image(saved(tmp_path / "alpha.png", pixels))
    assert found[0].tolist() == [[200, 0, 0], [255, 255, 255], [244, 204, 204]]
    grey = data_sets.read_image(saved(tmp_path / "la.png", pixels, "LA"))
    assert grey[0, 1].tolist() == [255, 255, 255]
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    saved(tmp_path / "p.png", palette, transparency=0)
    assert data_sets.read_image(tmp_path / "p.png")[0].tolist() == [[255, 255, 255], [40, 50, 60]]


@pytest.mark.parametrize(("mode", "ending"), [("CMYK", "jpg"), ("L", "png"), ("1", "png"), ("P", "gif"), ("P", "png")])
def test_every_kind_of_image_becomes_rgb(tmp_path: Path, mode: str, ending: str) -> None:
    found = data_sets.read_image(saved(tmp_path / f"a.{ending}", np.full((3, 5, 3), 255, dtype=np.uint8), mode))
    assert (found.shape, found.dtype) == ((3, 5, 3), np.uint8)
    assert found.min() > 250
    found[0] = 0  # the caller may change them


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
def test_images_are_turned_as_exif_says(tmp_path: Path, ending: str) -> None:
    pixels = np.zeros((8, 16, 3), dtype=np.uint8)
    pixels[:, :8] = 255
    tags = Image.Exif()
    tags[0x0112] = 6  # a quarter turn to the right: the left half comes to the top
    found = data_sets.read_image(saved(tmp_path / f"turned.{ending}", pixels, exif=tags))
    assert found.shape == (16, 8, 3)
    assert found[2].min() > 200 > 50 > found[13].max()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1", "it is a Git LFS pointer"),
        (b"\0\0\0\x18ftypheic", "it is a HEIC picture; convert it to JPEG or PNG"),
        (b"nothing of the kind", "it is no image of a known format"),
        (picture()[:50], "truncated"),
    ],
)
def test_what_cannot_be_decoded_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(content)
    with pytest.raises(ImageError, match=told) as caught:
        data_sets.read_image(file)
    assert str(caught.value).startswith(f"{file} cannot be decoded: ")
    assert "\n" not in str(caught.value)


def test_numbers_that_are_no_levels_of_grey_and_missing_files_are_refused(tmp_path: Path) -> None:
    file = saved(tmp_path / "f.tif", np.ones((2, 2), dtype=np.float32))
    with pytest.raises(ImageError, match="it holds floating-point numbers"):
        data_sets.read_image(file)
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        data_sets.read_image(tmp_path / "none.png")
    data = folders(tmp_path, PETS | {"train/cat/f.tif": file.read_bytes()})
    assert "must hold whole numbers of 8 or 16 bits" in only(data_sets.examine(data).problems)


def test_dark_images_of_16_bits_are_told(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    data = folders(tmp_path, PETS)
    saved(tmp_path / "train" / "cat" / "2.png", np.full((8, 8), 4095, dtype=np.uint16))
    assert "nearly black, with a largest value of 4,095" in only(data_sets.examine(data).notices)


# Subsets

LABELS = [0] * 60 + [1] * 30 + [2] * 9 + [3]


@pytest.mark.parametrize(("share", "counts"), [(1.0, (60, 30, 9, 1)), (0.5, (29, 15, 5, 1)), (0.001, (1, 1, 1, 1))])
def test_a_share_of_the_images_has_each_class(share: float, counts: tuple[int, ...]) -> None:
    found = data_sets.chosen(LABELS, share, 0)
    assert tuple(Counter(LABELS[at] for at in found)[label] for label in range(4)) == counts
    assert found == tuple(sorted(set(found))) == data_sets.chosen(LABELS, share, 0)
    assert share == 1 or found != data_sets.chosen(LABELS, share, 1)


def test_measured_images_have_the_shares_of_the_classes() -> None:
    assert data_sets.measured(LABELS, None) is None
    assert data_sets.measured(LABELS, 100) is None
    for wanted in (1, 3, 4, 5, 50, 99):
        found = data_sets.measured(LABELS, wanted)
        assert found is not None
        assert len(set(found)) == wanted
        assert found == data_sets.measured(LABELS, wanted)
        assert len({LABELS[at] for at in found}) == min(4, wanted)


# The embedded digits


def test_the_embedded_digits_are_class_folders() -> None:
    pytest.importorskip("cv2")
    pytest.importorskip("sklearn")
    data = ClassificationData(embedded="digits")
    assert data_sets.image_counts(data) == (1000, 300)
    data_sets.prepare(data)
    found = data_sets.contents(data)
    assert found.classes == DIGIT_CLASSES
    assert set(Counter(found.train.labels).values()) == {100}
    assert set(Counter(found.val.labels).values()) == {30}
    assert data_sets.examine(data, ["top5"]).problems == []
    assert data_sets.resolved(data) == data
    assert data_sets.undecodable_images(data, 20) == []
    assert data_sets.read_image(found.val.folder / found.val.names[0]).shape == (64, 64, 3)
    assert len(data_sets.fingerprint(data)) == 16
