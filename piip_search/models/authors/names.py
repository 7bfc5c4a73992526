"""Names of our networks' tensors in the authors' repository (OpenGVLab/PIIP @ 7a8eceb).

The authors count branches from 1 and pairs as 12, 23, 34. Some of their separate tensors are one tensor here (the
weights of the branches' sum), or the reverse (keys and values of regular attention). Networks are in three of their
code bases: for detection and segmentation, for classification, and for language models.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from piip_search.architecture import Architecture
from piip_search.architecture.backbones import Backbone, ConvNeXt, Transformer
from piip_search.architecture.segments import PYRAMID_LEVELS, STRIDES, Merge

Names = dict[str, Tensor]
BranchBuilder = Literal["vit_models", "InternViT6B", "CLIP", "ConvNeXt of transformers", "ConvNeXt of timm"]
"""Code that builds a branch."""

TOWER = "model.vision_tower.vision_tower."
PROJECTOR = "model.mm_projector."
"""Prefix of branches with interactions and of projectors in PIIP-LLaVA."""
CLASS_TOKEN = {"CLIP": "clip_model.embeddings.class_embedding"}
POSITIONS = {"CLIP": "clip_model.embeddings.position_embedding.weight"}
"""Names of position embeddings; `pos_embed` in other branches."""

_INJECTORS = {"large_reads": "branch2to1", "small_reads": "branch1to2"}
_INSIDE = {
    "gamma": "ca_gamma",
    "tau": "cffn_gamma",
    "ffn.dwconv.weight": "ffn.dwconv.dwconv.weight",
    "ffn.dwconv.bias": "ffn.dwconv.dwconv.bias",
    "attn.query_proj.weight": "attn.wq.weight",
}
_CONVNEXT = {
    "conv_dw": "dwconv",
    "norm": "layernorm",
    "mlp.fc1": "pwconv1",
    "mlp.fc2": "pwconv2",
    "gamma": "layer_scale_parameter",
}
_CLIP = {"norm1": "layer_norm1", "norm2": "layer_norm2", "attn.proj": "self_attn.out_proj"}


def branch_of(model: Backbone, merge: Merge) -> BranchBuilder:
    """The code that builds a branch for a backbone."""
    if isinstance(model, ConvNeXt):
        return "ConvNeXt of timm" if merge == "tokens" else "ConvNeXt of transformers"
    if merge == "tokens":
        return "CLIP"
    return "InternViT6B" if model.intern_class else "vit_models"


def branch_prefix(index: int, merge: Merge) -> str:
    """Prefix of a branch's names."""
    return f"{TOWER if merge == 'tokens' else ''}branch{index + 1}."


def scale_name(index: int, block: int, which: int, architecture: Architecture) -> str:
    """Name of the layer scale of a block's first or second residual."""
    model = architecture.branches[index].model
    scale = f"gamma_{which}" if branch_of(model, architecture.merge) == "vit_models" else f"ls{which}.gamma"
    return f"{branch_prefix(index, architecture.merge)}blocks.{block}.{scale}"


def names_of(name: str, tensor: Tensor, architecture: Architecture, strides: Sequence[int]) -> Names:
    """The authors' names and tensors for one of our tensors, except class tokens and positions."""
    parts = name.removeprefix("piip.").split(".")
    kind, rest = parts[0], parts[1:]
    if kind == "branches":
        return _branch(int(rest[0]), rest[1:], tensor, architecture)
    if kind == "interactions":
        return _interaction(rest, tensor, architecture)
    if kind == "pyramid":
        level, inside = STRIDES.index(strides[int(rest[1])]), rest[2:]
        return {".".join([f"fpn{level + 1}", *(inside if level == 0 else ["0", *inside])]): tensor}
    if kind in ("norm", "head"):
        return {".".join([f"cls_{kind}", *rest]): tensor}
    merges = {"logits": _logits, "tokens": _tokens, "linear": _linear}
    return merges.get(architecture.merge, _convolutions)(int(rest[0]), rest[1:], tensor, architecture)


def _branch(index: int, parts: list[str], tensor: Tensor, architecture: Architecture) -> Names:
    model = architecture.branches[index].model
    kind, prefix = branch_of(model, architecture.merge), branch_prefix(index, architecture.merge)
    if isinstance(model, ConvNeXt):
        layout = _hugging_face if kind == "ConvNeXt of transformers" else _timm
        return {f"{prefix}convnext_model.{'.'.join(layout(parts, model))}": tensor}
    inside = ".".join(parts)
    if kind == "CLIP":
        return {f"{prefix}clip_model.{key}": part for key, part in _clip(inside, tensor).items()}
    if kind == "vit_models":
        inside = re.sub(r"\.ls([12])\.gamma$", r".gamma_\1", inside)
    return {prefix + inside: tensor}


def _clip(inside: str, tensor: Tensor) -> Names:
    """Names of the transformers library, which has separate projections for queries, keys and values."""
    if not inside.startswith("blocks."):
        inside = inside.replace("patch_embed.proj", "embeddings.patch_embedding").replace("norm_pre", "pre_layrnorm")
        return {inside: tensor}
    _, block, inside = inside.split(".", 2)
    layer, _, end = f"encoder.layers.{block}.", *inside.rpartition(".")[1:]
    part = inside.rpartition(".")[0]
    if part == "attn.qkv":
        return {
            f"{layer}self_attn.{letter}_proj.{end}": one for letter, one in zip("qkv", tensor.chunk(3), strict=True)
        }
    return {f"{layer}{_CLIP.get(part, part)}.{end}": tensor}


def _place(block: int, model: ConvNeXt) -> tuple[int, int]:
    """Stage of a block, and its number in the stage, from -1 for the downsampling."""
    stage = 0
    while block >= model.stages[stage].blocks:
        block -= model.stages[stage].blocks
        stage += 1
    return stage, block - (stage > 0)


def _hugging_face(parts: list[str], model: ConvNeXt) -> list[str]:
    if parts[0] == "stem":
        return ["embeddings", {"0": "patch_embeddings", "1": "layernorm"}[parts[1]], *parts[2:]]
    stage, layer = _place(int(parts[1]), model)
    if layer < 0:
        return ["encoder", "stages", str(stage), "downsampling_layer", *parts[2:]]
    inside = ".".join(parts[2:])
    for ours, theirs in _CONVNEXT.items():
        if inside == ours or inside.startswith(ours + "."):
            inside = theirs + inside[len(ours) :]
            break
    return ["encoder", "stages", str(stage), "layers", str(layer), inside]


def _timm(parts: list[str], model: ConvNeXt) -> list[str]:
    """Timm's own names, except for the layer scale."""
    if parts[0] == "stem":
        return parts
    stage, layer = _place(int(parts[1]), model)
    if layer < 0:
        return ["stages", str(stage), "downsample", *parts[2:]]
    return ["stages", str(stage), "blocks", str(layer), *("weight" if part == "gamma" else part for part in parts[2:])]


def _interaction(parts: list[str], tensor: Tensor, architecture: Architecture) -> Names:
    step, pair, reader, inside = parts[0], int(parts[1]), parts[2], ".".join(parts[3:])
    tower = TOWER if architecture.merge == "tokens" else ""
    prefix = f"{tower}interactions.{step}.interaction_units_{pair + 1}{pair + 2}.{_INJECTORS[reader]}"
    if inside.startswith("projection."):
        return {f"{prefix}_proj.{inside.removeprefix('projection.')}": tensor}
    if inside == "attn.key_value_proj.weight":
        key, value = tensor.chunk(2)
        return {f"{prefix}_injector.attn.wk.weight": key, f"{prefix}_injector.attn.wv.weight": value}
    inside = _INSIDE.get(inside, inside)
    if architecture.merge == "tokens":
        inside = re.sub(r"^(ca|cffn)_gamma$", r"\1_weight", inside)
    if architecture.interaction.attention == "regular":
        inside = inside.replace("attn.output_proj", "attn.proj")
    return {f"{prefix}_injector.{inside}": tensor}


def _convolutions(level: int, parts: list[str], tensor: Tensor, architecture: Architecture) -> Names:
    """Names of a merge by convolutions: the last one is separate, and earlier ones are named by their interaction."""
    last = architecture.merge == "conv" or level == PYRAMID_LEVELS - 1
    before = "" if last else f"intermediate_merging_{architecture.taps[level]}_"
    if parts[0] == "branch_weights":
        return _weights(before, tensor)
    branch = f"branch{int(parts[1]) + 1}"
    return {".".join([f"{before}{branch}" if before else f"merge_{branch}", *parts[2:]]): tensor}


def _weights(before: str, tensor: Tensor) -> Names:
    return {f"{before}w{index + 1}": weight for index, weight in enumerate(tensor.unbind())}


def _linear(level: int, parts: list[str], tensor: Tensor, architecture: Architecture) -> Names:
    """Names of a linear merge: the first branch has only a norm; the layers of others stand between permutations."""
    if parts[0] == "branch_weights":
        return _weights("", tensor)
    branch, layer, rest = int(parts[1]), int(parts[2]), parts[3:]
    return {".".join([f"merge_branch{branch + 1}", *([str(2 * layer)] if branch else []), *rest]): _matrix(tensor)}


def _logits(level: int, parts: list[str], tensor: Tensor, architecture: Architecture) -> Names:
    kind, branch, rest = parts[0].removesuffix("s"), int(parts[1]), parts[2:]
    return {".".join([f"branch{branch + 1}", kind, *rest]): tensor}


def _tokens(level: int, parts: list[str], tensor: Tensor, architecture: Architecture) -> Names:
    """Names of a projector, whose layers stand between permutations."""
    branch, layer, rest = int(parts[1]), {"0": "1", "1": "3", "3": "6"}[parts[2]], parts[3:]
    return {".".join([f"{PROJECTOR}branch{branch + 1}", layer, *rest]): _matrix(tensor)}


def _matrix(tensor: Tensor) -> Tensor:
    """A linear layer's weight from a 1x1 convolution's."""
    return tensor[..., 0, 0] if tensor.dim() == 4 else tensor


def is_spare(name: str, architecture: Architecture, strides: Sequence[int]) -> bool:
    """Whether a tensor of the authors is unused in their networks."""
    kinds = {branch_of(branch.model, architecture.merge) for branch in architecture.branches}
    unused = ["fpn1."] if STRIDES[0] not in strides else []
    unused += ["clip_model.post_layernorm.", "clip_model.embeddings.position_ids"] if "CLIP" in kinds else []
    unused += ["convnext_model.layernorm."] if "ConvNeXt of transformers" in kinds else []
    unused += ["convnext_model.head.norm."] if "ConvNeXt of timm" in kinds else []
    return re.sub(r"^(.*\.)?branch\d\.", "", name).startswith(tuple(unused)) if unused else False


def inside_network(state: Mapping[str, Tensor], architecture: Architecture) -> Names:
    """The tensors of the network in a whole model."""
    plain = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    if architecture.merge == "tokens":
        return {name: tensor for name, tensor in plain.items() if name.startswith((TOWER, PROJECTOR))}
    if any(name.startswith("backbone.") for name in plain):
        plain = {name: tensor for name, tensor in plain.items() if name.startswith("backbone.")}
    return {name.removeprefix("backbone."): tensor for name, tensor in plain.items()}


def has_positions(model: Backbone) -> bool:
    return isinstance(model, Transformer) and model.position_grid > 0
