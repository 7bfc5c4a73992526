"""Configurations for the authors' code base (OpenGVLab/PIIP @ 7a8eceb, mmdetection/configs/piip)."""

from pathlib import Path
from typing import Any

import pytest

from piip_search.architecture import Architecture, Branch, Interaction
from piip_search.export import SCHEDULES, CocoPaths, CocoSplit
from piip_search.export.official_config import official_config, refusals, remarks
from piip_search.export.settings import render
from piip_search.shipped import find_space
from piip_search.spec import load_spec

PATHS = CocoPaths(
    CocoSplit(Path("/data/train"), Path("/data/train.json")),
    CocoSplit(Path("/data/val"), Path("/data/val.json")),
    ("cat", "dog"),
)
TRAINING = load_spec(find_space("coco")).training
BACKBONES = {
    (192, 12, "deit_tiny_patch16_224-a1311bcf.pth"): "vit_t",
    (384, 12, "deit_3_small_224_21k.pth"): "vit_s",
    (768, 12, "deit_3_base_224_21k.pth"): "vit_b",
    (1024, 24, "deit_3_large_224_21k.pth"): "vit_l",
    (1280, 32, "mae_pretrain_vit_huge.pth"): "vit_h",
    (3200, 48, "intern_vit_6b_224px.pth"): "vit_6b",
}
"""Networks by width, depth and file, as the authors' configurations have them."""


def read_back(backbone: dict[str, Any]) -> Architecture:
    """What their classes would build: written from their side, without ours."""
    branches = []
    for index in range({"PIIPTwoBranch": 2, "PIIPThreeBranch": 3, "PIIPFourBranch": 4}[backbone["type"]]):
        parts = backbone[f"branch{index + 1}"]
        name = BACKBONES[parts["embed_dim"], parts["depth"], Path(parts["pretrained"]).name]
        windows = [size if on else None for on, size in zip(parts["window_attn"], parts["window_size"], strict=True)]
        sizes = {window for window in windows if window is not None}
        global_every = windows.index(None) + 1 if sizes and None in windows else 0
        branches.append(Branch(name, parts["real_size"], sizes.pop() if sizes else None, global_every))
        assert not sizes
        steps = parts["interaction_indexes"]
        assert [start for start, _ in steps[1:]] == [stop + 1 for _, stop in steps[:-1]]
        assert (steps[0][0], steps[-1][1]) == (0, parts["depth"] - 1)
    interaction = Interaction(
        len(backbone["branch1"]["interaction_indexes"]),
        attention={"deform": "deformable", "normal": "regular"}[backbone["interact_attn_type"]],
        projection=backbone.get("interaction_proj", True),
        norm=backbone.get("norm_layer") != "none",
        heads=backbone["deform_num_heads"],
        points=backbone["n_points"],
    )
    return Architecture(tuple(branches), interaction)


@pytest.mark.parametrize(
    "name",
    [
        "vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12",
        "vit_l@672:w28+vit_b@1120:w28+vit_s@1568:w28*12",
        "vit_l@448:w28+vit_b@672:w28+vit_s@1120:w28+vit_t@1568:w28*12",
        "vit_6b@512:g+vit_h@1024:g*12",
        "vit_b@448:w14g3+vit_t@1120:w14*4(attention=regular,projection=no,norm=no)",
        "vit_s@672:g+vit_t@1344:w28*3(points=8,heads=8)",
    ],
)
def test_a_design_comes_back_from_the_authors_settings(name: str) -> None:
    architecture = Architecture.parse(name)
    assert not refusals(architecture, TRAINING)
    settings = official_config(architecture, PATHS, TRAINING, SCHEDULES["1x"])
    read: dict[str, Any] = {}
    exec(render(settings, "title"), read)
    assert read_back(read["model"]["backbone"]) == architecture


def test_the_published_tsb_is_written_as_the_authors_did() -> None:
    """mask_rcnn_deit_tsb_1568_1120_672_fpn_1x_coco_bs16.py, but for the data set and the heads' classes."""
    architecture = Architecture.parse("vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12")
    settings = official_config(architecture, PATHS, TRAINING, SCHEDULES["1x"])
    backbone = settings["model"]["backbone"]
    assert (backbone["type"], backbone["cffn_ratio"], backbone["deform_ratio"]) == ("PIIPThreeBranch", 0.25, 0.5)
    assert [backbone[f"branch{index}"]["drop_path_rate"] for index in (1, 2, 3)] == [0.15, 0.05, 0.05]
    assert settings["model"]["neck"]["in_channels"] == [768] * 4
    assert settings["optimizer"]["paramwise_cfg"] == {"num_layers": 12, "layer_decay_rate": 0.85, "skip_stride": [1, 1]}
    assert settings["optimizer"]["lr"] == 1e-4
    assert settings["data"]["samples_per_gpu"] == 2
    scales = [step["img_scale"] for step in settings["data"]["train"]["pipeline"] if step["type"] == "Resize"]
    assert scales == [(1568, 941)]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_b@1024:g*0", "two to four branches"),
        ("vit_b@448:g+vit_s@672:g*0", "run no block without interactions"),
        ("vit_b@448:g+vit_micro@672:g*2", "lists none for vit_micro"),
        ("vit_b@448:g+convnext_tiny@1024*4", "have ViTs alone, not convnext_tiny"),
    ],
)
def test_what_their_classes_cannot_build_is_said(name: str, reason: str) -> None:
    architecture = Architecture.parse(name)
    assert any(reason in line for line in refusals(architecture, TRAINING))
    with pytest.raises(ValueError, match="the authors' code base cannot build"):
        official_config(architecture, PATHS, TRAINING, SCHEDULES["1x"])


def test_a_detector_that_they_have_no_base_of() -> None:
    architecture = Architecture.parse("vit_b@448:g+vit_s@672:g*2")
    fcos = TRAINING.model_copy(update={"detector": "fcos"})
    assert refusals(architecture, fcos) == ["it keeps no configuration of fcos"]


def test_their_class_of_four_branches_comes_with_a_remark() -> None:
    four = "vit_l@448:w28+vit_b@672:w28+vit_s@1120:w28+vit_t@1568:w28*12"
    assert "builds its fourth branch from the third's settings" in remarks(Architecture.parse(four))[0]
    assert not remarks(Architecture.parse("vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12"))
