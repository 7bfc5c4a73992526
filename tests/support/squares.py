"""A small detection set of coloured squares on grey.

The truth lies in the pixels, so that any reading of them can be checked.
"""

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from piip_search.tasks.detection.section import DetectionData

COLOURS = {"red": (30, 30, 220), "blue": (220, 30, 30)}
"""Blue, green, red of each class."""
WIDTH, HEIGHT = 96, 64
Content = dict[str, Any]
Picture = NDArray[Any]


def content(images: int = 4, seed: int = 0, suffix: str = ".png") -> Content:
    """Annotations of two squares an image, with polygons."""
    random = np.random.RandomState(seed)
    found: Content = {
        "images": [],
        "annotations": [],
        "categories": [{"id": place, "name": name} for place, name in enumerate(COLOURS, 1)],
    }
    for number in range(1, images + 1):
        found["images"].append({"id": number, "file_name": f"{number}{suffix}", "height": HEIGHT, "width": WIDTH})
        for half in range(2):
            side = int(random.randint(16, 28))
            left = half * WIDTH // 2 + int(random.randint(0, WIDTH // 2 - side))
            top, category = int(random.randint(0, HEIGHT - side)), int(random.randint(1, 3))
            right, bottom = left + side, top + side
            found["annotations"].append(
                {
                    "id": len(found["annotations"]) + 1,
                    "image_id": number,
                    "category_id": category,
                    "bbox": [left, top, side, side],
                    "area": side * side,
                    "iscrowd": 0,
                    "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
                }
            )
    return found


def picture(of: Content, image: int) -> Picture:
    """The pixels (HEIGHT, WIDTH, 3), blue first, of an image by its place."""
    pixels = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    names = {category["id"]: category["name"] for category in of["categories"]}
    for one in of["annotations"]:
        if one["image_id"] == of["images"][image]["id"]:
            left, top, width, height = one["bbox"]
            pixels[top : top + height, left : left + width] = COLOURS[names[one["category_id"]]]
    return pixels


Change = Callable[[Content], object]
Write = Callable[[Path, Picture], None]


def write_picture(path: Path, pixels: Picture) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())


def write(
    root: Path,
    change: Change = lambda found: None,
    *,
    parts: tuple[str, ...] = ("train", "val"),
    written: Write = write_picture,
    suffix: str = ".png",
    dump: Callable[[Content], bytes] = lambda found: json.dumps(found).encode(),
    train: Mapping[str, Any] = MappingProxyType({}),
    val: Mapping[str, Any] = MappingProxyType({}),
) -> DetectionData:
    """Writes a set whose pixels are right, and whose annotations are changed.

    Args:
        root: Folder that it is written into.
        change: Changes the annotations in place; what it returns stands in their place, unless it is None.
        parts: Parts whose annotations are changed.
        written: Writes a picture.
        suffix: Of the pictures' names.
        dump: Writes annotations.
        train: Other fields of the part.
        val: Likewise.
    """
    sections = {}
    for seed, (part, more) in enumerate((("train", train), ("val", val))):
        found = content(seed=seed, suffix=suffix)
        for place, image in enumerate(found["images"]):
            written(root / part / image["file_name"], picture(found, place))
        changed: Any = copy.deepcopy(found)
        if part in parts:
            returned = change(changed)
            changed = changed if returned is None else returned
        (root / f"{part}.json").write_bytes(changed if isinstance(changed, bytes) else dump(changed))
        sections[part] = {"images": part, "annotations": f"{part}.json", **more}
    return DetectionData.model_validate({"root": root, **sections})


def each(key: str, change: Callable[[dict[str, Any]], object]) -> Change:
    """Changes every entry of a list."""

    def changed(found: Content) -> None:
        for entry in found[key]:
            change(entry)

    return changed


def put(**values: object) -> Callable[[dict[str, Any]], object]:
    """Changes an entry's fields."""
    return lambda entry: entry.update(values)
