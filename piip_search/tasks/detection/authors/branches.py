"""Branches in the form of the authors' classes, and their weight files."""

from dataclasses import dataclass

from piip_search.architecture import Branch
from piip_search.architecture.backbones import ConvNeXt, Transformer
from piip_search.architecture.segments import interaction_ranges
from piip_search.export.settings import Settings

PATCH = 16
"""Side in pixels of all ViTs' patches in their code base."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of weights in their README; its name selects the class of a branch.

    Attributes:
        path: Path in their configurations, or a name in Hugging Face's hub.
        side: Side in pixels of its training images.
        patch: Side in pixels of its patches in training.
        drop_path: Rate in their configuration; None for the backbone's own.
    """

    path: str
    side: int = 224
    patch: int = PATCH
    drop_path: float | None = None


_DEIT = "./pretrained/deit_3_{}_{}_21k.pth"
_AUGREG = "./pretrained/{}--imagenet2012-steps_20k-lr_{}-res_384.pth"
_SIZES = {"vit_s": "small", "vit_b": "base", "vit_l": "large"}
BRANCH_WEIGHTS: dict[str, File] = {
    "vit_t": File("./pretrained/deit_tiny_patch16_224-a1311bcf.pth"),
    "vit_h": File("./pretrained/mae_pretrain_vit_huge.pth", patch=14),
    "vit_6b": File("./pretrained/intern_vit_6b_224px.pth", patch=14),
    **{name: File(_DEIT.format(size, 224)) for name, size in _SIZES.items()},
    **{
        f"deit3_{size}_patch16_{side}.fb_in22k_ft_in1k": File(_DEIT.format(size, side), side, drop_path=rate)
        for size, rate in (("small", 0.05), ("base", 0.15), ("large", 0.4))
        for side in (224, 384)
    },
    **{
        f"vit_{size}_patch16_224.mae": File(f"./pretrained/mae_pretrain_vit_{size}.pth", drop_path=rate)
        for size, rate in (("base", 0.15), ("large", 0.4))
    },
    **{
        f"vit_{size}_patch14_dinov2{tag}": File(f"./pretrained/dinov2_vit{size[0]}14_pretrain.pth", 518, 14, rate)
        for size, rate in (("small", 0.2), ("base", 0.3), ("large", 0.4))
        for tag in ("", ".lvd142m")
    },
    **{
        f"vit_{size}_patch16_384.augreg_in21k_ft_in1k": File(_AUGREG.format(first, second), 384, drop_path=rate)
        for size, rate, first, second in (
            ("tiny", 0.05, "Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0", "0.03"),
            ("small", 0.2, "S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0", "0.03"),
            ("base", 0.3, "B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0", "0.01"),
            ("large", 0.4, "L_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.1-sd_0.1", "0.01"),
        )
    },
    **{
        name: File(f"facebook/convnext-{size}-224", drop_path=rate)
        for size, rate in (("tiny", 0.3), ("small", 0.3), ("base", 0.4), ("large", 0.4))
        for name in (f"convnext_{size[0]}", f"convnext_{size}.fb_in1k")
    },
}
"""Weight files by backbone; those of ConvNeXts are downloaded automatically."""


def is_deit(branch: Branch) -> bool:
    """Whether their class for DeiT builds a ViT branch; else their class for InternViT-6B and all others does."""
    return "deit" in BRANCH_WEIGHTS[branch.backbone].path


def branch_refusals(branch: Branch) -> list[str]:
    """Reasons why their classes cannot build a branch, one line each."""
    if branch.backbone not in BRANCH_WEIGHTS:
        return [f"it loads every branch from a file, and lists none for {branch.backbone}"]
    model = branch.model
    if isinstance(model, Transformer) and model.patch != PATCH:
        return [f"its networks have patches of 16 px, not {model.patch}"]
    return []


def branch_settings(branch: Branch, count: int, checkpointing: bool) -> Settings:
    """The arguments of a branch.

    Args:
        branch: Branch that they can build.
        count: Number of interactions.
        checkpointing: Whether only a block's input is saved for the backward pass; their class for InternViT-6B always
            does so, that for ConvNeXts never.
    """
    ranges = interaction_ranges(branch.model, count)
    settings = {
        "real_size": branch.resolution,
        "pretrained": BRANCH_WEIGHTS[branch.backbone].path,
        "drop_path_rate": _drop_path(branch),
        "interaction_indexes": [[blocks.start, blocks.stop - 1] for blocks in ranges],
    }
    if isinstance(branch.model, ConvNeXt):
        strides = [stage.stride for stage in branch.model.stages for _ in range(stage.blocks)]
        return {**settings, "downsample_ratios": strides}
    return settings | _vit(branch, branch.model, checkpointing)


def _drop_path(branch: Branch) -> float:
    rate = BRANCH_WEIGHTS[branch.backbone].drop_path
    return branch.model.drop_path if rate is None else rate


def _vit(branch: Branch, model: Transformer, checkpointing: bool) -> Settings:
    file = BRANCH_WEIGHTS[branch.backbone]
    settings: Settings = {
        "pretrain_img_size": file.side,
        "patch_size": PATCH,
        "pretrain_patch_size": file.patch,
        "depth": model.depth,
        "embed_dim": model.width,
        "num_heads": model.heads,
        "mlp_ratio": model.mlp_width / model.width,
        "qkv_bias": model.qkv_bias,
        "window_attn": [window is not None for window in branch.windows],
        "window_size": [-1 if window is None else window for window in branch.windows],
        "with_fpn": False,
        "use_flash_attn": True,
    }
    if is_deit(branch):
        return {**settings, "init_scale": 1.0, "with_cp": checkpointing}
    return {
        **settings,
        "init_values": model.layer_scale,
        "with_cp": True,
        "qk_normalization": model.query_norm == "width",
        "layerscale_force_fp32": False,
        "norm_layer_type": "RMSNorm" if model.norm == "rms" else "LayerNorm",
    }
