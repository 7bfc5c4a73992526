"""Backbone facts: what a branch of a PIIP network can be, as plain data.

One entry per variant. A plain ViT is fully described by width, depth, heads, MLP ratio and patch size;
`models/` builds it from these numbers and `cost.py` prices it from the same ones.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backbone:
    """A plain vision transformer, before it is given an image size.

    Attributes:
        name: Short name, as typed in a search space and in a short form.
        title: Name as the literature writes it.
        width: Token width d (channels).
        depth: Number of transformer blocks.
        heads: Attention heads; they divide the width.
        mlp_ratio: Hidden width of a block's MLP over the token width.
        patch: Side of a square patch in pixels, which is also the stride.
        layer_scale: Whether every block scales its two residuals by learnable vectors (DeiT III).
        drop_path: Constant drop-path rate of full training (PIIP's detection configs).
        timm_name: The timm model whose pre-trained weights fit; empty where there is none.
    """

    name: str
    title: str
    width: int
    depth: int
    heads: int
    mlp_ratio: int = 4
    patch: int = 16
    layer_scale: bool = True
    drop_path: float = 0.0
    timm_name: str = ""


# The four published sizes: PIIP (arXiv 2501.07783) builds on DeiT (T) and DeiT III (S, B, L).
# The three small ones are ours: trainable from scratch on a laptop within a minute.
BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        Backbone("vit_l", "ViT-L", 1024, 24, 16, drop_path=0.4, timm_name="deit3_large_patch16_224.fb_in22k_ft_in1k"),
        Backbone("vit_b", "ViT-B", 768, 12, 12, drop_path=0.15, timm_name="deit3_base_patch16_224.fb_in22k_ft_in1k"),
        Backbone("vit_s", "ViT-S", 384, 12, 6, drop_path=0.05, timm_name="deit3_small_patch16_224.fb_in22k_ft_in1k"),
        Backbone("vit_t", "ViT-T", 192, 12, 3, drop_path=0.05, timm_name="deit_tiny_patch16_224.fb_in1k"),
        Backbone("vit_micro", "ViT-micro", 128, 4, 4),
        Backbone("vit_nano", "ViT-nano", 96, 4, 3),
        Backbone("vit_pico", "ViT-pico", 64, 4, 2),
    )
}


def backbone_named(name: str) -> Backbone:
    """The backbone of that short name.

    Raises:
        ValueError: No backbone has that name; the message lists those that exist.
    """
    try:
        return BACKBONES[name]
    except KeyError:
        raise ValueError(f"unknown backbone {name!r}; choose one of {', '.join(BACKBONES)}") from None
