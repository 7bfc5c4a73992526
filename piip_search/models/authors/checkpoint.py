"""Reads and writes checkpoints of the authors' repository (OpenGVLab/PIIP @ 7a8eceb).

The merge decides the network: `conv` and `pyramid` belong to detection and segmentation (a `PIIPPyramid`), `linear` and
`logits` to classification (a `PIIPClassifier`, a `PIIP`), `tokens` to PIIP-LLaVA's tower and projectors (a `PIIP`).
Branches of BEiT and Uni-Perceiver are not supported.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from piip_search.architecture import Architecture
from piip_search.architecture.backbones import ConvNeXt, Transformer
from piip_search.architecture.segments import STRIDES
from piip_search.cost import IMAGENET_CLASSES
from piip_search.errors import WeightsError
from piip_search.models.authors.names import (
    CLASS_TOKEN,
    POSITIONS,
    PROJECTOR,
    branch_of,
    branch_prefix,
    has_positions,
    inside_network,
    is_spare,
    names_of,
    scale_name,
)
from piip_search.models.heads import PIIPClassifier, PIIPPyramid
from piip_search.models.piip import PIIP

_State = Mapping[str, Tensor]
_APART = ("pos_embed", "prefix", "prefix_positions")
"""Class tokens and positions, which the authors store together or separately."""


def to_official(state: _State, architecture: Architecture, strides: Sequence[int] = STRIDES) -> dict[str, Tensor]:
    """The state of a network with the authors' names.

    Args:
        state: Tensors by our names.
        architecture: Architecture of the network.
        strides: Strides of a `PIIPPyramid`.

    Raises:
        WeightsError: The authors have no such network.
    """
    _check(architecture)
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.rpartition(".")[2] not in _APART:
            found |= names_of(name, tensor, architecture, strides)
    for index in range(len(architecture.branches)):
        found |= _written_positions(state, index, architecture)
    return found


def from_official(state: _State, architecture: Architecture, strides: Sequence[int] = STRIDES) -> dict[str, Tensor]:
    """The state of a network from one with the authors' names, or from a whole model around it.

    Positions stay on their stored grid, which the network accepts. If only the authors' backbone has layer scales, they
    are multiplied into the layers before them.

    Args:
        state: Tensors by the authors' names.
        architecture: Architecture of the network.
        strides: Strides of a `PIIPPyramid`; DINO's are 8, 16 and 32.

    Raises:
        WeightsError: A tensor is missing, unused or of another shape, or the authors have no such network; the message
            names it.
    """
    _check(architecture)
    rest = inside_network(state, architecture)
    with torch.device("meta"):
        wanted = _network(architecture, strides, rest).state_dict()
    found: dict[str, Tensor] = {}
    missing: list[str] = []
    for name, like in wanted.items():
        sources = list(names_of(name, like, architecture, strides)) if name.rpartition(".")[2] not in _APART else []
        absent = [source for source in sources if source not in rest]
        missing += absent
        if sources and not absent:
            found[name] = _read({source: rest.pop(source) for source in sources}, like)
    for index in range(len(architecture.branches)):
        missing += _read_positions(rest, index, architecture, wanted, found)
        _fold_scales(rest, index, architecture, found)
    left = sorted(name for name in rest if not is_spare(name, architecture, strides))
    problems = [
        f"{len(names)} tensors {what}, the first is {names[0]}"
        for what, names in (("are missing", missing), ("have no place in it", left))
        if names
    ]
    if problems:
        raise WeightsError(
            f"not a checkpoint of {architecture}: {'; '.join(problems)}; name the architecture it was trained with"
        )
    return found


def _network(architecture: Architecture, strides: Sequence[int], theirs: _State) -> nn.Module:
    """An empty network for the tensors, with their number of classes or channels."""
    ends = {"linear": "cls_head.weight", "logits": "branch1.head.weight", "tokens": f"{PROJECTOR}branch1.6.weight"}
    end = theirs.get(ends.get(architecture.merge, ""))
    outputs = None if end is None else len(end)
    if architecture.merge in ("logits", "tokens"):
        return PIIP(architecture, outputs=outputs)
    if architecture.merge == "linear":
        return PIIPClassifier(architecture, classes=outputs or IMAGENET_CLASSES)
    return PIIPPyramid(architecture, strides=strides)


def _read(tensors: _State, like: Tensor) -> Tensor:
    """One of our tensors from one or several of the authors'; their 1x1 convolution may be a matrix here."""
    parts = list(tensors.values())
    if len(parts) > 1:
        tensor = torch.stack(parts) if parts[0].dim() == 0 else torch.cat(parts)
    else:
        (tensor,) = parts
    if tensor.dim() == 2 and like.shape == (*tensor.shape, 1, 1):
        return tensor[..., None, None]
    if tensor.shape != like.shape:
        raise WeightsError(
            f"{next(iter(tensors))} has the shape {tuple(tensor.shape)}, not {tuple(like.shape)}; "
            "name the architecture it was trained with"
        )
    return tensor


def _own_prefix(state: _State, index: int) -> str:
    """Prefix of a branch's names in our networks."""
    inner = f"branches.{index}."
    return next((name.partition(inner)[0] + inner for name in state if inner in name), inner)


def _written_positions(state: _State, index: int, architecture: Architecture) -> dict[str, Tensor]:
    """Positions and class token of a branch; the class token includes its position if the authors have none."""
    model, merge = architecture.branches[index].model, architecture.merge
    own, theirs = _own_prefix(state, index), branch_prefix(index, merge)
    positions, prefix, first = (state.get(own + name) for name in _APART)
    kind = branch_of(model, merge)
    found: dict[str, Tensor] = {}
    if kind == "CLIP" and positions is not None and prefix is not None and first is not None:
        return {theirs + CLASS_TOKEN[kind]: prefix[0, 0], theirs + POSITIONS[kind]: torch.cat([first, positions], 1)[0]}
    if prefix is not None:
        found[theirs + "cls_token"] = prefix if first is None else prefix + first
    if positions is not None:  # their class InternViT6B stores one for a class token but ignores it
        unused = positions.new_zeros(1, kind == "InternViT6B", positions.shape[-1])
        found[theirs + "pos_embed"] = torch.cat([unused, positions], 1)
    return found


def _read_positions(
    rest: dict[str, Tensor], index: int, architecture: Architecture, wanted: _State, found: dict[str, Tensor]
) -> list[str]:
    """Moves positions and class token of a branch out of the rest; returns the names of missing ones."""
    model, merge = architecture.branches[index].model, architecture.merge
    own, theirs, kind = _own_prefix(wanted, index), branch_prefix(index, merge), branch_of(model, merge)
    at, token = (
        theirs + names.get(kind, name) for names, name in ((POSITIONS, "pos_embed"), (CLASS_TOKEN, "cls_token"))
    )
    missing = []
    if own + "prefix" in wanted:
        like = wanted[own + "prefix"]
        if token not in rest:
            missing.append(token)
        elif rest[token].numel() != like.numel():
            raise WeightsError(
                f"{token} has the shape {tuple(rest[token].shape)}, not that of one token of {like.shape[-1]}"
            )
        else:
            found[own + "prefix"] = rest.pop(token).reshape(like.shape)
    if has_positions(model):
        if at not in rest:
            return [*missing, at]
        first, found[own + "pos_embed"] = _square(at, rest.pop(at), wanted[own + "pos_embed"].shape[-1])
        if own + "prefix_positions" in wanted:  # their classification gives a class token none
            found[own + "prefix_positions"] = first if kind == "CLIP" else torch.zeros_like(found[own + "prefix"])
    return missing


def _square(name: str, stored: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The position of a class token, if any, and the positions of a square grid."""
    stored_1NC = stored if stored.dim() == 3 else stored[None]
    for count in (0, 1):
        positions = stored_1NC[:, count:]
        if stored_1NC.shape[::2] == (1, width) and math.isqrt(positions.shape[1]) ** 2 == positions.shape[1]:
            return stored_1NC[:, :count], positions
    raise WeightsError(f"{name} has the shape {tuple(stored.shape)}, which is no square grid of width {width}")


def _fold_scales(rest: dict[str, Tensor], index: int, architecture: Architecture, found: dict[str, Tensor]) -> None:
    """Multiplies layer scales that the backbone lacks into the layers before them."""
    model = architecture.branches[index].model
    if not isinstance(model, Transformer) or model.layer_scale is not None:
        return
    own = _own_prefix(found, index)
    for block in range(model.depth):
        for which, layer in ((1, "attn.proj"), (2, "mlp.fc2")):
            scale_C = rest.pop(scale_name(index, block, which, architecture), None)
            if scale_C is not None:
                weight, bias = (f"{own}blocks.{block}.{layer}.{end}" for end in ("weight", "bias"))
                found[weight], found[bias] = found[weight] * scale_C[:, None], found[bias] * scale_C


def _check(architecture: Architecture) -> None:
    """Raises an error if the authors have no such network."""
    branches, merge = architecture.branches, architecture.merge
    if merge == "residual":
        raise WeightsError(f"the authors' classes have no way around their merge, got {architecture}; use conv")
    if merge == "tokens" and len(branches) != 2:
        raise WeightsError(f"the authors' networks for language models have two branches, got {architecture}")
    if len(branches) < 2:
        raise WeightsError(f"the authors' classes have two to four branches, got {architecture}")
    if architecture.output != len(branches) - 1:
        raise WeightsError(f"the authors' networks merge on the last branch's grid, got {architecture}")
    if architecture.interaction.direction != "both":
        raise WeightsError(f"the authors' interactions go both ways, got {architecture.interaction}")
    for branch in branches:
        model = branch.model
        reason = None
        if isinstance(model, ConvNeXt):
            reason = "their classes for classification have ViTs alone" if merge in ("linear", "logits") else None
        elif model.relative_grid:
            reason = "checkpoints of their BEiT branches hold tables for one window, and are not read"
        elif merge == "tokens":
            is_clip = model.embedding_norm and model.prefix_positions and model.prefix == 1 and not model.patch_bias
            reason = None if is_clip else "their language models have CLIP's ViTs and ConvNeXts alone"
        elif not _is_plain(model):
            reason = "their ViTs have plain blocks, norms and MLPs, and one class token"
        elif merge == "logits" and model.pool != "token":
            reason = "their class scores come from class tokens"
        if reason is not None:
            raise WeightsError(f"the authors have no network with {branch}: {reason}")


def _is_plain(model: Transformer) -> bool:
    extras = (
        model.gated,
        model.inner_norms,
        model.patch_norm,
        model.embedding_norm,
        model.query_norm == "head",
        model.block != "plain",
        model.prefix > 1,
        not model.patch_bias,
    )
    return not any(extras) and (model.intern_class or (model.norm == "layer" and model.query_norm == "none"))
