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
from piip_search.config import load_spec
from piip_search.config.shipped import find_space
from piip_search.cost import price
from piip_search.evaluation.evaluation import Fidelity
from piip_search.export import Export, Provenance, prepare_folder, write_export
from piip_search.export.folder import read_architecture
from piip_search.export.settings import render
from piip_search.tasks.detection.head import DetectorHead
from piip_search.tasks.detection.mmdet.config import full_config, proxy_config
from piip_search.tasks.detection.mmdet.data import CocoPaths, CocoSplit, ProxyImages, smallest_image
from piip_search.tasks.detection.mmdet.detectors import DETECTOR_CONFIGS
from piip_search.tasks.detection.mmdet.recipe import SCHEDULES
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


def test_the_recipe_is_the_published_one() -> None:
    settings = full_config(ARCHITECTURE, PATHS, load_spec(find_space("coco")).training)
    assert settings["train_cfg"]["max_epochs"] == 12
    assert settings["param_scheduler"][1]["milestones"] == [8, 11]
    train, val = (settings[f"{part}_dataloader"] for part in ("train", "val"))
    assert train["batch_sampler"] == {"type": "AspectRatioBatchSampler"}
    assert (train["batch_size"], val["batch_size"]) == (16, 1)
    assert settings["optim_wrapper"]["optimizer"]["lr"] == 1e-4
    assert settings["model"]["backbone"]["drop_path"] == [0.15, 0.05, 0.05]
    assert settings["model"]["neck"]["in_channels"] == [768] * 4
    resize = settings["train_dataloader"]["dataset"]["pipeline"][2]
    assert resize["scale"] == (1568, 941)


def test_the_text_is_the_settings() -> None:
    settings = full_config(ARCHITECTURE, PATHS, DetectionTraining())
    read: dict[str, object] = {}
    exec(render(settings, "title"), read)
    assert {key: value for key, value in read.items() if key != "__builtins__"} == settings


def test_a_longer_schedule_and_a_small_data_set() -> None:
    longer = full_config(ARCHITECTURE, PATHS, DetectionTraining(), SCHEDULES["3x"])
    assert longer["train_cfg"]["max_epochs"] == 36
    warmup, steps = longer["param_scheduler"]
    assert (warmup["end"], steps["milestones"]) == (500, [27, 33])
    # 160 images are 10 steps an epoch: a tenth of 120 steps.
    assert full_config(ARCHITECTURE, PATHS, DetectionTraining(), images=160)["param_scheduler"][0]["end"] == 12
    assert full_config(ARCHITECTURE, PATHS, DetectionTraining(), images=118_000)["param_scheduler"][0]["end"] == 500


def kinds(settings: dict[str, Any]) -> list[str]:
    return [part["type"] for part in settings["param_scheduler"]]


def test_a_rise_of_one_step_is_none() -> None:
    assert kinds(full_config(ARCHITECTURE, PATHS, DetectionTraining(), images=16)) == ["MultiStepLR"]

    def proxy(warmup: float) -> dict[str, Any]:
        training, images = DetectionTraining(warmup=warmup, batch_size=8), ProxyImages(10)
        return proxy_config(ARCHITECTURE, PATHS, training, fidelity=Fidelity(2), images=images, seed=0)

    for warmup in (0.0, 0.3):
        assert kinds(proxy(warmup)) == ["CosineAnnealingLR"]
        assert proxy(warmup)["param_scheduler"][0]["begin"] == 0
    assert kinds(proxy(0.5)) == ["LinearLR", "CosineAnnealingLR"]
    assert [proxy(0.5)["param_scheduler"][1][key] for key in ("begin", "end", "T_max")] == [2, 4, 2]


def test_what_a_base_says_of_its_own_data_and_weights_is_left_behind() -> None:
    detector_config = replace(
        DETECTOR_CONFIGS["retinanet"], imports=("own.heads", "piip_workers.tasks.detection.metric")
    )
    images = ProxyImages(10)
    for settings in (
        full_config(ARCHITECTURE, PATHS, DetectionTraining(), detector_config=detector_config, seed=5),
        proxy_config(
            ARCHITECTURE,
            PATHS,
            DetectionTraining(),
            fidelity=Fidelity(2),
            images=images,
            seed=5,
            detector_config=detector_config,
        ),
    ):
        imports = settings["custom_imports"]["imports"]
        assert imports[-1] == "own.heads"
        assert len(imports) == len(set(imports))
        assert (settings["custom_hooks"], settings["load_from"]) == ([], None)
        assert settings["randomness"] == {"seed": 5}


@pytest.mark.parametrize(
    ("changes", "aspects", "sides"),
    [
        ({}, (1.0, 1.0), (1568, 1568)),
        ({}, (1.0, 3.0), (560, 1568)),
        ({"short_side": 0.6}, (1.0, 1.5), (1008, 1008)),
        ({"short_side": 0.6}, (1.6, 14.0), (112, 1568)),
        ({"scale_jitter": [0.5, 2.0]}, (1.0, 1.0), (784, 784)),
    ],
)
def test_the_smallest_image_of_a_data_set(
    changes: dict[str, Any], aspects: tuple[float, float], sides: tuple[int, int]
) -> None:
    assert smallest_image(ARCHITECTURE, DetectionTraining(**changes), aspects) == sides


def test_what_it_starts_from() -> None:
    pretrained = DetectionTraining(pretrained="hub")
    plain = full_config(ARCHITECTURE, PATHS, pretrained)
    assert plain["model"]["backbone"]["pretrained"] == "hub"
    assert plain["load_from"] is None
    filed = full_config(ARCHITECTURE, PATHS, pretrained, weights="weights.pth")
    assert filed["model"]["backbone"]["pretrained"] is None
    assert filed["load_from"] == "weights.pth"
    decays = [settings["optim_wrapper"].get("paramwise_cfg", {}).get("layer_decay_rate") for settings in (plain, filed)]
    assert decays[0] == decays[1]


def test_a_folder_of_something_else_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    export = exported(notes={"run": "small, trial 3"})
    for _ in range(2):
        prepare_folder(folder, DETECTION.files)
        write_export(export, folder)
    (folder / "torch").mkdir()
    (folder / "torch" / "model.py").write_text("of an earlier export", encoding="utf-8")
    prepare_folder(folder, DETECTION.files)
    assert not any(folder.iterdir())
    write_export(export, folder)
    names = {"config.py", "official_config.py", "architecture.yaml", "README.md"}
    assert {path.name for path in folder.iterdir()} == names
    (folder / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(ValueError, match="holds other files"):
        prepare_folder(folder, DETECTION.files)
    with pytest.raises(ValueError, match="is a file"):
        prepare_folder(folder / "thesis.tex", DETECTION.files)
    assert {path.name for path in folder.iterdir()} == {*names, "thesis.tex"}


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


def test_proxy_and_export_see_images_alike() -> None:
    training = DetectionTraining(short_side=0.5)
    proxy = proxy_config(ARCHITECTURE, PATHS, training, fidelity=Fidelity(2), images=ProxyImages(10), seed=0)
    full = full_config(ARCHITECTURE, PATHS, training)
    for part in ("train_dataloader", "val_dataloader"):
        assert proxy[part]["dataset"]["pipeline"][1:] == full[part]["dataset"]["pipeline"][1:]
    assert proxy["model"]["data_preprocessor"] == full["model"]["data_preprocessor"]
    resize = next(step for step in full["val_dataloader"]["dataset"]["pipeline"] if step["type"] == "Resize")
    assert resize["scale"] == (1568, 784)
