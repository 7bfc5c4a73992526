"""Annotation files as trainings read them."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("mmdet")
pytestmark = pytest.mark.filterwarnings("ignore")

from piip_workers.tasks.detection.annotations import MOST_LISTS, Annotations, CocoByName, truth_of  # noqa: E402

CLASSES = ("cat", "dog")


def write(file: Path, names: tuple[str, ...] = CLASSES, images: int = 3, **more: Any) -> Path:
    """Images with a cat each, the first with a dog too; what some tools leave out is left out."""
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 40, "width": 60} for i in range(images)],
        "categories": [{"id": 5 + place, "name": name} for place, name in enumerate(names)],
    }
    labels = [(i, "cat") for i in range(images)] + [(0, "dog")]
    content["annotations"] = [
        {"id": place, "image_id": image, "category_id": 5 + names.index(name), "bbox": [1, 2, 10, 20], **more}
        for place, (image, name) in enumerate(labels)
    ]
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def dataset(file: Path, kind: type[CocoByName] = CocoByName, **settings: Any) -> CocoByName:
    with redirect_stdout(io.StringIO()):
        return kind(
            ann_file=str(file), data_prefix={"img": "x"}, metainfo={"classes": CLASSES}, pipeline=[], **settings
        )


def labels_of(found: CocoByName) -> list[list[int]]:
    return [[one["bbox_label"] for one in found.get_data_info(place)["instances"]] for place in range(len(found))]


@pytest.mark.parametrize("names", [("cat", "dog"), ("dog", "cat"), ("dog", "bird", "cat")])
def test_labels_follow_the_order_that_is_asked_for(tmp_path: Path, names: tuple[str, ...]) -> None:
    found = dataset(write(tmp_path / "a.json", names))
    assert labels_of(found) == [[0, 1], [0], [0]]


def test_what_tools_leave_out_has_its_usual_value(tmp_path: Path) -> None:
    with redirect_stdout(io.StringIO()):
        truth = truth_of(str(write(tmp_path / "a.json")))
    assert {(one["area"], one["iscrowd"]) for one in truth.anns.values()} == {(200, 0)}
    crowd = write(tmp_path / "b.json", iscrowd=1, area=7)
    kept = truth_of(str(crowd))
    assert truth_of(str(crowd)) is kept
    assert {(one["area"], one["iscrowd"]) for one in kept.anns.values()} == {(7, 1)}


@pytest.mark.slow
def test_a_file_is_parsed_once_a_process_until_it_changes(tmp_path: Path) -> None:
    parsed = []

    class Counting(Annotations):
        def __init__(self, file: str, masks: bool = False) -> None:
            parsed.append(Path(file).name)
            super().__init__(file, masks)

    class Counted(CocoByName):
        COCOAPI = Counting

    file = write(tmp_path / "a.json")
    first = dataset(file, Counted)
    second = dataset(file, Counted, indices=[0, 2])
    assert labels_of(second) == [labels_of(first)[place] for place in (0, 2)]
    assert labels_of(dataset(file, Counted, indices=1)) == [[0, 1]]
    assert parsed == ["a.json"]
    assert len(dataset(file, Counted, test_mode=True)) == 3  # nothing is left out of what is measured on
    assert len(parsed) == 2
    write(file, images=4)
    assert len(dataset(file, Counted)) == 4
    for place in range(MOST_LISTS):
        dataset(write(tmp_path / f"{place}.json"), Counted)
    count = len(parsed)
    dataset(file, Counted)
    assert len(parsed) == count + 1
