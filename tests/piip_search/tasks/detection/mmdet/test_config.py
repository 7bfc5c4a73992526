from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from piip_search.architecture import Architecture
from piip_search.config import load_spec
from piip_search.config.shipped import find_space
from piip_search.evaluation.evaluation import Fidelity
from piip_search.export.settings import render
from piip_search.tasks.detection.mmdet.config import full_config, proxy_config
from piip_search.tasks.detection.mmdet.data import CocoPaths, CocoSplit, ProxyImages, smallest_image
from piip_search.tasks.detection.mmdet.detectors import DETECTOR_CONFIGS
from piip_search.tasks.detection.mmdet.recipe import SCHEDULES
from piip_search.tasks.detection.section import DetectionTraining

ARCHITECTURE = Architecture.parse("vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12")
PATHS = CocoPaths(
    CocoSplit(Path("/data/train"), Path("/data/train.json")),
    CocoSplit(Path("/data/val"), Path("/data/val.json")),
    ("cat",),
)


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


@pytest.mark.parametrize("source", ["hub", "miniature"])
def test_what_it_starts_from(source: str) -> None:
    pretrained = DetectionTraining(pretrained=source)
    plain = full_config(ARCHITECTURE, PATHS, pretrained)
    assert plain["model"]["backbone"]["pretrained"] == source
    assert plain["load_from"] is None
    filed = full_config(ARCHITECTURE, PATHS, pretrained, weights="weights.pth")
    assert filed["model"]["backbone"]["pretrained"] is None
    assert filed["load_from"] == "weights.pth"
    decays = [settings["optim_wrapper"].get("paramwise_cfg", {}).get("layer_decay_rate") for settings in (plain, filed)]
    assert decays[0] == decays[1]


def test_proxy_and_export_see_images_alike() -> None:
    training = DetectionTraining(short_side=0.5)
    proxy = proxy_config(ARCHITECTURE, PATHS, training, fidelity=Fidelity(2), images=ProxyImages(10), seed=0)
    full = full_config(ARCHITECTURE, PATHS, training)
    for part in ("train_dataloader", "val_dataloader"):
        assert proxy[part]["dataset"]["pipeline"][1:] == full[part]["dataset"]["pipeline"][1:]
    assert proxy["model"]["data_preprocessor"] == full["model"]["data_preprocessor"]
    resize = next(step for step in full["val_dataloader"]["dataset"]["pipeline"] if step["type"] == "Resize")
    assert resize["scale"] == (1568, 784)
