"""Fingerprints of spaces from before tasks became folders: runs and measurements go by them."""

from pathlib import Path
from typing import Any

import pytest

from piip_search.architecture.miniatures import MINIATURE
from piip_search.config import SearchSpec, load_spec, parse_spec
from support import ROOT

OF_FILES = {
    "search_spaces/coco.yaml": ("819b8de98759feca", "af363938d31496fe"),
    "tests/support/spaces/former_quickstart.yaml": ("97cb8e5afdf189d9", "45f45673adab65ea"),
    "benchmarks/spaces/bccd.yaml": ("5f86887b6a65f5de", "db5a0374969ee5e2"),
    "benchmarks/spaces/nuclei.yaml": ("79f877c67c766061", "7d3547902c91b2f5"),
    "benchmarks/spaces/nuclei_gpu.yaml": ("c0d412fab88febd3", "97634f3c6b594cdb"),
}
"""Question and recipe of each file."""
SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "sections that say the defaults": {"task": "detection", "metric": "bbox_mAP", "training": {}},
    "a section of defaults": {"training": {"detector": "retinanet", "channels": 256}},
    "metric": {"metric": "segm_mAP_s", "training": {"detector": "mask_rcnn"}},
    "former word": {"limit": {"gmacs": [1], "convention": "detector"}},
    "whole": {"limit": {"gmacs": [1], "convention": "whole"}},
    "unseen settings": {"training": {"loader_workers": 2, "cache_mib": 1, "measure_every": 1}},
    "every kind": {
        "metric": "bbox_mAP_50",
        "seed": 3,
        "prior": "published",
        "fidelity": {"epochs": 6, "data_fraction": 0.5, "seeds": 2},
        "schedule": {"rungs": [1, 3]},
        "training": {
            "detector": "fcos",
            "channels": 64,
            "scale_jitter": [0.8, 1.25],
            "colour_jitter": True,
            "short_side": 0.75,
            "inherit": True,
            "max_detections": 300,
            "threads": 2,
            "pretrained": "hub",
            "layer_decay": 0.85,
            "precision": "bfloat16",
            "checkpointing": True,
        },
    },
    "own data": {
        "data": {
            "root": "data/own",
            "train": {"images": "train", "annotations": "train.json", "bits": 12},
            "val": {"images": "val", "annotations": "val.json", "orientation": "stored"},
        },
        "training": {"detector": "mmdet::atss/atss_r50_fpn_1x_coco.py", "val_images": 5},
    },
}
OF_SETTINGS = {
    "defaults": ("77585254f6b3c082", "4ee836ea1015bcc0"),
    "sections that say the defaults": ("77585254f6b3c082", "4ee836ea1015bcc0"),
    "a section of defaults": ("77585254f6b3c082", "4ee836ea1015bcc0"),
    "metric": ("efe67e8f90bf8cfc", "ee488e6c4dc51f5f"),
    "former word": ("59db869ad322b9da", "4ee836ea1015bcc0"),
    "whole": ("59db869ad322b9da", "4ee836ea1015bcc0"),
    "unseen settings": ("c390dbe69bdd7a38", "4ebfc88cbe7b1748"),
    "every kind": ("78700e2bc43d6915", "fbceae78c2a50bfa"),
    "own data": ("a9865a3fb525939e", "3c03a61160f8b5c2"),
}
"""Question and recipe of each file of `SETTINGS`."""
SMALL: dict[str, Any] = {
    "name": "small",
    "space": {
        "backbones": ["vit_nano", "vit_pico"],
        "resolutions": [64, 96],
        "branches": [1, 2],
        "windows": [None],
        "interactions": [0],
    },
    "limit": {"gmacs": [1]},
    "data": {"embedded": "digits"},
}


def as_before(spec: SearchSpec) -> SearchSpec:
    """A shipped space before it offered the merge `residual`."""
    if spec.space.merges is None or "residual" not in spec.space.merges:
        return spec
    return spec.model_copy(update={"space": spec.space.model_copy(update={"merges": ("conv",)})})


@pytest.mark.parametrize("file", OF_FILES)
def test_a_file_keeps_its_fingerprints(file: str) -> None:
    spec = as_before(load_spec(ROOT / file))
    assert (spec.question, spec.recipe("data")) == OF_FILES[file]
    assert parse_spec(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize("name", OF_SETTINGS)
def test_settings_keep_their_fingerprints(name: str) -> None:
    spec = parse_spec({**SMALL, **SETTINGS[name]})
    assert (spec.question, spec.recipe("data")) == OF_SETTINGS[name]


def test_miniature_weights_are_part_of_the_recipe() -> None:
    recipes = {
        parse_spec({**SMALL, "training": {"pretrained": one}}).recipe("data") for one in (None, "hub", MINIATURE)
    }
    assert len(recipes) == 3
    spec = parse_spec({**SMALL, "training": {"pretrained": MINIATURE}})
    assert spec.training.named_paths == {}


def test_the_content_of_an_own_file_is_part_of_the_recipe(tmp_path: Path) -> None:
    own = tmp_path / "detector.py"
    own.write_text("model = 1\n", encoding="utf-8")
    spec = parse_spec({**SMALL, "training": {"detector": str(own)}})
    before = spec.recipe("data")
    own.write_text("model = 2\n", encoding="utf-8")
    assert spec.recipe("data") != before
