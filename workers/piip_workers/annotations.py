"""Annotations as mmdet and COCO's scorer read them: classes by name, and each file parsed once a process.

mmdet gives labels in the order in which each file lists its categories, whatever order is asked for, so that two files
of other orders would mean other things by one label. A worker trains many candidates on the same files, and parsing
those of a large set takes longer than some trainings.
"""

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import faster_coco_eval
import numpy as np
from numpy.typing import NDArray

from piip_workers.openmmlab import install

install()
from mmdet.datasets import CocoDataset  # noqa: E402
from mmdet.datasets.api_wrappers import COCO  # noqa: E402
from mmdet.registry import DATASETS  # noqa: E402

MOST_LISTS = 4
"""Lists of images remembered in one process: those of training and validation of two data sets."""


def _complete(dataset: dict[str, Any]) -> None:
    """What some tools leave out has COCO's usual value."""
    for annotation in dataset.get("annotations", ()):
        _, _, width, height = annotation["bbox"]
        annotation.setdefault("area", width * height)
        annotation.setdefault("iscrowd", 0)


def ids_of(dataset: Mapping[str, Any], names: Sequence[str]) -> list[int]:
    """Ids of categories, in the order of their names.

    Raises:
        KeyError: A name is none of the file's.
    """
    ids = {category["name"]: int(category["id"]) for category in dataset["categories"]}
    return [ids[name] for name in names]


class Annotations(COCO):  # type: ignore[misc]
    """An annotation file as mmdet reads it."""

    def createIndex(self) -> None:
        _complete(self.dataset)
        super().createIndex()

    def get_cat_ids(
        self, cat_names: Sequence[str] = (), sup_names: Sequence[str] = (), cat_ids: Sequence[int] = ()
    ) -> list[int]:
        """Ids of categories: where names are given, in their order.

        Raises:
            KeyError: A name is none of the file's.
        """
        if not cat_names:
            found: list[int] = super().get_cat_ids(cat_names, sup_names, cat_ids)
            return found
        return ids_of(self.dataset, cat_names)


class Truth(faster_coco_eval.COCO):  # type: ignore[misc]
    """An annotation file as the scorer reads it."""

    def createIndex(self) -> None:
        _complete(self.dataset)
        super().createIndex()


def truth_of(file: str) -> Truth:
    """An annotation file to score against."""
    return _truth(file, Path(file).stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _truth(file: str, _changed: int) -> Truth:
    return Truth(file)


@DATASETS.register_module()
class CocoByName(CocoDataset):  # type: ignore[misc]
    """mmdet's COCO data set, with labels in the order of `metainfo["classes"]`."""

    COCOAPI = Annotations
    # mmengine's own, which has no types.
    _fully_initialized: bool
    _indices: Sequence[int] | int | None
    data_bytes: NDArray[np.uint8]
    data_address: NDArray[np.int64]

    def full_init(self) -> None:
        """Lists the images, or remembers the list."""
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
        """What the list follows from."""
        file = Path(self.ann_file)
        return json.dumps(
            [str(file), file.stat().st_mtime_ns, self.data_prefix, self.metainfo["classes"], self.filter_cfg,
             self.test_mode]
        )  # fmt: skip


Listed = tuple[NDArray[np.uint8], NDArray[np.int64]]


class _Lists:
    """Images and their objects as mmengine keeps them: pickled, one after the other, and where each ends."""

    def __init__(self) -> None:
        self._lists: OrderedDict[str, Listed] = OrderedDict()

    def get(self, asked: str) -> Listed | None:
        found = self._lists.get(asked)
        if found is not None:
            self._lists.move_to_end(asked)
        return found

    def put(self, asked: str, found: Listed) -> None:
        self._lists[asked] = found
        while len(self._lists) > MOST_LISTS:
            self._lists.popitem(last=False)


_lists = _Lists()
