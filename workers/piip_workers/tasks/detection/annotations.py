"""Annotations for mmdet and COCO's scorer: classes by name, and each file parsed once a process.

mmdet numbers labels in the order of each file's categories, whatever order is asked for. The same label would mean
different classes in two files of different orders. A worker trains many candidates on the same files, and parsing those
of a large set takes longer than some trainings.

mmdet and the scorer get the objects that `annotation_file` reads: with ids from 1, since the scorer takes an object of
id 0 for undetected; ignored objects as crowds; no object outside its image.
"""

import json
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import faster_coco_eval
import numpy as np
from numpy.typing import NDArray

from piip_search.errors import UnreadableFileError
from piip_workers.images.image_files import image_file
from piip_workers.mmlab.shims import install
from piip_workers.tasks.detection.coco.annotation_file import AnnotationFile, annotations_of
from piip_workers.tasks.detection.coco.boxes import look_at_boxes, usable_boxes

install()
from mmdet.datasets import CocoDataset  # noqa: E402
from mmdet.datasets.api_wrappers import COCO  # noqa: E402
from mmdet.registry import DATASETS  # noqa: E402

MOST_LISTS = 4
"""Most remembered lists of images in a process: those of training and validation of two data sets."""


def coco_of(file: str | Path, masks: bool) -> dict[str, Any]:
    """A checked annotation file in the form that the libraries read.

    Args:
        file: In COCO format.
        masks: Whether to include the objects' segmentations.

    Raises:
        UnreadableFileError: The file breaks a rule of the libraries: they would hang, or give wrong averages.
    """
    found = annotations_of(Path(file), masks, kept=masks)
    findings = found.findings.copy()
    look_at_boxes(found, masks, findings)
    problems, _ = findings.lines(found.totals)
    if problems:
        raise UnreadableFileError("\n  ".join([f"{file}: {problems[0]}", *problems[1:]]))
    return {"images": _image_rows(found), "annotations": _object_rows(found), "categories": _category_rows(found)}


LARGEST_ID = 2**53
"""Largest id for the scorer, which stores ids as floating-point numbers; it takes no negative ids either."""


def _ids(recorded: NDArray[np.int64]) -> NDArray[np.int64]:
    """The recorded ids, or ids from 1 if the scorer could not distinguish the recorded ones."""
    if len(recorded) and not 0 <= int(recorded.min()) <= int(recorded.max()) <= LARGEST_ID:
        return np.arange(1, len(recorded) + 1)
    return recorded


def _category_rows(found: AnnotationFile) -> list[dict[str, Any]]:
    ids = _ids(np.array([number for number, _ in found.categories], np.int64)).tolist()
    return [{"id": number, "name": name} for number, (_, name) in zip(ids, found.categories, strict=True)]


def _image_rows(found: AnnotationFile) -> list[dict[str, Any]]:
    images = found.images
    rows = zip(_ids(images.ids_M).tolist(), images.names, images.sizes_M2.tolist(), strict=True)
    return [{"id": number, "file_name": name, "height": size[0], "width": size[1]} for number, name, size in rows]


def _object_rows(found: AnnotationFile) -> list[dict[str, Any]]:
    kept_N, boxes_N4 = usable_boxes(found)
    objects, ids_M = found.objects, _ids(found.images.ids_M)
    recorded = np.array([number for number, _ in found.categories], np.int64)
    order = np.argsort(recorded, kind="stable")
    categories_N = _ids(recorded)[order[np.searchsorted(recorded[order], objects.categories_N[kept_N])]]
    areas_N = np.where(np.isnan(objects.areas_N), boxes_N4[:, 2] * boxes_N4[:, 3], objects.areas_N)
    places = np.flatnonzero(kept_N)
    columns = (
        ids_M[objects.images_N[places]],
        categories_N,
        boxes_N4[places],
        areas_N[places],
        objects.crowds_N[places].astype(int),
    )
    rows = []
    for number, values in enumerate(zip(*(column.tolist() for column in columns), strict=True), 1):
        image, category, box, area, crowd = values
        row = {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": crowd}
        rows.append(row)
    if objects.segmentations is not None:
        for row, place in zip(rows, places.tolist(), strict=True):
            outline = objects.segmentations[place]
            if outline is not None:
                row["segmentation"] = outline
    return rows


def ids_of(dataset: Mapping[str, Any], names: Sequence[str]) -> list[int]:
    """Ids of categories in the order of their names.

    Raises:
        KeyError: The file has no category of a name.
    """
    ids = {category["name"]: int(category["id"]) for category in dataset["categories"]}
    return [ids[name] for name in names]


class Annotations(COCO):  # type: ignore[misc]
    """An annotation file in mmdet's interface."""

    def __init__(self, file: str, masks: bool = False) -> None:
        """Reads a file.

        Args:
            file: In COCO format.
            masks: Whether to include the objects' segmentations.
        """
        super().__init__()
        self.dataset = coco_of(file, masks)
        self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    def get_cat_ids(
        self, cat_names: Sequence[str] = (), sup_names: Sequence[str] = (), cat_ids: Sequence[int] = ()
    ) -> list[int]:
        """Ids of categories; those of names in the names' order.

        Raises:
            KeyError: The file has no category of a name.
        """
        if not cat_names:
            found: list[int] = super().get_cat_ids(cat_names, sup_names, cat_ids)
            return found
        return ids_of(self.dataset, cat_names)


def truth_of(file: str, masks: bool = False) -> faster_coco_eval.COCO:
    """An annotation file as the ground truth for scoring.

    Args:
        file: In COCO format.
        masks: Whether masks are scored.
    """
    return _truth(file, Path(file).stat().st_mtime_ns, masks)


@lru_cache(maxsize=2)
def _truth(file: str, _changed: int, masks: bool) -> faster_coco_eval.COCO:
    return indexed(coco_of(file, masks))


def indexed(dataset: dict[str, Any]) -> faster_coco_eval.COCO:
    """A data set in the scorer's form; a warning of the scorer means wrong averages and is an error.

    Raises:
        UserWarning: The scorer warns.
    """
    found = faster_coco_eval.COCO()
    found.dataset = dataset
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found.createIndex()
    return found


@DATASETS.register_module()
class CocoByName(CocoDataset):  # type: ignore[misc]
    """mmdet's COCO data set, with labels in the order of `metainfo["classes"]`."""

    COCOAPI: Any = Annotations
    # mmengine's own, which has no types.
    _fully_initialized: bool
    _indices: Sequence[int] | int | None
    data_bytes: NDArray[np.uint8]
    data_address: NDArray[np.int64]

    def __init__(self, *arguments: Any, masks: bool | None = None, **settings: Any) -> None:
        """Builds the data set.

        Args:
            arguments: Arguments of mmdet's `CocoDataset`.
            masks: Whether to include segmentations; by default if a step of the pipeline loads masks.
            settings: Settings of mmdet's `CocoDataset`.
        """
        steps = settings.get("pipeline", ())
        self._masks = any(step.get("with_mask") for step in steps) if masks is None else masks
        self.COCOAPI = partial(type(self).COCOAPI, masks=self._masks)
        super().__init__(*arguments, **settings)

    def parse_data_info(self, raw_data_info: dict[str, Any]) -> Any:
        """An image with its objects and the path of the file that its name means."""
        found = super().parse_data_info(raw_data_info)
        name = raw_data_info["raw_img_info"]["file_name"]
        found["img_path"] = str(image_file(Path(self.data_prefix["img"]), name))
        return found

    def full_init(self) -> None:
        """Lists the images, or takes the remembered list."""
        if self._fully_initialized:
            return
        chosen, self._indices = self._indices, None
        found = _lists.get(self._asked)
        if found is None:
            super().full_init()
            _lists.put(self._asked, (self.data_bytes, self.data_address))
        else:
            self.data_bytes, self.data_address = found
            self._fully_initialized = True
        if chosen is not None:
            self.get_subset_(chosen)

    @property
    def _asked(self) -> str:
        """The inputs of the list as a cache key."""
        file = Path(self.ann_file)
        return json.dumps(
            [
                str(file),
                file.stat().st_mtime_ns,
                self.data_prefix,
                self.metainfo["classes"],
                self.filter_cfg,
                self.test_mode,
                self._masks,
            ]
        )


_ImageBytes = tuple[NDArray[np.uint8], NDArray[np.int64]]


class _Lists:
    """Images and their objects in mmengine's form: pickled one after the other, with the end of each."""

    def __init__(self) -> None:
        self._lists: OrderedDict[str, _ImageBytes] = OrderedDict()

    def get(self, asked: str) -> _ImageBytes | None:
        found = self._lists.get(asked)
        if found is not None:
            self._lists.move_to_end(asked)
        return found

    def put(self, asked: str, found: _ImageBytes) -> None:
        self._lists[asked] = found
        while len(self._lists) > MOST_LISTS:
            self._lists.popitem(last=False)


_lists = _Lists()
