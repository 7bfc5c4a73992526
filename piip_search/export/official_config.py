"""An architecture as a configuration of the authors' code base (OpenGVLab/PIIP @ 7a8eceb, mmdet 2.25).

It is written where their detection classes build the very network; where they do not, `refusals` says why.
"""

from piip_search.architecture import Architecture, Branch
from piip_search.backbones import Transformer
from piip_search.export import recipe
from piip_search.export.images import CocoPaths, CocoSplit, box
from piip_search.export.mmdet_config import MEAN, STD
from piip_search.export.readers import READERS, Maps
from piip_search.export.recipe import Schedule
from piip_search.export.settings import Settings
from piip_search.spec import Training
from piip_search.stretches import interaction_ranges

CLASSES = {2: "PIIPTwoBranch", 3: "PIIPThreeBranch", 4: "PIIPFourBranch"}
PLACE = "mmdetection/configs/piip"
"""Where the file belongs in their repository: its bases are named from there."""
BASES = {
    "mask_rcnn": ("models/mask_rcnn_r50_fpn.py", "datasets/coco_instance.py"),
    "retinanet": ("models/retinanet_r50_fpn.py", "datasets/coco_detection.py"),
}
_PATCH = 16
_DEIT = "./pretrained/deit_3_{}_{}_21k.pth"
WEIGHTS = {
    "vit_t": "./pretrained/deit_tiny_patch16_224-a1311bcf.pth",
    "vit_h": "./pretrained/mae_pretrain_vit_huge.pth",
    "vit_6b": "./pretrained/intern_vit_6b_224px.pth",
    **{f"vit_{size[0]}": _DEIT.format(size, 224) for size in ("small", "base", "large")},
    **{
        f"deit3_{size}_patch16_{side}.fb_in22k_ft_in1k": _DEIT.format(size, side)
        for size in ("small", "base", "large")
        for side in (224, 384)
    },
}
"""Files that their classes load, by backbone: the name of the file also chooses the class of a branch."""
_OWN_PATCH = {"vit_h": 14, "vit_6b": 14}
"""Patches of the file where they are not 16 px."""


def refusals(architecture: Architecture, training: Training) -> list[str]:
    """Why their code base cannot build and train the architecture, a line each; empty where it can."""
    branches, interaction = architecture.branches, architecture.interaction
    reasons = []
    if len(branches) not in CLASSES:
        reasons.append("its detection classes have two to four branches")
    if architecture.merge != "conv":
        reasons.append(f"its classes for ViTs merge by convolutions alone, not by {architecture.merge}")
    if architecture.output != len(branches) - 1:
        reasons.append("its classes read no image that is larger than the last branch's")
    if len(branches) > 1 and not interaction.count:
        reasons.append("its branches run no block without interactions")
    if interaction.direction != "both":
        reasons.append(f"its interactions go both ways, not {interaction.direction}")
    if training.detector not in BASES:
        reasons.append(f"it keeps no configuration of {training.detector}")
    if len(branches) == 4 and any(_is_intern(branch) for branch in branches):
        reasons.append("its class of four branches has DeiT's ViT alone")
    return reasons + [reason for branch in branches for reason in _branch_refusals(branch)]


def official_config(
    architecture: Architecture, data: CocoPaths, training: Training, schedule: Schedule, images_per_gpu: int = 2
) -> Settings:
    """The configuration, for a file in `PLACE` of their repository, on 8 GPUs.

    It starts from the files that their README lists, with the recipe of their Mask R-CNN configurations.

    Raises:
        ValueError: Their code base cannot build the architecture.
    """
    reasons = refusals(architecture, training)
    if reasons:
        raise ValueError(f"the authors' code base cannot build {architecture}: {'; '.join(reasons)}")
    bfloat16 = training.precision == "bfloat16"
    model, dataset = BASES[training.detector]
    steps = {"policy": "step", "warmup": "linear", "warmup_iters": recipe.WARMUP_ITERATIONS, "warmup_ratio": 0.001}
    reader = READERS[training.detector]
    widths = (architecture.branches[0].model.width,) * len(reader.strides)
    settings: Settings = {
        "_base_": [f"../_base_/{name}" for name in (model, dataset, "schedules/schedule_1x.py", "default_runtime.py")],
        "deepspeed": bfloat16,
        "model": {
            "backbone": _backbone(architecture),
            **reader.settings(training, len(data.classes), Maps(widths, box(architecture, training))),
        },
        "data": _data(architecture, data, training, reader.masks, images_per_gpu),
        "optimizer": _optimizer(architecture, training),
        "optimizer_config": {"grad_clip": None},
        "lr_config": {**steps, "step": list(schedule.steps)},
        "runner": {"type": "EpochBasedRunner", "max_epochs": schedule.epochs},
        "checkpoint_config": {"interval": 1, "max_keep_ckpts": 1, **({"deepspeed": True} if bfloat16 else {})},
        "evaluation": {"interval": 1, "metric": ["bbox", "segm"] if reader.masks else ["bbox"], "save_best": None},
        "custom_imports": {"imports": ["mmcv_custom"], "allow_failed_imports": False},
    }
    if bfloat16:
        settings["deepspeed_config"] = "zero_configs/adam_zero1_bf16.json"
        settings["custom_hooks"] = [{"type": "ToBFloat16HookMMDet", "priority": 49}]
    return settings


def remarks(architecture: Architecture) -> list[str]:
    """What a reader of the file must know of their code base."""
    branches = architecture.branches
    if len(branches) == 4 and _vit(branches[3]) != _vit(branches[2]):
        return [
            "their PIIPFourBranch builds its fourth branch from the third's settings: in "
            "mmdet/models/backbones/piip_4branch.py write vit_models(**branch4) for self.branch4 first"
        ]
    return []


def _is_intern(branch: Branch) -> bool:
    """Whether their class InternViT6B builds the branch: for every file whose name does not say DeiT."""
    return "deit" not in WEIGHTS.get(branch.backbone, "deit")


def _branch_refusals(branch: Branch) -> list[str]:
    model = branch.model
    if not isinstance(model, Transformer):
        return [f"its classes that merge by convolutions have ViTs alone, not {branch.backbone}"]
    if branch.backbone not in WEIGHTS:
        return [f"it loads every branch from a file, and lists none for {branch.backbone}"]
    return [] if model.patch == _PATCH else [f"its networks have patches of 16 px, not {model.patch}"]


def _backbone(architecture: Architecture) -> Settings:
    interaction, branches = architecture.interaction, architecture.branches
    settings: Settings = {
        "_delete_": True,
        "type": CLASSES[len(branches)],
        "n_points": interaction.points,
        "deform_num_heads": interaction.heads,
        "cffn_ratio": 0.25,
        "deform_ratio": 0.5,
        "with_cffn": True,
        "interact_attn_type": "deform" if interaction.attention == "deformable" else "normal",
        "interaction_drop_path_rate": recipe.INTERACTION_DROP_PATH,
    }
    if not interaction.projection:
        settings["interaction_proj"] = False
    if not interaction.norm:
        settings["norm_layer"] = "none"
    for index, branch in enumerate(branches):
        ranges = interaction_ranges(branch.model, interaction.count)
        settings[f"branch{index + 1}"] = {
            "real_size": branch.resolution,
            **_vit(branch),
            "with_fpn": False,
            "interaction_indexes": [[blocks.start, blocks.stop - 1] for blocks in ranges],
            "use_flash_attn": True,
        }
    return settings


def _vit(branch: Branch) -> Settings:
    """Arguments of their ViT: `vit_models` for DeiT's files, `InternViT6B` for all others."""
    model = branch.model
    assert isinstance(model, Transformer), "refused before"
    settings: Settings = {
        "pretrain_img_size": _PATCH * model.position_grid,
        "patch_size": _PATCH,
        "pretrain_patch_size": _OWN_PATCH.get(branch.backbone, _PATCH),
        "depth": model.depth,
        "embed_dim": model.width,
        "num_heads": model.heads,
        "mlp_ratio": model.mlp_width / model.width,
        "qkv_bias": model.qkv_bias,
        "drop_path_rate": model.drop_path,
        "pretrained": WEIGHTS[branch.backbone],
        "window_attn": [window is not None for window in branch.windows],
        "window_size": [-1 if window is None else window for window in branch.windows],
    }
    if not _is_intern(branch):
        return {**settings, "init_scale": 1.0}
    return {
        **settings,
        "init_values": model.layer_scale,
        "with_cp": True,
        "qk_normalization": model.query_norm == "width",
        "layerscale_force_fp32": False,
        "norm_layer_type": "RMSNorm" if model.norm == "rms" else "LayerNorm",
    }


def _optimizer(architecture: Architecture, training: Training) -> Settings:
    deepest = architecture.branches[0].model.depth
    strides = [deepest / branch.model.depth for branch in architecture.branches[1:]]
    return {
        "_delete_": True,
        "type": "AdamW",
        "lr": recipe.LEARNING_RATE,
        "betas": (0.9, 0.999),
        "weight_decay": training.weight_decay,
        "constructor": "CustomLayerDecayOptimizerConstructorMMDet",
        "paramwise_cfg": {
            "num_layers": deepest,
            "layer_decay_rate": recipe.LAYER_DECAY,
            "skip_stride": [int(stride) if stride == int(stride) else stride for stride in strides],
        },
    }


def _data(architecture: Architecture, data: CocoPaths, training: Training, masks: bool, images: int) -> Settings:
    scale = box(architecture, training)
    normalise: Settings = {"type": "Normalize", "mean": MEAN, "std": STD, "to_rgb": True}
    pad: Settings = {"type": "Pad", "size_divisor": architecture.multiple}
    keys = ["img", "gt_bboxes", "gt_labels", *(["gt_masks"] if masks else [])]
    train: list[Settings] = [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations", "with_bbox": True, "with_mask": masks},
        {"type": "Resize", "img_scale": scale, "keep_ratio": True},
        {"type": "RandomFlip", "flip_ratio": training.flip},
        normalise,
        pad,
        {"type": "DefaultFormatBundle"},
        {"type": "Collect", "keys": keys},
    ]
    steps: list[Settings] = [
        {"type": "Resize", "keep_ratio": True},
        {"type": "RandomFlip"},
        normalise,
        pad,
        {"type": "ImageToTensor", "keys": ["img"]},
        {"type": "Collect", "keys": ["img"]},
    ]
    test: list[Settings] = [
        {"type": "LoadImageFromFile"},
        {"type": "MultiScaleFlipAug", "img_scale": scale, "flip": False, "transforms": steps},
    ]

    def part(split: CocoSplit, pipeline: list[Settings]) -> Settings:
        return {
            "type": "CocoDataset",
            "ann_file": str(split.annotations),
            "img_prefix": f"{split.images}/",
            "classes": data.classes,
            "pipeline": pipeline,
        }

    val = part(data.val, test)
    return {"samples_per_gpu": images, "workers_per_gpu": 2, "train": part(data.train, train), "val": val, "test": val}
