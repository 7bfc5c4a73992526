"""Configurations for the authors' code base (OpenGVLab/PIIP @ 7a8eceb, mmdetection/configs/piip)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from piip_search.architecture import Architecture, Branch, Interaction
from piip_search.architecture.segments import Merge
from piip_search.config import load_spec
from piip_search.config.shipped import find_space
from piip_search.export.settings import render
from piip_search.tasks.detection.authors.config import official_config, refusals, remarks
from piip_search.tasks.detection.mmdet.data import CocoPaths, CocoSplit
from piip_search.tasks.detection.mmdet.recipe import SCHEDULES

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
    (1024, 24, "dinov2_vitl14_pretrain.pth"): "vit_large_patch14_dinov2",
    (768, 12, "mae_pretrain_vit_base.pth"): "vit_base_patch16_224.mae",
    (
        384,
        12,
        "S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0--imagenet2012-steps_20k-lr_0.03-res_384.pth",
    ): ("vit_small_patch16_384.augreg_in21k_ft_in1k"),
}
CONVNEXTS = {"facebook/convnext-tiny-224": "convnext_t", "facebook/convnext-base-224": "convnext_b"}
"""Networks by width, depth and file, as the authors' configurations have them."""


def read_back(backbone: dict[str, Any]) -> Architecture:
    """What their classes would build: written from their side, without ours."""
    branches = []
    for index in range({"PIIPTwoBranch": 2, "PIIPThreeBranch": 3, "PIIPFourBranch": 4}[backbone["type"]]):
        parts = backbone[f"branch{index + 1}"]
        if parts["pretrained"] in CONVNEXTS:
            branches.append(Branch(CONVNEXTS[parts["pretrained"]], parts["real_size"]))
            continue
        name = BACKBONES[parts["embed_dim"], parts["depth"], Path(parts["pretrained"]).name]
        windows = [size if on else None for on, size in zip(parts["window_attn"], parts["window_size"], strict=True)]
        sizes = {window for window in windows if window is not None}
        global_every = windows.index(None) + 1 if sizes and None in windows else 0
        patch = 16 if "dinov2" in name else None
        branches.append(Branch(name, parts["real_size"], sizes.pop() if sizes else None, global_every, patch))
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
    merge: Merge = "conv" if backbone.get("with_simple_fpn", True) else "pyramid"
    return Architecture(tuple(branches), interaction, merge)


@pytest.mark.parametrize(
    "name",
    [
        "vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12",
        "vit_l@672:w28+vit_b@1120:w28+vit_s@1568:w28*12",
        "vit_l@448:w28+vit_b@672:w28+vit_s@1120:w28+vit_t@1568:w28*12",
        "vit_6b@512:g+vit_h@1024:g*12",
        "vit_b@448:w14g3+vit_t@1120:w14*4(attention=regular,projection=no,norm=no)",
        "vit_s@672:g+vit_t@1344:w28*3(points=8,heads=8)",
        "vit_b@448:w14+vit_s@672:w14+convnext_t@1024*12",
        "convnext_b@448+vit_s@672:w14+vit_t@1024:w14*12",
        "vit_b@448:w14+vit_s@672:w14+vit_t@1024:w14*6/pyramid",
        "vit_large_patch14_dinov2@672:w28p16+vit_base_patch16_224.mae@1120:w28"
        "+vit_small_patch16_384.augreg_in21k_ft_in1k@1568:w28*12",
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
    train = {step["type"]: step for step in settings["data"]["train"]["pipeline"]}
    assert train["Resize"]["img_scale"] == (1568, 941)
    assert train["Pad"]["size_divisor"] == 224
    assert settings["data"]["val"]["pipeline"][1]["transforms"][3] == {"type": "Pad", "size_divisor": 224}
    assert train["Normalize"]["mean"] == [127.5] * 3
    assert not remarks(architecture, PATHS, TRAINING)


def test_a_published_hybrid_is_written_as_the_authors_did() -> None:
    """mask_rcnn_convnext-t_vit-s_convnext-b_1024_672_448_regular-fpn.py, but for data set and classes."""
    architecture = Architecture.parse("convnext_b@448+vit_s@672:w14+convnext_t@1024*12")
    settings = official_config(architecture, PATHS, TRAINING, SCHEDULES["1x"])
    backbone = settings["model"]["backbone"]
    assert (backbone["with_simple_fpn"], backbone["out_interaction_indexes"]) == (False, [0, 1, 10])
    assert settings["model"]["neck"]["in_channels"] == [128, 256, 512, 1024]
    large, _, small = (backbone[f"branch{index}"] for index in (1, 2, 3))
    assert (large["drop_path_rate"], small["drop_path_rate"]) == (0.4, 0.3)
    assert small["interaction_indexes"][:4] == [[0, 2], [3, 6], [7, 8], [9, 9]]
    assert small["interaction_indexes"][-1] == [17, 20]
    assert small["downsample_ratios"] == [4] * 3 + [8] * 4 + [16] * 10 + [32] * 4
    optimizer = settings["optimizer"]
    assert optimizer["lr"] == 2e-4
    assert {**optimizer["paramwise_cfg"], "skip_stride": 1} == {
        "num_layers": 12,
        "layer_decay_rate": 0.8,
        "skip_stride": 1,
    }
    assert optimizer["paramwise_cfg"]["skip_stride"][0] == 1
    train = {step["type"]: step for step in settings["data"]["train"]["pipeline"]}
    assert train["Pad"]["size_divisor"] == 32
    assert train["Normalize"]["std"] == [58.395, 57.12, 57.375]


def test_other_pre_trainings_are_written_as_the_authors_did() -> None:
    """mask_rcnn_augreg_sbl_1568_1120_672_fpn_1x_coco_bs16.py and mask_rcnn_dinov2_sbl_..., their branches."""
    tag = "augreg_in21k_ft_in1k"
    name = "+".join(
        f"vit_{size}_patch16_384.{tag}@{side}:w28" for size, side in (("large", 672), ("base", 1120), ("small", 1568))
    )
    backbone = official_config(Architecture.parse(f"{name}*12"), PATHS, TRAINING, SCHEDULES["1x"])["model"]["backbone"]
    for index, rate in ((1, 0.4), (2, 0.3), (3, 0.2)):
        branch = backbone[f"branch{index}"]
        assert (branch["pretrain_img_size"], branch["pretrain_patch_size"], branch["patch_size"]) == (384, 16, 16)
        assert (branch["drop_path_rate"], branch["with_cp"], branch["norm_layer_type"]) == (rate, True, "LayerNorm")
    dinov2 = Architecture.parse("vit_large_patch14_dinov2@672:w28p16+vit_base_patch14_dinov2@1120:w28p16*12")
    branch = official_config(dinov2, PATHS, TRAINING, SCHEDULES["1x"])["model"]["backbone"]["branch1"]
    assert (branch["pretrain_img_size"], branch["pretrain_patch_size"], branch["patch_size"]) == (518, 14, 16)
    assert branch["pretrained"] == "./pretrained/dinov2_vitl14_pretrain.pth"


def test_dino_is_written_as_the_authors_did() -> None:
    """dino_4scale_deit_384_sbl_1792_1120_672_fpn_3x_coco_bs32_ms.py, which is also its base."""
    architecture = Architecture.parse("vit_l@672:w14g3+vit_b@1120:w14g3+vit_s@1792:w14g3*12")
    dino = TRAINING.model_copy(update={"detector": "dino"})
    settings = official_config(architecture, PATHS, dino, SCHEDULES["3x"])
    assert settings["_base_"] == ["./3branch/dino_4scale_deit_384_sbl_1792_1120_672_fpn_3x_coco_bs32_ms.py"]
    model = settings["model"]
    assert model["backbone"]["is_dino"]
    assert model["neck"]["in_channels"] == [1024] * 3
    assert model["bbox_head"] == {"num_classes": 2}
    assert settings["optimizer_config"] == {"grad_clip": {"max_norm": 0.1, "norm_type": 2}}
    assert settings["optimizer"]["lr"] == 2e-4
    assert settings["data"]["samples_per_gpu"] * 8 == 32
    steps = settings["data"]["train"]["pipeline"]
    train = {step["type"]: step for step in steps}
    assert train["Pad"]["size_divisor"] == 224
    whole, cropped = train["AutoAugment"]["policies"]
    assert whole[0]["img_scale"] == [(int(short * 1.75), int(1333 * 1.75)) for short in range(480, 801, 32)]
    assert cropped[1]["crop_size"] == (672, 1050)
    assert train["RandomCrop"]["crop_size"] == (1792, 1792)
    assert settings["data"]["val"]["pipeline"][1]["img_scale"] == (2332, 1400)
    assert settings["evaluation"]["metric"] == ["bbox"]


def test_what_a_space_says_of_images_is_carried_over() -> None:
    architecture = Architecture.parse("vit_b@448:w14+vit_s@672:w14*6")
    training = TRAINING.model_copy(update={"scale_jitter": (0.8, 1.25), "colour_jitter": True, "checkpointing": True})
    settings = official_config(architecture, PATHS, training, SCHEDULES["1x"])
    train = {step["type"]: step for step in settings["data"]["train"]["pipeline"]}
    assert train["Resize"]["ratio_range"] == (0.8, 1.25)
    assert train["RandomCrop"]["crop_size"] == (672, 672)
    assert train["LoadImageFromFile"]["to_float32"]
    assert "PhotoMetricDistortion" in train
    assert settings["model"]["backbone"]["branch2"]["with_cp"]
    for precision, keys in (("float32", set()), ("bfloat16", {"deepspeed"})):
        chosen = TRAINING.model_copy(update={"precision": precision})
        found = official_config(architecture, PATHS, chosen, SCHEDULES["1x"])
        assert set(found["checkpoint_config"]) == {"_delete_", "interval", "max_keep_ckpts", *keys}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_b@1024:g*0", "two to four branches"),
        ("vit_b@448:g+vit_s@672:g*0", "run no block without interactions"),
        ("vit_b@448:g+vit_micro@672:g*2", "lists none for vit_micro"),
        ("vit_b@448:g+convnext_t@1024*4", "only its class of three branches merges into a pyramid"),
        ("vit_b@448:g+vit_s@672:g+convnext_pico@1024*4", "lists none for convnext_pico"),
        ("vit_b@448:g+vit_s@672:g*2/linear", "merge by convolutions or into a pyramid, not by linear"),
        ("vit_b@448:g+vit_s@672:g*2/residual", "merge by convolutions or into a pyramid, not by residual"),
        ("vit_h@448:g+vit_l@560:g+vit_b@672:g+vit_s@784:g*2", "its class of four branches has DeiT's ViT alone"),
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
    said = ["configurations for it are written of mask_rcnn, retinanet, dino, not of fcos"]
    assert refusals(architecture, fcos) == said
    hybrid = Architecture.parse("vit_b@448:w14+vit_s@672:w14+convnext_t@1024*12")
    dino = TRAINING.model_copy(update={"detector": "dino"})
    assert refusals(hybrid, dino) == ["its DINO reads one merged map, not a pyramid"]


def test_their_class_of_four_branches_comes_with_a_remark() -> None:
    four = "vit_l@448:w28+vit_b@672:w28+vit_s@1120:w28+vit_t@1568:w28*12"
    assert "builds its fourth branch from the third's settings" in remarks(Architecture.parse(four), PATHS, TRAINING)[0]


def test_what_differs_in_their_code_base_is_remarked() -> None:
    mixed = replace(PATHS, same_order=False)
    hybrid = Architecture.parse("vit_b@448:w14+vit_s@672:w14+convnext_t@1024*12")
    training = TRAINING.model_copy(update={"checkpointing": True})
    padding, checkpointing, order = remarks(hybrid, mixed, training)
    assert "padded to multiples of 32" in padding
    assert "checkpointing spares ViTs alone" in checkpointing
    assert "in different orders" in order
    dino = TRAINING.model_copy(update={"detector": "dino"})
    (drawn,) = remarks(Architecture.parse("vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12"), PATHS, dino)
    assert "drawn as in their recipe for DINO" in drawn
