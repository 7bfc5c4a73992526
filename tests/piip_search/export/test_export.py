import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from piip_search.architecture import Architecture, Branch, Interaction
from piip_search.cost import price
from piip_search.errors import ExportError
from piip_search.export import Export, Provenance, prepared_folder, write_export
from piip_search.export.folder import read_architecture
from piip_search.tasks.detection.head import DetectorHead
from piip_search.tasks.detection.mmdet.data import CocoPaths, CocoSplit
from piip_search.tasks.detection.mmdet.detectors import DETECTOR_CONFIGS
from piip_search.tasks.detection.plan import DetectorPlan
from piip_search.tasks.detection.section import DetectionTraining
from piip_search.tasks.detection.task import DETECTION

ARCHITECTURE = Architecture.parse("vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12")
PATHS = CocoPaths(
    CocoSplit(Path("/data/train"), Path("/data/train.json")),
    CocoSplit(Path("/data/val"), Path("/data/val.json")),
    ("cat",),
)


def exported(plan: DetectorPlan | None = None, **more: Any) -> Export:
    return Export(ARCHITECTURE, plan or DetectorPlan(PATHS, DetectionTraining()), ("mmdet",), **more)


@pytest.mark.parametrize(
    ("name", "multiple"),
    [
        ("vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12", 112),
        ("vit_b@448:w14+vit_s@896:w14+vit_t@1120:w14*12", 80),
        ("vit_b@1024:w14g3", 16),
    ],
)
def test_images_are_padded_until_every_grid_is_exact(name: str, multiple: int) -> None:
    assert Architecture.parse(name).multiple == multiple


@given(st.lists(st.integers(1, 112), min_size=1, max_size=4), st.integers(1, 5))
def test_every_padded_side_gives_whole_patches(grids: list[int], times: int) -> None:
    branches = tuple(Branch("vit_t", 16 * grid) for grid in sorted(grids))
    architecture = Architecture(branches, Interaction())
    side = architecture.multiple * times
    for branch in branches:
        assert math.isclose(side * branch.resolution / architecture.resolution % 16, 0)


def test_a_folder_of_something_else_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    export = exported(notes={"run": "small, trial 3"})
    for _ in range(2):
        with prepared_folder(folder, DETECTION.files):
            write_export(export, folder)
    (folder / "torch").mkdir()
    (folder / "torch" / "model.py").write_text("of an earlier export", encoding="utf-8")
    with prepared_folder(folder, DETECTION.files):
        assert not any(folder.iterdir())
        write_export(export, folder)
    names = {"config.py", "official_config.py", "architecture.yaml", "README.md"}
    assert {path.name for path in folder.iterdir()} == names
    (folder / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(ValueError, match="holds other files"), prepared_folder(folder, DETECTION.files):
        pass
    with pytest.raises(ValueError, match="is a file"), prepared_folder(folder / "thesis.tex", DETECTION.files):
        pass
    assert {path.name for path in folder.iterdir()} == {*names, "thesis.tex"}


def test_two_exports_into_one_folder_wait_for_each_other(tmp_path: Path) -> None:
    folder, export = tmp_path / "new", exported()
    with prepared_folder(folder, DETECTION.files):
        write_export(export, folder)
        with (
            pytest.raises(ExportError, match=r"another process exports into .*; wait for its end"),
            prepared_folder(folder, DETECTION.files),
        ):
            pass
        assert (folder / "config.py").is_file()
    with prepared_folder(folder, DETECTION.files):
        pass


def test_the_design_is_data_too(tmp_path: Path) -> None:
    write_export(exported(), tmp_path)
    assert read_architecture(tmp_path) == ARCHITECTURE
    content = yaml.safe_load((tmp_path / "architecture.yaml").read_text(encoding="utf-8"))
    assert content["architecture"] == ARCHITECTURE.name
    assert content["cost"]["published"]["macs"] == price(ARCHITECTURE, "published").macs
    own = DetectorHead("retinanet", 256, classes=1)
    assert content["cost"]["whole"]["macs"] == price(ARCHITECTURE, "whole", head=own).macs
    with pytest.raises(ValueError, match=r"it has no architecture\.yaml"):
        read_architecture(tmp_path / "elsewhere")


def test_a_detector_of_unknown_cost_is_told_without_it(tmp_path: Path) -> None:
    training = DetectionTraining(detector="dino")
    detector_config = replace(DETECTOR_CONFIGS["mask_rcnn"], base="mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py")
    export = exported(DetectorPlan(PATHS, training, custom_detector=detector_config), images=(1000, 100))
    write_export(export, tmp_path)
    assert set(export.costs) == {"published", "backbone"}
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "without the head, whose cost is not known" in text
    assert "1,000 images a pass" in text
    assert "dino-4scale" in (tmp_path / "config.py").read_text(encoding="utf-8")


def test_where_it_comes_from_is_read_back(tmp_path: Path) -> None:
    provenance = Provenance(
        "small",
        3,
        ARCHITECTURE.name,
        ARCHITECTURE.fingerprint,
        "bbox_mAP",
        {"bbox_mAP": 0.25},
        {"epochs": 6},
        "1x",
        "proxy",
        "sqlite:///mlflow.db",
    )
    provenance.write(tmp_path)
    assert Provenance.read(tmp_path) == provenance
    before = json.loads((tmp_path / "provenance.json").read_text(encoding="utf-8"))
    assert before.pop("task") is None  # earlier exports do not name their task
    (tmp_path / "provenance.json").write_text(json.dumps(before), encoding="utf-8")
    assert Provenance.read(tmp_path) == provenance
    with pytest.raises(ValueError, match="is no export"):
        Provenance.read(tmp_path / "elsewhere")
    (tmp_path / "provenance.json").write_text('{"run": ', encoding="utf-8")
    with pytest.raises(ValueError, match="cannot be read"):
        Provenance.read(tmp_path)
