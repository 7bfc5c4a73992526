"""Data sets as users have them, each with the way it has to end."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from piip_search.tasks.classification.section import ClassificationData
from piip_workers.tasks.classification import data as data_sets


@pytest.fixture
def case(shared: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ClassificationData:
    """The data of a case, in whose folder the test runs."""
    folder = shared / "cases" / str(request.param)
    if not folder.is_dir():
        pytest.skip(f"no case {folder}")
    monkeypatch.chdir(folder)
    written: dict[str, Any] = yaml.safe_load((folder / "s.yaml").read_text(encoding="utf-8"))
    return ClassificationData.model_validate(written["data"])


def each(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", names, indirect=True)


@pytest.mark.parametrize(
    ("case", "classes", "counts"),
    [
        ("cls_01", ("bolt", "nut"), (8, 4)),
        ("cls_02", ("ant", "bee", "cat"), (12, 6)),
        ("cls_03", ("1", "2", "10"), (9, 6)),
        ("cls_04", ("bolt", "nut"), (8, 4)),
        ("cls_05", ("bolt", "nut"), (8, 6)),
        ("cls_06", ("thick", "thin"), (8, 4)),
        ("cls_07", ("ant", "bee", "cat"), (12, 6)),
        ("cls_08", ("bolt", "nut"), (8, 4)),
        ("cls_10", ("bolt", "nut", "washer"), (15, 5)),
        ("cls_19", ("bolt", "nut", "screw", "washer"), (8, 4)),
    ],
    indirect=["case"],
)
def test_classes_and_images_are_found(
    case: ClassificationData, classes: tuple[str, ...], counts: tuple[int, int]
) -> None:
    if case.train and case.train.list and case.train.list.suffix == ".parquet":
        pytest.importorskip("pyarrow")
    assert data_sets.examine(case, ["top1"]).problems == []
    found = data_sets.contents(case)
    assert found.classes == classes
    assert (len(found.train.names), len(found.val.names)) == data_sets.image_counts(case) == counts
    for part in (found.train, found.val):
        for name, label in zip(part.names, part.labels, strict=True):
            folder, _, rest = name.rpartition("/")
            truth = folder or rest.partition("_")[0]
            assert truth == classes[label] or truth.endswith(".png")  # numbers of images say nothing of their class


@each("cls_02")
def test_a_class_without_validation_images_is_told(case: ClassificationData) -> None:
    assert [line for line in data_sets.examine(case).notices if "'bee'" in line]


@each("cls_06")
def test_grey_images_of_16_bits_keep_their_levels(case: ClassificationData) -> None:
    train = data_sets.contents(case).train
    levels = {label: set[int]() for label in train.labels}
    for name, label in zip(train.names, train.labels, strict=True):
        levels[label] |= set(data_sets.read_image(train.folder / name).flatten().tolist())
    assert levels == {0: {101, 202}, 1: {18, 35}}


@each("cls_08")
def test_broken_images_are_refused_in_val_and_told_in_training(case: ClassificationData) -> None:
    (line,) = data_sets.undecodable_images(case, None)
    assert "val/bolt/1.png cannot be decoded: it is a page of a web site" in line
    (notice,) = data_sets.undecodable_training_images(case, 64).notices
    assert "train/bolt/2.png cannot be decoded: it is empty" in notice
    assert "train/nut/3.png cannot be decoded: image file is truncated" in notice


@each("cls_09")
def test_a_missing_folder_is_told_with_those_that_are_there(case: ClassificationData) -> None:
    (line,) = data_sets.examine(case).problems
    assert line.startswith("data.val: no folder data/val (there are holdout and train)")


@each("cls_19")
def test_top5_of_four_classes_is_refused(case: ClassificationData) -> None:
    (line,) = data_sets.examine(case, ["top5"]).problems
    assert line.endswith("take top1")
