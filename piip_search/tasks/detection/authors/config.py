"""An architecture as a configuration of the authors' code base (OpenGVLab/PIIP @ 7a8eceb, mmdet 2.25).

It is written if their detection classes can build the network; otherwise `refusals` gives the reasons. The recipe is
that of their configurations: Mask R-CNN's, that with ConvNeXts, or DINO's.
"""

import math

from piip_search.architecture import Architecture
from piip_search.architecture.backbones import ConvNeXt, Transformer
from piip_search.errors import ExportError
from piip_search.export.settings import Settings, replaced
from piip_search.tasks.detection.authors.branches import branch_refusals, branch_settings, is_deit
from piip_search.tasks.detection.authors.data import HALF_NORM, IMAGENET, ImagePipeline, data_settings
from piip_search.tasks.detection.mmdet import recipe
from piip_search.tasks.detection.mmdet.data import CocoPaths
from piip_search.tasks.detection.mmdet.detectors import DETECTOR_CONFIGS, DetectorMaps
from piip_search.tasks.detection.mmdet.recipe import TrainingLength
from piip_search.tasks.detection.section import DetectionTraining

BACKBONE_CLASSES = {2: "PIIPTwoBranch", 3: "PIIPThreeBranch", 4: "PIIPFourBranch"}
CONFIG_PLACE = "mmdetection/configs/piip"
"""Folder of the file in their repository, to which the paths of its bases are relative."""
AUTHORS_BASES = {
    "mask_rcnn": ["../_base_/models/mask_rcnn_r50_fpn.py", "../_base_/datasets/coco_instance.py"],
    "retinanet": ["../_base_/models/retinanet_r50_fpn.py", "../_base_/datasets/coco_detection.py"],
    # Only their own configurations have its head.
    "dino": ["./3branch/dino_4scale_deit_384_sbl_1792_1120_672_fpn_3x_coco_bs32_ms.py"],
}
GPUS = 8
"""GPUs of the command in the README."""
DINO_BATCH = 32
"""Images of a step in their DINO configurations."""
DINO_CLIP = 0.1
"""Norm to which their DINO configurations clip gradients."""
FAST_RATE = 2e-4
"""Learning rate of their recipes for DINO and for ConvNeXts."""
CONVNEXT_LAYER_DECAY = 0.8
"""Layer decay of their configurations with ConvNeXts."""
CONVNEXT_LAYERS = 12
"""Number of layers that they count in a ConvNeXt."""
WINDOW_PADDING = 224
"""Multiple to which their configurations with windows pad images, in pixels."""
GLOBAL_PADDING = 64
"""Multiple of their configurations with InternViT-6B."""
CONVNEXT_PADDING = 32
"""Multiple of their configurations with ConvNeXts."""


def refusals(architecture: Architecture, training: DetectionTraining) -> list[str]:
    """Reasons why their code base cannot build and train the architecture, one line each."""
    branches, interaction = architecture.branches, architecture.interaction
    reasons = []
    if len(branches) not in BACKBONE_CLASSES:
        reasons.append("its detection classes have two to four branches")
    if architecture.merge not in ("conv", "pyramid"):
        reasons.append(f"its classes merge by convolutions or into a pyramid, not by {architecture.merge}")
    elif architecture.merge == "pyramid" and len(branches) != 3:
        reasons.append("only its class of three branches merges into a pyramid")
    if architecture.output != len(branches) - 1:
        reasons.append("its classes read no image that is larger than the last branch's")
    if len(branches) > 1 and not interaction.count:
        reasons.append("its branches run no block without interactions")
    if interaction.direction != "both":
        reasons.append(f"its interactions go both ways, not {interaction.direction}")
    if training.detector not in AUTHORS_BASES:
        reasons.append(f"configurations for it are written of {', '.join(AUTHORS_BASES)}, not of {training.detector}")
    if training.detector == "dino" and architecture.merge == "pyramid":
        reasons.append("its DINO reads one merged map, not a pyramid")
    found = [reason for branch in branches for reason in branch_refusals(branch)]
    if not found and len(branches) == 4 and not all(map(is_deit, branches)):
        reasons.append("its class of four branches has DeiT's ViT alone")
    return reasons + found


def official_config(
    architecture: Architecture, data: CocoPaths, training: DetectionTraining, schedule: TrainingLength
) -> Settings:
    """The configuration for a file in `CONFIG_PLACE` of their repository, for 8 GPUs.

    It starts from the weight files in their README.

    Raises:
        ExportError: Their code base cannot build the architecture.
    """
    reasons = refusals(architecture, training)
    if reasons:
        raise ExportError(f"the authors' code base cannot build {architecture}: {'; '.join(reasons)}")
    bfloat16 = training.precision == "bfloat16"
    queried = training.detector == "dino"
    masks = training.detector == "mask_rcnn"
    runtime = [] if queried else ["../_base_/schedules/schedule_1x.py", "../_base_/default_runtime.py"]
    steps = {"policy": "step", "warmup": "linear", "warmup_iters": recipe.WARMUP_ITERATIONS, "warmup_ratio": 0.001}
    batch = DINO_BATCH if queried else recipe.IMAGES_A_STEP
    reading = ImagePipeline(_norm(architecture, queried), padding_of(architecture), masks, queried, batch // GPUS)
    settings: Settings = {
        "_base_": [*AUTHORS_BASES[training.detector], *runtime],
        "deepspeed": bfloat16,
        "model": {"backbone": _backbone(architecture, training), **_detector_settings(architecture, data, training)},
        "data": data_settings(architecture, data, training, reading),
        "optimizer": _optimizer(architecture, training, queried),
        "optimizer_config": {"grad_clip": {"max_norm": DINO_CLIP, "norm_type": 2} if queried else None},
        "lr_config": {**steps, "step": list(schedule.steps)},
        "runner": {"type": "EpochBasedRunner", "max_epochs": schedule.epochs},
        # Without deepspeed their hook does not know the keyword.
        "checkpoint_config": replaced(interval=1, max_keep_ckpts=1, **({"deepspeed": True} if bfloat16 else {})),
        "evaluation": {"interval": 1, "metric": ["bbox", "segm"] if masks else ["bbox"], "save_best": None},
        "custom_imports": {"imports": ["mmcv_custom"], "allow_failed_imports": False},
        "custom_hooks": [{"type": "ToBFloat16HookMMDet", "priority": 49}] if bfloat16 else [],
    }
    if bfloat16:
        settings["deepspeed_config"] = "zero_configs/adam_zero1_bf16.json"
    return settings


def remarks(architecture: Architecture, data: CocoPaths, training: DetectionTraining) -> list[str]:
    """Remarks on their code base for a reader of the file."""
    branches = architecture.branches
    found = []
    if len(branches) == 4 and _parts(architecture, 3) != _parts(architecture, 2):
        found.append(
            "their PIIPFourBranch builds its fourth branch from the third's settings: in "
            "mmdet/models/backbones/piip_4branch.py write vit_models(**branch4) for self.branch4 first"
        )
    padding = padding_of(architecture)
    if padding % architecture.multiple:
        found.append(
            f"images are padded to multiples of {padding}, as in their recipe, at which not every branch sees whole "
            f"patches ({architecture.multiple} would be needed); their classes leave out what does not fill one"
        )
    if training.checkpointing and _has_convnext(architecture):
        found.append("their class for ConvNeXts keeps all that a block computes, so checkpointing spares ViTs alone")
    if training.detector == "dino" and (training.scale_jitter or training.short_side != 1):
        found.append("image sizes are drawn as in their recipe for DINO, in place of scale_jitter and short_side")
    if not data.same_order:
        found.append(
            "their data set gives labels in the order of each file, and the two annotation files list the categories "
            "in different orders: sort those of the validation file like those of the training file first"
        )
    found += [
        f"their reader takes the upper 8 of 16 bits, and the images in {split.images} use {split.bits}: scale them to "
        "8 bits first"
        for split in (data.train, data.val)
        if split.bits is not None
    ]
    return found


def padding_of(architecture: Architecture) -> int:
    """The multiple in pixels to which their configurations of such networks pad images."""
    names = [branch.backbone for branch in architecture.branches]
    if _has_convnext(architecture):
        return CONVNEXT_PADDING
    return GLOBAL_PADDING if "vit_6b" in names else WINDOW_PADDING


def _has_convnext(architecture: Architecture) -> bool:
    return any(isinstance(branch.model, ConvNeXt) for branch in architecture.branches)


def _norm(architecture: Architecture, queried: bool) -> dict[str, list[float]]:
    """Normalisation of images: ImageNet's for their DINO with DeiT's weights and their ConvNeXts, else to [-1, 1]."""
    deit = queried and all(map(is_deit, architecture.branches))
    return IMAGENET if deit or _has_convnext(architecture) else HALF_NORM


def _detector_settings(architecture: Architecture, data: CocoPaths, training: DetectionTraining) -> Settings:
    """Settings of neck and heads."""
    merged = [width for width, _ in architecture.merged]
    if training.detector == "dino":
        return {
            "neck": {"in_channels": merged * 3},
            "bbox_head": {"num_classes": len(data.classes)},
            "test_cfg": {"max_per_img": training.max_detections},
        }
    detector_config = DETECTOR_CONFIGS[training.detector]
    widths = tuple(merged * (len(detector_config.strides) // len(merged)))
    return detector_config.settings(
        training, len(data.classes), DetectorMaps(widths, training.box(architecture.resolution))
    )


def _backbone(architecture: Architecture, training: DetectionTraining) -> Settings:
    interaction = architecture.interaction
    settings = replaced(
        type=BACKBONE_CLASSES[len(architecture.branches)],
        n_points=interaction.points,
        deform_num_heads=interaction.heads,
        cffn_ratio=0.25,
        deform_ratio=0.5,
        with_cffn=True,
        interact_attn_type="deform" if interaction.attention == "deformable" else "normal",
        interaction_drop_path_rate=recipe.INTERACTION_DROP_PATH,
    )
    if not interaction.projection:
        settings["interaction_proj"] = False
    if not interaction.norm:
        settings["norm_layer"] = "none"
    if training.detector == "dino":
        settings["is_dino"] = True
    if architecture.merge == "pyramid":
        settings |= {"with_simple_fpn": False, "out_interaction_indexes": list(architecture.taps[:-1])}
    for index, branch in enumerate(architecture.branches):
        settings[f"branch{index + 1}"] = branch_settings(branch, interaction.count, training.checkpointing)
    return settings


def _parts(architecture: Architecture, index: int) -> Settings:
    """Settings of a branch in their class of four branches, except for its image size."""
    settings = branch_settings(architecture.branches[index], architecture.interaction.count, False)
    return {name: value for name, value in settings.items() if name != "real_size"}


def _optimizer(architecture: Architecture, training: DetectionTraining, queried: bool) -> Settings:
    models = [branch.model for branch in architecture.branches]
    layers = next((model.depth for model in models if isinstance(model, Transformer)), CONVNEXT_LAYERS)
    # Names of ConvNeXts do not follow the rule, so they train at the full rate in any case.
    ratios = [layers / model.depth if isinstance(model, Transformer) else 1 for model in models[1:]]
    convolutional = _has_convnext(architecture)
    return replaced(
        type="AdamW",
        lr=FAST_RATE if queried or convolutional else recipe.LEARNING_RATE,
        betas=(0.9, 0.999),
        weight_decay=training.weight_decay,
        constructor="CustomLayerDecayOptimizerConstructorMMDet",
        paramwise_cfg={
            "num_layers": layers,
            "layer_decay_rate": CONVNEXT_LAYER_DECAY if convolutional else recipe.LAYER_DECAY,
            "skip_stride": [int(ratio) if math.isclose(ratio, int(ratio)) else ratio for ratio in ratios],
        },
    )
