"""Writes the facts of timm's models, so that they can be priced and checked where timm is not installed.

python -m piip_search.models.catalogue
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from piip_search import backbones
from piip_search.models._torchvision import import_torchvision

import_torchvision()
import timm  # noqa: E402
from timm.layers import GluMlp, Mlp, RmsNorm, SwiGLU  # noqa: E402
from timm.models.beit import Beit  # noqa: E402
from timm.models.convnext import ConvNeXt  # noqa: E402
from timm.models.vision_transformer import Attention, Block, VisionTransformer  # noqa: E402

Facts = dict[str, Any]


def facts_of(name: str) -> Facts | None:
    """Facts of a timm model, without those that are the default; None where it is of neither family."""
    with torch.device("meta"):
        model = timm.create_model(name, pretrained=False)
    if isinstance(model, ConvNeXt):
        return _convnext(model)
    if isinstance(model, Beit):
        return _beit(model)
    return _transformer(model) if isinstance(model, VisionTransformer) else None


def catalogue() -> dict[str, Facts]:
    """Facts of every model of the two families in the installed timm, by name."""
    names = [name for module in ("vision_transformer", "deit", "beit") for name in timm.list_models(module=module)]
    found = {name: facts_of(name) for name in [*names, *timm.list_models(module="convnext")]}
    return {name: facts for name, facts in sorted(found.items()) if facts is not None}


def _transformer(model: Any) -> Facts | None:
    """None for blocks that PIIP cannot take apart into attention and MLP: parallel and differential ones."""
    block = model.blocks[0]
    if type(block) is not Block or type(block.attn) is not Attention or type(block.mlp) not in (Mlp, GluMlp, SwiGLU):
        return None
    if not isinstance(model.norm_pre, nn.Identity | nn.LayerNorm) or isinstance(block.norm1, nn.Identity):
        return None
    if any(not isinstance(getattr(part, "norm", nn.Identity()), nn.Identity) for part in (block.attn, block.mlp)):
        return None
    width, attention, mlp = model.embed_dim, block.attn, block.mlp
    hidden = mlp.fc2.in_features
    prefix = 0 if model.no_embed_class else model.num_prefix_tokens
    stored = 0 if model.pos_embed is None else model.pos_embed.shape[1] - prefix
    scaled = isinstance(block.ls1, nn.Identity)
    facts: Facts = {
        "width": width,
        "depth": len(model.blocks),
        "heads": attention.num_heads,
        "hidden": 0 if hidden == 4 * width else hidden,
        "patch": model.patch_embed.patch_size[0],
        "position_grid": round(stored**0.5),
        "gated": not isinstance(mlp, Mlp),
        "norm": "rms" if isinstance(block.norm1, RmsNorm) else "layer",
        "layer_scale": None if scaled else 1.0,
        "qkv_bias": attention.qkv.bias is not None,
        "proj_bias": attention.proj.bias is not None,
        "mlp_bias": mlp.fc2.bias is not None,
        "patch_bias": model.patch_embed.proj.bias is not None,
        "query_norm": "none" if isinstance(attention.q_norm, nn.Identity) else "head",
        "prefix": model.num_prefix_tokens,
        "prefix_positions": prefix > 0,
        "embedding_norm": isinstance(model.norm_pre, nn.LayerNorm),
    }
    return _told(facts)


def _beit(model: Any) -> Facts | None:
    """None for absolute positions and for biases that all blocks share."""
    block = model.blocks[0]
    if model.pos_embed is not None or model.rel_pos_bias is not None or type(block.mlp) is not Mlp:
        return None
    facts: Facts = {
        "width": model.embed_dim,
        "depth": len(model.blocks),
        "heads": block.attn.num_heads,
        "patch": model.patch_embed.patch_size[0],
        "position_grid": 0,
        "relative_grid": block.attn.window_size[0],
        "layer_scale": None if block.gamma_1 is None else 1.0,
        "qkv_bias": block.attn.q_bias is not None,
    }
    return _told(facts)


def _told(facts: Facts) -> Facts:
    """Facts without those that are the default."""
    plain = {field.name: field.default for field in backbones.Transformer.__dataclass_fields__.values()}
    return {"family": "vit", **{key: value for key, value in facts.items() if value != plain[key]}}


def _convnext(model: Any) -> Facts | None:
    """None for stems of several convolutions and for norms without a bias, which are not ConvNeXt's own."""
    block = model.stages[0].blocks[0]
    if len(model.stem) != 2 or not isinstance(model.stem[1], nn.LayerNorm) or not isinstance(block.norm, nn.LayerNorm):
        return None
    gamma = block.gamma is not None
    facts: Facts = {
        "family": "convnext",
        "widths": [int(item["num_chs"]) for item in model.feature_info],
        "depths": [len(stage.blocks) for stage in model.stages],
    }
    return facts if gamma else {**facts, "response_norm": True}


def main() -> None:
    path = Path(backbones.__file__).parent / "timm_models.json"
    models = catalogue()
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(facts)}" for name, facts in models.items())
    path.write_text(f'{{"timm": "{timm.__version__}", "models": {{\n{lines}\n}}}}\n', encoding="utf-8")
    print(f"wrote {path}: {len(models)} models of timm {timm.__version__}")


if __name__ == "__main__":
    main()
