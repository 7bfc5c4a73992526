"""Facts of the backbones that can be a branch of a PIIP network, as plain data.

A backbone is named in one of three ways:

- a short name: the sizes of the PIIP papers, and a few small ones to experiment with (`BACKBONES`);
- a timm model of the two families, with or without a weight tag: `deit3_base_patch16_224.fb_in22k_ft_in1k`
  (`timm_models.json`, written by `piip_search.models.weights.timm_catalogue`);
- a plain ViT of any size, by its numbers: `vit_w640_d12_h10`, with patches other than 16 px `vit_w640_d12_h10_p8`.

`models/` builds a backbone and `cost/` prices it from these facts.
"""

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from piip_search.errors import DesignError

Norm = Literal["layer", "rms"]
BlockKind = Literal["plain", "post", "parallel", "twin"]
Pool = Literal["token", "avg", "normed_avg", "map", "pair"]

_TIMM_MODELS = Path(__file__).parent / "timm_models.json"
_BY_NUMBERS = re.compile(
    r"vit_w(?P<width>\d{1,9})_d(?P<depth>\d{1,9})_h(?P<heads>\d{1,9})(?:_p(?P<patch>\d{1,9}))?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of a backbone on one grid.

    Attributes:
        width: Channels.
        blocks: Number of blocks, including the downsampling that begins every later stage of a ConvNeXt.
        stride: Pixels a token.
    """

    width: int
    blocks: int
    stride: int


@dataclass(frozen=True, slots=True)
class Transformer:
    """A plain vision transformer without an image size.

    Attributes:
        name: Name in a search space and in a short form.
        title: Name in the literature.
        width: Token width d (channels).
        depth: Number of transformer blocks.
        heads: Attention heads; they divide the width.
        hidden: Width inside a block's MLP, after its gate if it has one; 0 for 4 d.
        patch: Side of a square patch in pixels, which is also the stride.
        position_grid: Tokens along a side of the stored position embedding; 0 without one.
        relative_grid: Tokens along a side of the relative position biases that every block adds to its attention
            (BEiT).
        gated: Whether the MLP has a gate, and so a second matrix d x hidden (SwiGLU).
        block: Structure of a block: norm, attention, norm, MLP (`plain`); norms after instead of before (`post`);
            attention and MLP side by side behind one norm (`parallel`); two attentions side by side, then two MLPs
            (`twin`).
        norm: Layer norm, or root-mean-square norm, which has no bias.
        eps: Number that norms add to variances.
        inner_norms: Whether attention and MLP have one more norm before their last layer (BEiT-3).
        layer_scale: Start of the learnable vectors that scale a block's two residuals; None without them.
        qkv_bias, proj_bias, mlp_bias, patch_bias: Whether these layers have biases; keys have none under relative
            position biases.
        query_norm: Whether queries and keys are normed: not, a head at a time, or over the whole width.
        patch_norm: Whether patches are normed before positions are added (AIMv2).
        embedding_norm: Whether tokens are normed before the first block (CLIP).
        final_norm: Whether tokens are normed before the class scores.
        pool: Source of class scores: the class token; the mean of the image's tokens, taken before the final norm
            (`avg`) or after it (`normed_avg`); or sources that the merge `logits` lacks: attention (`map`), or a class
            and a distillation token with two heads (`pair`).
        prefix: Tokens besides those of the image: a class token, registers. Only classification and language models use
            them (the merges `logits` and `tokens`).
        prefix_positions: Whether prefix tokens have position embeddings of their own.
        intern_class: Whether the authors build it with their class InternViT6B, as they do for all weights but DeiT's:
            that class pads windows before it counts the projections (in the published convention), and its drop path
            rises from block to block.
        drop_path: Drop-path rate of full training (PIIP's detection configs).
        timm_name: The timm model whose weights fit; empty without one.
        weights_url: A file of fitting weights if timm has none.
    """

    name: str
    title: str
    width: int
    depth: int
    heads: int
    hidden: int = 0
    patch: int = 16
    position_grid: int = 14
    relative_grid: int = 0
    gated: bool = False
    block: BlockKind = "plain"
    norm: Norm = "layer"
    eps: float = 1e-6
    inner_norms: bool = False
    layer_scale: float | None = 1.0
    qkv_bias: bool = True
    proj_bias: bool = True
    mlp_bias: bool = True
    patch_bias: bool = True
    query_norm: Literal["none", "head", "width"] = "none"
    patch_norm: bool = False
    embedding_norm: bool = False
    final_norm: bool = True
    pool: Pool = "token"
    prefix: int = 1
    prefix_positions: bool = False
    intern_class: bool = False
    drop_path: float = 0.0
    timm_name: str = ""
    weights_url: str = ""

    family: ClassVar[Literal["vit"]] = "vit"

    def __post_init__(self) -> None:
        if self.width < 1 or self.depth < 1 or self.heads < 1 or self.width % self.heads or self.patch < 1:
            raise DesignError(
                f"a ViT has positive width, depth, heads and patch, and heads that divide the width, got {self.name}; "
                "write e.g. vit_w640_d12_h10"
            )
        if self.width > 8192 or self.depth > 100 or self.patch > 1024:
            raise DesignError(
                f"a ViT is at most 8192 wide and 100 blocks deep, with patches of at most 1024 px, got {self.name}"
            )

    def __hash__(self) -> int:
        return hash((self.name, self.patch))  # the key in caches; equal backbones have equal names

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The single stage: a ViT keeps its grid."""
        return (Stage(self.width, self.depth, self.patch),)

    @property
    def relative_biases(self) -> int:
        """Number of relative position biases of a block: one a head and offset, three more for a class token (BEiT)."""
        return self.heads * ((2 * self.relative_grid - 1) ** 2 + 3) if self.relative_grid else 0

    @property
    def mlp_width(self) -> int:
        """Width inside a block's MLP."""
        return self.hidden or 4 * self.width

    def drop_paths(self, rate: float) -> tuple[float, ...]:
        """Drop-path rate of each block: rising to the given rate in the authors' class InternViT6B, else constant."""
        return _rising(rate, self.depth) if self.intern_class else (rate,) * self.depth


@dataclass(frozen=True, slots=True)
class ConvNeXt:
    """A ConvNeXt (arXiv 2201.03545) without an image size.

    Attributes:
        name: Name in a search space and in a short form.
        title: Name in the literature.
        widths: Channels of the four stages, at strides of 4, 8, 16 and 32 pixels.
        depths: ConvNeXt blocks of the four stages.
        response_norm: Whether the MLPs have a global response norm (ConvNeXt V2) instead of a layer scale.
        eps: Number that the norm before class scores adds to variances.
        pool: Source of class scores: the mean over the map, taken before or after that norm.
        drop_path: Drop-path rate of full training.
        timm_name: The timm model whose weights fit; empty without one.
    """

    name: str
    title: str
    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    response_norm: bool = False
    eps: float = 1e-6
    pool: Pool = "avg"
    drop_path: float = 0.0
    timm_name: str = ""

    family: ClassVar[Literal["convnext"]] = "convnext"
    patch: ClassVar[int] = 32

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def width(self) -> int:
        """Channels at stride 16, where most of the depth lies; they order the models."""
        return self.widths[2]

    @property
    def depth(self) -> int:
        """Number of blocks, with a downsampling layer as one (PIIP's official configurations)."""
        return sum(stage.blocks for stage in self.stages)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The four stages."""
        return tuple(
            Stage(width, depth + (index > 0), 4 << index)
            for index, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True))
        )

    def drop_paths(self, rate: float) -> tuple[float, ...]:
        """Drop-path rate of each block: rising to the given rate over ConvNeXt blocks, zero at a downsampling layer.

        As in the transformers library, whose ConvNeXt the authors use.
        """
        rising = iter(_rising(rate, sum(self.depths)))
        downsamplings = {sum(stage.blocks for stage in self.stages[:index]) for index in (1, 2, 3)}
        return tuple(0.0 if block in downsamplings else next(rising) for block in range(self.depth))


Backbone = Transformer | ConvNeXt


def _rising(rate: float, blocks: int) -> tuple[float, ...]:
    """Rates from zero at the first block to the given one at the last."""
    return tuple(rate * block / max(1, blocks - 1) for block in range(blocks))


def _published() -> Iterable[Backbone]:
    """Backbones of the PIIP papers: DeiT (T), DeiT III (S, B, L), MAE (H), InternVL (6B), ConvNeXt."""
    deit3 = "deit3_{}_patch16_224.fb_in22k_ft_in1k"
    yield Transformer(
        "vit_6b",
        "InternViT-6B",
        3200,
        48,
        25,
        12800,
        norm="rms",
        layer_scale=0.1,
        qkv_bias=False,
        query_norm="width",
        intern_class=True,
        drop_path=0.4,
        weights_url="https://huggingface.co/OpenGVLab/InternVL/resolve/main/intern_vit_6b_224px.pth",
    )
    yield Transformer(
        "vit_h", "ViT-H", 1280, 32, 16, intern_class=True, drop_path=0.4, timm_name="vit_huge_patch14_224.mae"
    )
    yield Transformer("vit_l", "ViT-L", 1024, 24, 16, drop_path=0.4, timm_name=deit3.format("large"))
    yield Transformer("vit_b", "ViT-B", 768, 12, 12, drop_path=0.15, timm_name=deit3.format("base"))
    yield Transformer("vit_s", "ViT-S", 384, 12, 6, drop_path=0.05, timm_name=deit3.format("small"))
    yield Transformer("vit_t", "ViT-T", 192, 12, 3, drop_path=0.05, timm_name="deit_tiny_patch16_224.fb_in1k")
    for letter, size, widths, depths, rate in (
        ("l", "large", (192, 384, 768, 1536), (3, 3, 27, 3), 0.4),
        ("b", "base", (128, 256, 512, 1024), (3, 3, 27, 3), 0.4),
        ("s", "small", (96, 192, 384, 768), (3, 3, 27, 3), 0.3),
        ("t", "tiny", (96, 192, 384, 768), (3, 3, 9, 3), 0.3),
    ):
        yield ConvNeXt(
            f"convnext_{letter}",
            f"ConvNeXt-{letter.upper()}",
            widths,
            depths,
            drop_path=rate,
            timm_name=f"convnext_{size}.fb_in1k",
        )


def _small() -> Iterable[Backbone]:
    """Small backbones for experiments: they train from scratch on a laptop within a minute."""
    yield Transformer("vit_micro", "ViT-micro", 128, 4, 4)
    yield Transformer("vit_nano", "ViT-nano", 96, 4, 3)
    yield Transformer("vit_pico", "ViT-pico", 64, 4, 2)
    yield ConvNeXt("convnext_pico", "ConvNeXt-pico", (32, 64, 96, 128), (1, 1, 3, 1))
    yield ConvNeXt("convnext_yocto", "ConvNeXt-yocto", (16, 48, 64, 96), (1, 1, 3, 1))


BACKBONES: dict[str, Backbone] = {backbone.name: backbone for backbone in (*_published(), *_small())}
"""Backbones by short name."""


@cache
def _catalogue() -> dict[str, Any]:
    catalogue: dict[str, Any] = json.loads(_TIMM_MODELS.read_text(encoding="utf-8"))
    return catalogue


@cache
def timm_models() -> dict[str, dict[str, Any]]:
    """Facts of timm's ViTs and ConvNeXts, by model name without tag."""
    models: dict[str, dict[str, Any]] = _catalogue()["models"]
    return models


@cache
def refused_models() -> dict[str, str]:
    """Reasons why other ViTs and ConvNeXts of timm cannot be a branch, by model name without tag."""
    refused: dict[str, list[str]] = _catalogue()["refused"]
    return {name: reason for reason, names in refused.items() for name in names}


@cache
def backbone_named(name: str) -> Backbone:
    """The backbone with a name.

    Raises:
        DesignError: No backbone has that name; the message suggests near names.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    if match := _BY_NUMBERS.fullmatch(name):
        width, depth, heads, patch = (int(number or 16) for number in match.groups())
        rate = _drop_path(name, width)
        return Transformer(name, f"ViT {width}x{depth}", width, depth, heads, patch=patch, drop_path=rate)
    model = name.partition(".")[0]
    facts = dict(timm_models().get(model, {}))
    if not facts:
        near = difflib.get_close_matches(model, [*BACKBONES, *timm_models()], n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(BACKBONES)}"
        if model in refused_models():
            raise DesignError(f"{name} cannot be a branch: it {refused_models()[model]}; {hint}")
        raise DesignError(
            f"unknown backbone {name!r}; {hint} (docs/cost.md lists timm's models that can be a branch; a ViT of any "
            "other size is named by its numbers: vit_w640_d12_h10)"
        )
    if facts.pop("family") == "convnext":
        widths, depths = tuple(facts.pop("widths")), tuple(facts.pop("depths"))
        return ConvNeXt(name, name, widths, depths, drop_path=0.3 if widths[3] <= 768 else 0.4, timm_name=name, **facts)
    rate, intern_class = _drop_path(name, facts["width"]), not name.startswith("deit")
    return Transformer(name, name, timm_name=name, intern_class=intern_class, drop_path=rate, **facts)


def _drop_path(name: str, width: int) -> float:
    """Drop-path rate of PIIP's detection configs for a ViT's width; AugReg and DINOv2 have higher rates below L."""
    small, base, large = (0.2, 0.3, 0.4) if "augreg" in name or "dinov2" in name else (0.05, 0.15, 0.4)
    return small if width <= 384 else base if width <= 768 else large


@cache
def with_patch(backbone: Backbone, patch: int) -> Backbone:
    """The ViT with another patch size, as the authors use ViTs of 14 px at 16; pre-trained patches are resampled.

    Raises:
        DesignError: The backbone has no patches.
    """
    if isinstance(backbone, ConvNeXt):
        raise DesignError(f"{backbone.name} has no patches to resample; leave :p{patch} out")
    return replace(backbone, patch=patch)


def has_weights(backbone: Backbone) -> bool:
    """Whether a backbone has published weights."""
    return bool(backbone.timm_name or _weights_url(backbone))


def weight_file(backbone: Backbone, place: Path) -> Path | None:
    """The file of a backbone's pre-trained weights: the path itself, or a file in it named like the timm model.

    A backbone without published weights has files under its own name (`benchmarks/miniatures.py`). None if there is
    no file.
    """
    if place.is_file():
        return place
    own = "" if has_weights(backbone) else backbone.name
    names = (backbone.timm_name, backbone.timm_name.partition(".")[0], Path(_weights_url(backbone)).stem, own)
    files = (place / f"{name}{ending}" for name in names if name for ending in (".safetensors", ".pth", ".pt", ".bin"))
    return next((file for file in files if file.is_file()), None)


def weights_hint(backbone: Backbone, folder: Path) -> str:
    """The message which file to place where, so that `weight_file` finds it."""
    name, url = backbone.timm_name, _weights_url(backbone)
    if name:
        url, target = f"https://huggingface.co/timm/{name}/resolve/main/model.safetensors", f"{name}.safetensors"
    else:
        target = Path(url).name
    return f"place {url} as {folder / target}"


def _weights_url(backbone: Backbone) -> str:
    return backbone.weights_url if isinstance(backbone, Transformer) else ""
