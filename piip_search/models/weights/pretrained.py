"""Loads pre-trained weights of single branches from timm's hub, a file, a folder of files, or this package.

A file is one of timm's hub (`model.safetensors`) or of the model's authors; timm's own conversions apply. Files are
read as tensors only: nothing in them is executed.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from piip_search.architecture import Branch
from piip_search.architecture.backbones import (
    Backbone,
    ConvNeXt,
    Transformer,
    backbone_named,
    has_weights,
    weight_file,
    weights_hint,
)
from piip_search.architecture.miniatures import MINIATURE, miniature_file, without_miniature
from piip_search.errors import WeightsError
from piip_search.models._torchvision import import_torchvision
from piip_search.models.convnext import ConvNeXtBranch
from piip_search.models.merge import LogitMerge
from piip_search.models.piip import PIIP
from piip_search.models.vit import VisionTransformer

import_torchvision()
import timm  # noqa: E402
from timm.layers import resample_patch_embed  # noqa: E402
from timm.models import beit, convnext, vision_transformer  # noqa: E402

_State = Mapping[str, Tensor]
Resampling = Literal["inverse", "bicubic"]
HUB = "hub"
SPARED = ("head", "norm.", "fc_norm.", "attn_pool.", "clip_projector.", "mask_token", "decoder", "lm_head.")
"""Prefixes of names without a place in a branch: parts for class scores, and for pre-training only."""
_SCALE = re.compile(r"\.gamma_([12])$")
"""Layer scales of BEiT, which other models name `ls1.gamma`."""


@dataclass(frozen=True)
class LoadReport:
    """The weights that a branch loaded.

    Attributes:
        branch: Name of the branch.
        source: Source of the weights.
        tensors: Number of loaded tensors.
        resampled: Names of resized tensors.
        fresh: Parameters of the branch, and of its norm and head for class scores, that the source lacks in their shape
            and that stay unchanged.
    """

    branch: str
    source: str
    tensors: int
    resampled: tuple[str, ...]
    fresh: tuple[str, ...]

    def __str__(self) -> str:
        resampled = f", resampled {', '.join(self.resampled)}" if self.resampled else ""
        head = ", its head among them" if "head.weight" in self.fresh else ""
        fresh = f", {len(self.fresh)} stay fresh{head}" if self.fresh else ""
        return f"{self.branch}: {self.tensors} tensors of {self.source}{resampled}{fresh}"


def load_pretrained(
    network: PIIP, source: str | Path | Sequence[str | Path], patches: Resampling = "inverse"
) -> list[LoadReport]:
    """Loads the weights of every branch's backbone in place; interactions and merges stay unchanged.

    For class scores, the norm and head of each branch's model are loaded, as the authors fine-tune them. A head of
    other classes stays unchanged, and `LoadReport.fresh` names it.

    Args:
        network: Network to load into.
        source: `hub`; or `miniature` for the small weights of this package; or a folder with a file for each backbone,
            named like the timm model; or a sequence of these or of files, one for each branch.
        patches: Method to resize a patch embedding. `inverse` keeps the embedding of a picture that is resized with the
            patches (FlexiViT, arXiv 2212.08013). `bicubic` resizes the kernels like pictures, as the authors' code
            does, which changes embeddings more (docs/log.md).

    Raises:
        WeightsError: A backbone has no pre-trained weights, a download is refused, or a file is missing or does not
            fit; the message says which file to place where.
    """
    branches = network.architecture.branches
    sources = [source] * len(branches) if isinstance(source, str | Path) else list(source)
    if len(sources) != len(branches):
        raise WeightsError(
            f"weights are given for all branches at once or for each: {len(branches)}, got {len(sources)}"
        )
    whole = [_tensors(branch.model, given) for branch, given in zip(branches, sources, strict=True)]
    taken = []
    for index, (branch, tensors, given) in enumerate(zip(branches, whole, sources, strict=True)):
        module = network.branches[index]
        state, resampled = branch_state(tensors, module, patches)
        own = module.state_dict()
        wrong = [name for name, tensor in state.items() if name not in own or own[name].shape != tensor.shape]
        if wrong:
            raise WeightsError(f"weights of {branch.model.name} do not fit {branch}: {wrong[0]}; leave them out")
        module.load_state_dict(state, strict=False)
        fresh = sorted(set(own) - set(state))
        for merge in network.merges:
            if isinstance(merge, LogitMerge):
                fresh += _read_out(tensors, merge, index)
        taken.append(LoadReport(str(branch), str(given), len(state), tuple(resampled), tuple(fresh)))
    return taken


def _tensors(backbone: Backbone, source: str | Path) -> _State:
    """All tensors of a backbone's pre-trained model, under timm's names."""
    name = backbone.timm_name
    if source == MINIATURE:
        miniature = miniature_file(backbone.name)
        if miniature is None:
            raise WeightsError(without_miniature([backbone.name]))
        return _from_file(backbone, miniature)
    if source == HUB and name:
        return _from_hub(backbone)
    path = None if source == HUB else weight_file(backbone, Path(source))
    if path is not None:
        return _from_timm_file(backbone, path) if name else _from_file(backbone, path)
    if not has_weights(backbone):
        raise WeightsError(
            f"{backbone.name} has no pre-trained weights; choose a published backbone, or train from scratch"
        )
    if source == HUB:
        raise WeightsError(
            f"{backbone.name} is on no hub of timm's; {weights_hint(backbone, Path('weights'))}, "
            "and name that folder instead of hub"
        )
    raise WeightsError(f"no weights of {backbone.name} in {source}: {weights_hint(backbone, Path(source))}")


def _from_timm_file(backbone: Backbone, path: Path) -> _State:
    """Tensors from a file of timm's hub or of the model's authors, by timm's own conversion."""
    name = backbone.timm_name
    with torch.device("meta"):
        model = timm.create_model(name.partition(".")[0], pretrained=False)
    convert = convnext.checkpoint_filter_fn if isinstance(backbone, ConvNeXt) else _convert_vit
    if isinstance(backbone, Transformer) and backbone.relative_grid:
        convert = beit.checkpoint_filter_fn
    try:
        state: dict[str, Tensor] = convert(read_tensors(path), model)
    except (RuntimeError, KeyError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path} is no checkpoint of {name}: {error}") from None
    _check(backbone, path, state, model.state_dict())
    return state


def _from_file(backbone: Backbone, path: Path) -> _State:
    """Tensors from a file of a model that timm lacks.

    ViTs have the names of our blocks (InternVL's files, miniatures), ConvNeXts those of timm's class.
    """
    state = read_tensors(path)
    with torch.device("meta"):
        if isinstance(backbone, ConvNeXt):
            own = convnext.ConvNeXt(depths=backbone.depths, dims=backbone.widths, num_classes=0).state_dict()
        else:
            patch = backbone_named(backbone.name).patch
            own = VisionTransformer(Branch(backbone.name, patch)).state_dict()
    resampled = ("pos_embed", "patch_embed.proj.weight", "cls_token")
    _check(backbone, path, state, {**own, **{name: state[name] for name in resampled if name in state}})
    return state


def _check(backbone: Backbone, path: Path, state: _State, own: _State) -> None:
    """Refuses a file of another model, by names and shapes of all tensors of a branch."""
    needed = {name for name in own if not name.startswith(SPARED)}
    found = {name for name in state if not name.startswith(SPARED)}
    wrong = sorted(name for name in needed & found if state[name].shape != own[name].shape)
    problems = (
        ("are missing", sorted(needed - found)),
        ("have another shape", wrong),
        ("have no place in it", sorted(found - needed)),
    )
    faults = [f"{len(names)} tensors {what}, the first is {names[0]}" for what, names in problems if names]
    if faults:
        hint = weights_hint(backbone, path.parent) if has_weights(backbone) else f"give a file of {backbone.name}"
        raise WeightsError(f"{path} is no checkpoint of {backbone.name}: {'; '.join(faults)}; {hint}")


def _from_hub(backbone: Backbone) -> _State:
    try:
        model = timm.create_model(backbone.timm_name, pretrained=True)
    except Exception as error:  # each library in a download has errors of its own
        reason = " ".join(str(error).split())[:160]
        raise WeightsError(
            f"weights of {backbone.timm_name} cannot be downloaded ({type(error).__name__}: {reason}); "
            f"{weights_hint(backbone, Path('weights'))}, and name that folder instead of hub"
        ) from None
    state: dict[str, Tensor] = model.state_dict()
    return state


def read_tensors(path: Path) -> dict[str, Any]:
    """Tensors by name, from safetensors or from a checkpoint, or from its `model` or `state_dict` if it has one.

    Raises:
        WeightsError: The file cannot be read as tensors only.
    """
    content = _read(path)
    for key in ("model", "state_dict", "module"):
        content = content[key] if isinstance(content.get(key), Mapping) else content
    return dict(content)


def _read(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except Exception as error:  # its errors derive directly from Exception
            raise WeightsError(f"{path} cannot be read: {error}") from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling a broken file can raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path} cannot be read as tensors alone: {reason}; convert it to safetensors") from None
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} has no tensors by name but a {type(content).__name__}")
    return content


def _convert_vit(state: Mapping[str, Any], model: Any) -> dict[str, Tensor]:
    converted: dict[str, Tensor] = vision_transformer.checkpoint_filter_fn(dict(state), model, adapt_layer_scale=True)
    return converted


def branch_state(tensors: _State, module: nn.Module, patches: Resampling = "inverse") -> tuple[_State, list[str]]:
    """The state of a branch from the tensors of a timm model, and the names of resampled tensors.

    Args:
        tensors: Tensors by timm's names; all except those for class scores must have a place.
        module: Module of the branch.
        patches: As in `load_pretrained`.

    Raises:
        WeightsError: A tensor has no place in the branch.
    """
    rest = {name: tensor for name, tensor in tensors.items() if not name.startswith(SPARED)}
    state, resampled = _convnext(rest) if isinstance(module, ConvNeXtBranch) else _vit(rest, module, patches)
    if rest:
        raise WeightsError(f"{len(rest)} tensors have no place in the branch, the first is {min(rest)}")
    return state, resampled


def _vit(rest: dict[str, Tensor], module: Any, patches: Resampling) -> tuple[_State, list[str]]:
    """The state of a ViT branch; its tensors are removed from the rest."""
    state = {name: rest.pop(name) for name in list(rest) if name.startswith(("blocks.", "norm_pre.", "patch_embed."))}
    state = {_SCALE.sub(r".ls\1.gamma", name): tensor for name, tensor in state.items()}
    resampled = []
    kernel, side = state["patch_embed.proj.weight"], module.patch_embed.proj.weight.shape[-1]
    if kernel.shape[-1] != side:
        state["patch_embed.proj.weight"] = _resized_patches(kernel, side, patches)
        resampled.append("patch_embed")
    tokens = [rest.pop(name) for name in ("cls_token", "dist_token", "reg_token") if name in rest]
    prefix_1KC = torch.cat(tokens, 1) if tokens else None
    if "pos_embed" in rest:
        stored = rest.pop("pos_embed")
        first, positions = _split_positions(stored, 0 if prefix_1KC is None else prefix_1KC.shape[1])
        state["pos_embed"] = _positions(positions, module.position_grid)
        if state["pos_embed"].shape != positions.shape:
            resampled.append("pos_embed")
        if module.prefix_positions is not None:
            state["prefix_positions"] = first
        elif prefix_1KC is not None and first.shape[1]:
            prefix_1KC = torch.cat([prefix_1KC[:, : first.shape[1]] + first, prefix_1KC[:, first.shape[1] :]], 1)
    if module.prefix is not None and prefix_1KC is not None:
        state["prefix"] = prefix_1KC
    return state, resampled


def _split_positions(stored_1NC: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """Positions of prefix tokens, if all, the first or none of them have any, and positions of a square grid."""
    for count in (0, tokens, 1):
        if math.isqrt(stored_1NC.shape[1] - count) ** 2 == stored_1NC.shape[1] - count:
            return stored_1NC[:, :count], stored_1NC[:, count:]
    raise WeightsError(
        f"pos_embed holds {stored_1NC.shape[1]} positions, which are no square grid with {tokens} tokens"
    )


def _resized_patches(kernel_OIHW: Tensor, side: int, patches: Resampling) -> Tensor:
    if patches == "inverse":
        resized: Tensor = resample_patch_embed(kernel_OIHW, [side, side])
        return resized
    return F.interpolate(kernel_OIHW.float(), (side, side), mode="bicubic", align_corners=False).to(kernel_OIHW.dtype)


def _positions(stored_1NC: Tensor, side: int) -> Tensor:
    before = round(stored_1NC.shape[1] ** 0.5)
    if before == side:
        return stored_1NC
    grid_1CHW = stored_1NC.reshape(1, before, before, -1).permute(0, 3, 1, 2)
    resized_1CHW = F.interpolate(grid_1CHW, (side, side), mode="bicubic", align_corners=False)
    return resized_1CHW.flatten(2).transpose(1, 2)


def _convnext(rest: dict[str, Tensor]) -> tuple[_State, list[str]]:
    """The state of a ConvNeXt branch: stages in sequence, with a downsampling as a block."""
    for name in ("norm_pre.weight", "norm_pre.bias"):  # ConvNeXts have these before their pooling
        rest.pop(name, None)
    state = {name: rest.pop(name) for name in list(rest) if name.startswith("stem.")}
    inside = sorted(
        {
            (int(n[0]), n[1] == "blocks", int(n[2]) if n[1] == "blocks" else 0)
            for n in (name.split(".")[1:] for name in rest if name.startswith("stages."))
        }
    )
    for row, (stage, is_block, place) in enumerate(inside):
        prefix = f"stages.{stage}.blocks.{place}." if is_block else f"stages.{stage}.downsample."
        for name in [name for name in rest if name.startswith(prefix)]:
            state[f"blocks.{row}.{name.removeprefix(prefix)}"] = rest.pop(name)
    return state, []


def _read_out(tensors: _State, merge: LogitMerge, index: int) -> list[str]:
    """Loads norm and head for class scores if they fit; returns the names of unchanged tensors."""
    norm, head = merge.norms[index], merge.heads[index]
    # A head with a hidden layer is not linear, and two heads are not one.
    plain = not any(name.startswith(("head.pre_logits", "head_dist")) for name in tensors)
    norms = ("head.norm", "norm_pre") if "stem.0.weight" in tensors else ("norm", "fc_norm")
    fresh = []
    for module, title, places in (
        (norm, "norm", norms),
        (head, "head", ("head.fc", "head") if plain else ()),
    ):
        own = module.state_dict()
        found = ({name: tensors[f"{place}.{name}"] for name in own if f"{place}.{name}" in tensors} for place in places)
        fitting = next((one for one in found if {k: v.shape for k, v in one.items()} == _shapes(own)), None)
        if fitting is not None:
            module.load_state_dict(fitting)
        else:
            fresh += [f"{title}.{name}" for name in own]
    return fresh


def _shapes(state: _State) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}
