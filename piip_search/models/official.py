"""Checkpoints of the authors' repository (OpenGVLab/PIIP), read into a network and written from one.

Their names count branches from 1 and pairs as 12, 23, 34; what one of their modules holds apart is one tensor here (the
weights of the branches' sum), or the reverse (keys and values of regular attention).
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from piip_search.architecture import Architecture
from piip_search.backbones import ConvNeXt, Transformer
from piip_search.stretches import PYRAMID_LEVELS

State = Mapping[str, Tensor]

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


def to_official(state: State, architecture: Architecture) -> dict[str, Tensor]:
    """The state of a `PIIPPyramid` under the authors' names.

    Args:
        state: Tensors by our names.
        architecture: What the network was built from: two to four branches merged by `conv` or `pyramid`.

    Raises:
        ValueError: The authors have no such network.
    """
    _check(architecture)
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        found |= _written(name, tensor, architecture)
    return found


def from_official(state: State, architecture: Architecture) -> dict[str, Tensor]:
    """The state of a `PIIPPyramid` from one under the authors' names, or of a whole detector's, `backbone.` first.

    Position embeddings lose their class token's entry, as the authors' forward pass drops it.

    Args:
        state: Tensors by the authors' names.
        architecture: What the network is built from.

    Raises:
        ValueError: A tensor is missing, or the authors have no such network; the message names what is missing.
    """
    from piip_search.models.piip import PIIPPyramid

    _check(architecture)
    plain = {name.removeprefix("module.").removeprefix("backbone."): tensor for name, tensor in state.items()}
    with torch.device("meta"):
        wanted = PIIPPyramid(architecture).state_dict()
    found: dict[str, Tensor] = {}
    missing: list[str] = []
    for name, like in wanted.items():
        sources = list(_written(name, like, architecture))
        absent = [source for source in sources if source not in plain]
        missing += absent
        if not absent:
            found[name] = _read([plain[source] for source in sources], like)
    if missing:
        raise ValueError(
            f"not a checkpoint of {architecture}: {len(missing)} tensors are missing, the first is {missing[0]}; "
            "name the architecture it was trained with"
        )
    return found


def _check(architecture: Architecture) -> None:
    if not len(architecture.branches) >= 2 or architecture.merge not in ("conv", "pyramid"):
        raise ValueError(
            f"the authors' detection classes have two to four branches merged by conv or pyramid, got {architecture}"
        )
    if architecture.output != len(architecture.branches) - 1:
        raise ValueError(f"the authors' networks merge on the last branch's grid, got {architecture}")
    if architecture.interaction.direction != "both":
        raise ValueError(f"the authors' interactions go both ways, got {architecture.interaction}")


def _written(name: str, tensor: Tensor, architecture: Architecture) -> dict[str, Tensor]:
    """One tensor of ours under the authors' name, or several."""
    parts = name.split(".")
    if parts[0] == "pyramid":
        return {_pyramid(parts): tensor}
    kind, rest = parts[1], parts[2:]
    if kind == "branches":
        return {_branch(int(rest[0]), rest[1:], architecture): tensor}
    if kind == "interactions":
        return _interaction(rest, tensor, architecture)
    return _merge(int(rest[0]), rest[1:], tensor, architecture)


def _read(tensors: list[Tensor], like: Tensor) -> Tensor:
    """One tensor of ours from the authors' one or several."""
    if len(tensors) > 1:
        return torch.stack(tensors) if tensors[0].dim() == 0 else torch.cat(tensors)
    (tensor,) = tensors
    if tensor.dim() == 3 and like.dim() == 3 and tensor.shape[1] == like.shape[1] + 1:
        return tensor[:, 1:]
    return tensor.reshape(like.shape)


def _pyramid(parts: list[str]) -> str:
    level, inside = int(parts[2]), parts[3:]
    return ".".join([f"fpn{level + 1}", *(inside if level == 0 else ["0", *inside])])


def _branch(index: int, parts: list[str], architecture: Architecture) -> str:
    model = architecture.branches[index].model
    prefix = f"branch{index + 1}"
    if isinstance(model, ConvNeXt):
        return ".".join([prefix, "convnext_model", *_convnext(parts, model)])
    inside = ".".join(parts)
    if isinstance(model, Transformer) and not model.intern_class:  # the class that takes DeiT's weights
        inside = re.sub(r"\.ls([12])\.gamma$", r".gamma_\1", inside)
    return f"{prefix}.{inside}"


def _convnext(parts: list[str], model: ConvNeXt) -> list[str]:
    """Names of the transformers library: stages hold a downsampling and layers."""
    if parts[0] == "stem":
        inner = {"0": "patch_embeddings", "1": "layernorm"}[parts[1]]
        return ["embeddings", inner, *parts[2:]]
    block, stage = int(parts[1]), 0
    while block >= model.stages[stage].blocks:
        block -= model.stages[stage].blocks
        stage += 1
    if stage and block == 0:
        return ["encoder", "stages", str(stage), "downsampling_layer", *parts[2:]]
    inside = ".".join(parts[2:])
    for ours, theirs in _CONVNEXT.items():
        if inside == ours or inside.startswith(ours + "."):
            inside = theirs + inside[len(ours) :]
            break
    return ["encoder", "stages", str(stage), "layers", str(block - (stage > 0)), inside]


def _interaction(parts: list[str], tensor: Tensor, architecture: Architecture) -> dict[str, Tensor]:
    step, pair, reader, inside = parts[0], int(parts[1]), parts[2], ".".join(parts[3:])
    prefix = f"interactions.{step}.interaction_units_{pair + 1}{pair + 2}.{_INJECTORS[reader]}"
    if inside.startswith("projection."):
        return {f"{prefix}_proj.{inside.removeprefix('projection.')}": tensor}
    if inside == "attn.key_value_proj.weight":
        key, value = tensor.chunk(2)
        return {f"{prefix}_injector.attn.wk.weight": key, f"{prefix}_injector.attn.wv.weight": value}
    inside = _INSIDE.get(inside, inside)
    if architecture.interaction.attention == "regular":
        inside = inside.replace("attn.output_proj", "attn.proj")
    return {f"{prefix}_injector.{inside}": tensor}


def _merge(level: int, parts: list[str], tensor: Tensor, architecture: Architecture) -> dict[str, Tensor]:
    """The last merge is named apart from those before it, which are named by their interaction."""
    last = architecture.merge == "conv" or level == PYRAMID_LEVELS - 1
    before = "" if last else f"intermediate_merging_{architecture.taps[level]}_"
    if parts[0] == "branch_weights":
        return {f"{before}w{index + 1}": weight for index, weight in enumerate(tensor.unbind())}
    branch = f"branch{int(parts[1]) + 1}"
    return {".".join([f"{before}{branch}" if before else f"merge_{branch}", *parts[2:]]): tensor}
