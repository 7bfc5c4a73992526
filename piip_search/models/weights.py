"""Pre-trained weights of single branches, from timm: from its hub, from a file, or from a folder of files.

A file is what timm's hub holds (`model.safetensors`) or what the model's authors published; timm's own conversions
apply. Files are read as tensors alone: nothing in them is executed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from piip_search.backbones import Backbone, ConvNeXt, Transformer, weight_file
from piip_search.models._torchvision import import_torchvision
from piip_search.models.convnext import ConvNeXtBranch
from piip_search.models.merge import LogitMerge
from piip_search.models.piip import PIIP
from piip_search.models.vit import VisionTransformer

import_torchvision()
import timm  # noqa: E402
from timm.layers import resample_patch_embed  # noqa: E402
from timm.models import beit, convnext, vision_transformer  # noqa: E402

HUB = "hub"
_SCALE = re.compile(r"\.gamma_([12])$")
"""Layer scales of BEiT, which other models name `ls1.gamma`."""


class WeightsError(ValueError):
    """Weights that cannot be had, or that do not fit."""


@dataclass(frozen=True)
class Taken:
    """What a branch took.

    Attributes:
        branch: The branch.
        source: Where it came from.
        tensors: How many tensors were taken.
        resampled: Those that were brought to another size.
        fresh: Parameters of the branch that the source does not have, and that stay as they were.
    """

    branch: str
    source: str
    tensors: int
    resampled: tuple[str, ...]
    fresh: tuple[str, ...]

    def __str__(self) -> str:
        resampled = f", resampled {', '.join(self.resampled)}" if self.resampled else ""
        fresh = f", {len(self.fresh)} stay fresh" if self.fresh else ""
        return f"{self.branch}: {self.tensors} tensors of {self.source}{resampled}{fresh}"


def load_pretrained(network: PIIP, source: str | Path | Sequence[str | Path]) -> list[Taken]:
    """Gives every branch the weights of its backbone, in place. Interactions and merges stay as they are.

    Class scores take over the norm and head of each branch's model, as the authors fine-tune them.

    Args:
        network: What takes them.
        source: `hub`; or a folder that holds a file for each backbone, named like the timm model; or one of these, or a
            file, for each branch.

    Raises:
        WeightsError: A backbone has no pre-trained weights, a download is refused, a file is missing or does not fit;
            the message says which file to place where.
    """
    branches = network.architecture.branches
    sources = [source] * len(branches) if isinstance(source, str | Path) else list(source)
    if len(sources) != len(branches):
        raise WeightsError(
            f"weights are given for all branches at once or for each: {len(branches)}, got {len(sources)}"
        )
    whole = [_timm_model(branch.model, given) for branch, given in zip(branches, sources, strict=True)]
    taken = []
    for index, (branch, model, given) in enumerate(zip(branches, whole, sources, strict=True)):
        module = network.branches[index]
        state, resampled = _convnext(model) if isinstance(module, ConvNeXtBranch) else _vit(model, module)
        own = module.state_dict()
        wrong = [name for name, tensor in state.items() if name not in own or own[name].shape != tensor.shape]
        if wrong:
            raise WeightsError(f"weights of {branch.model.timm_name} do not fit {branch}: {wrong[0]}; leave them out")
        module.load_state_dict(state, strict=False)
        for merge in network.merges:
            if isinstance(merge, LogitMerge):
                _head(model, merge, index)
        fresh = tuple(sorted(set(own) - set(state)))
        taken.append(Taken(str(branch), str(given), len(state), tuple(resampled), fresh))
    return taken


def _timm_model(backbone: Backbone, source: str | Path) -> Any:
    """The timm model of a backbone with its weights."""
    name = backbone.timm_name
    if not name:
        raise WeightsError(
            f"{backbone.name} has no pre-trained weights; choose a published backbone, or train from scratch"
        )
    if source == HUB:
        return _from_hub(name)
    path = weight_file(backbone, Path(source))
    if path is None:
        raise WeightsError(f"no weights of {backbone.name} in {source}: {_where(name, Path(source))}")
    model = timm.create_model(name.partition(".")[0], pretrained=False)
    convert = convnext.checkpoint_filter_fn if isinstance(backbone, ConvNeXt) else _convert_vit
    if isinstance(backbone, Transformer) and backbone.relative_grid:
        convert = beit.checkpoint_filter_fn
    try:
        state = convert(_read(path), model)
    except (RuntimeError, KeyError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path} is no checkpoint of {name}: {error}") from None
    own = model.state_dict()
    missing = [key for key in own if key not in state and not key.startswith(("head", "norm.", "fc_norm"))]
    wrong = [key for key in state if key in own and state[key].shape != own[key].shape and not key.startswith("head")]
    if missing or wrong:
        first = (missing or wrong)[0]
        raise WeightsError(
            f"{path} is no checkpoint of {name}: {len(missing)} tensors are missing, {len(wrong)} have another shape, "
            f"the first is {first}; {_where(name, path.parent)}"
        )
    model.load_state_dict({key: value for key, value in state.items() if key in own and value.shape == own[key].shape},
                          strict=False)  # fmt: skip
    return model


def _from_hub(name: str) -> Any:
    try:
        return timm.create_model(name, pretrained=True)
    except Exception as error:  # every library on the way to the hub has refusals of its own
        reason = " ".join(str(error).split())[:160]
        raise WeightsError(
            f"weights of {name} cannot be downloaded ({type(error).__name__}: {reason}); "
            f"{_where(name, Path('weights'))}, and name that folder instead of hub"
        ) from None


def _where(name: str, folder: Path) -> str:
    return f"place https://huggingface.co/timm/{name}/resolve/main/model.safetensors as {folder / name}.safetensors"


def read_tensors(path: Path) -> dict[str, Any]:
    """Tensors by name, from safetensors or from a checkpoint, of which `model` or `state_dict` is taken if it has one.

    Raises:
        WeightsError: The file cannot be read as tensors alone.
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
        except Exception as error:  # its errors derive from Exception alone
            raise WeightsError(f"{path} cannot be read: {error}") from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling fails in as many ways as files are broken
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path} cannot be read as tensors alone: {reason}; convert it to safetensors") from None
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds no tensors by name but a {type(content).__name__}")
    return content


def _convert_vit(state: Mapping[str, Any], model: Any) -> dict[str, Tensor]:
    converted: dict[str, Tensor] = vision_transformer.checkpoint_filter_fn(dict(state), model, adapt_layer_scale=True)
    return converted


def _vit(model: Any, module: nn.Module) -> tuple[dict[str, Tensor], list[str]]:
    """The state of our branch from timm's ViT, and what was resampled."""
    if not isinstance(module, VisionTransformer):
        raise TypeError(f"{type(module).__name__} is no branch")
    source, resampled = model.state_dict(), []
    state = {name: tensor for name, tensor in source.items() if name.startswith(("blocks.", "norm_pre."))}
    state = {_SCALE.sub(r".ls\1.gamma", name): tensor for name, tensor in state.items()}
    patch, side = source["patch_embed.proj.weight"], module.patch_embed.proj.weight.shape[-1]
    if patch.shape[-1] != side:
        patch = resample_patch_embed(patch, [side, side])
        resampled.append("patch_embed")
    state["patch_embed.proj.weight"] = patch
    if "patch_embed.proj.bias" in source:
        state["patch_embed.proj.bias"] = source["patch_embed.proj.bias"]
    tokens = [source[name] for name in ("cls_token", "reg_token") if name in source]
    if module.position_grid and "pos_embed" in source:
        embedded = 0 if model.no_embed_class else sum(token.shape[1] for token in tokens)
        positions, first = source["pos_embed"][:, embedded:], source["pos_embed"][:, :embedded]
        state["pos_embed"] = _positions(positions, module.position_grid)
        if state["pos_embed"].shape != positions.shape:
            resampled.append("pos_embed")
        if module.prefix_positions is not None:
            state["prefix_positions"] = first
    if module.prefix is not None and tokens:
        state["prefix"] = torch.cat(tokens, 1)
    return state, resampled


def _positions(stored_1NC: Tensor, side: int) -> Tensor:
    before = round(stored_1NC.shape[1] ** 0.5)
    if before == side:
        return stored_1NC
    grid_1CHW = stored_1NC.reshape(1, before, before, -1).permute(0, 3, 1, 2)
    resized_1CHW = F.interpolate(grid_1CHW, (side, side), mode="bicubic", align_corners=False)
    return resized_1CHW.flatten(2).transpose(1, 2)


def _convnext(model: Any) -> tuple[dict[str, Tensor], list[str]]:
    """The state of our branch from timm's ConvNeXt: stages in one row, a downsampling counting as a block."""
    state = {f"stem.{name}": tensor for name, tensor in model.stem.state_dict().items()}
    blocks = [
        block
        for index, stage in enumerate(model.stages)
        for block in ([stage.downsample] if index else []) + list(stage.blocks)
    ]
    for index, block in enumerate(blocks):
        state |= {f"blocks.{index}.{name}": tensor for name, tensor in block.state_dict().items()}
    return state, []


def _head(model: Any, merge: LogitMerge, index: int) -> None:
    """The norm and head before class scores, where the model has them for as many classes."""
    head = model.get_classifier()
    norm = model.head.norm if hasattr(model.head, "norm") else next(
        (part for part in (model.norm, model.fc_norm) if isinstance(part, nn.LayerNorm)), None
    )  # fmt: skip
    if isinstance(head, nn.Linear) and norm is not None and head.weight.shape == merge.heads[index].weight.shape:
        merge.norms[index].load_state_dict(norm.state_dict())
        merge.heads[index].load_state_dict(head.state_dict())
