"""mmdet is imported as the workers import it: ready for processes that start at once, as those of pytest-xdist do."""

import importlib.util
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from piip_search.tasks.detection.section import DetectionData
from piip_workers.tasks.detection import data as data_sets
from support import ROOT

if all(importlib.util.find_spec(name) for name in ("torch", "mmengine", "mmcv", "mmdet")):
    from piip_workers.mmlab.shims import install

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what mmengine does while it is imported
        install()


@pytest.fixture
def small(tmp_path: Path, cache: Path) -> DetectionData:
    """A dozen images of the embedded set."""
    source = data_sets.prepare(DetectionData(embedded="digits"))
    root = tmp_path / "small"
    for name, split, count in (("train", source.train, 12), ("val", source.val, 6)):
        content = json.loads(split.annotations.read_text(encoding="utf-8"))
        content["images"] = content["images"][:count]
        kept = {image["id"] for image in content["images"]}
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] in kept]
        (root / name).mkdir(parents=True)
        for image in content["images"]:
            shutil.copy(split.images / image["file_name"], root / name)
        (root / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    part = {name: {"images": name, "annotations": f"{name}.json"} for name in ("train", "val")}
    return DetectionData.model_validate({"root": root, **part})


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """A Ray cluster of this machine, started once; its workers find the fakes."""
    ray = pytest.importorskip("ray")
    from piip_workers.runners import ray_cluster

    tests = str(ROOT / "tests")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [tests, before]))
    ray_cluster.connect()
    yield
    ray.shutdown()
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
