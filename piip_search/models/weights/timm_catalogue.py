"""Writes the facts of timm's models, for pricing and checks without timm.

python -m piip_search.models.weights.timm_catalogue
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from piip_search.architecture import backbones
from piip_search.models._torchvision import import_torchvision

import_torchvision()
import timm  # noqa: E402
from timm.layers import GluMlp, Mlp, PatchEmbed, RmsNorm, SwiGLU  # noqa: E402
from timm.models.beit import Beit  # noqa: E402
from timm.models.convnext import ConvNeXt  # noqa: E402
from timm.models.deit import VisionTransformerDistilled  # noqa: E402
from timm.models.vision_transformer import (  # noqa: E402
    Attention,
    Block,
    ParallelScalingBlock,
    ParallelThingsBlock,
    ResPostBlock,
    VisionTransformer,
)

ModelFacts = dict[str, Any]

FAMILIES = ("vision_transformer", "deit", "beit", "convnext")
"""Modules of timm with models that can be a branch."""
STRANGERS = {
    "eva": "is of timm's class Eva (EVA, EVA-02, DINOv3), most of whose models have rotary positions",
    "vision_transformer_hybrid": "takes its patches from a convolutional network",
    "vision_transformer_relpos": "is of timm's class VisionTransformerRelPos, whose relative positions are not BEiT's",
    "vision_transformer_sam": "is of timm's class VisionTransformerSAM, whose windows are part of the model",
}
"""Modules of timm with ViTs that cannot be a branch, and the reasons."""
_BLOCKS: dict[type[nn.Module], backbones.BlockKind] = {
    Block: "plain",
    ResPostBlock: "post",
    ParallelScalingBlock: "parallel",
    ParallelThingsBlock: "twin",
}


def facts_of(name: str) -> ModelFacts | str:
    """Facts of a timm model without default values, or the reason why it cannot be a branch."""
    with torch.device("meta"):
        model = timm.create_model(name, pretrained=False)
    if isinstance(model, ConvNeXt):
        return _convnext(model)
    return _beit(model) if isinstance(model, Beit) else _transformer(model)


def catalogue() -> tuple[dict[str, ModelFacts], dict[str, list[str]]]:
    """Facts of the families' models in the installed timm, by name; and names of other models, by reason."""
    found = {name: facts_of(name) for module in FAMILIES for name in timm.list_models(module=module)}
    refused: dict[str, list[str]] = {why: timm.list_models(module=module) for module, why in STRANGERS.items()}
    for name, reason in found.items():
        if isinstance(reason, str):
            refused.setdefault(reason, []).append(name)
    return {name: facts for name, facts in sorted(found.items()) if not isinstance(facts, str)}, refused


def _transformer(model: Any) -> ModelFacts | str:
    if not isinstance(model, VisionTransformer) or type(model.patch_embed) is not PatchEmbed:
        return f"is of timm's class {type(model).__name__}"
    block = model.blocks[0]
    kind = _BLOCKS.get(type(block))
    if kind is None or type(getattr(block, "attn", None)) not in (Attention, type(None)):
        return "has differential attention, the difference of two softmaxes"
    width = model.embed_dim
    embedded = 0 if model.no_embed_class else model.num_prefix_tokens
    stored = 0 if model.pos_embed is None else model.pos_embed.shape[1] - embedded
    return _without_defaults(
        {
            "width": width,
            "depth": len(model.blocks),
            "patch": model.patch_embed.patch_size[0],
            "position_grid": round(stored**0.5),
            "block": kind,
            "patch_bias": model.patch_embed.proj.bias is not None,
            "patch_norm": not isinstance(model.patch_embed.norm, nn.Identity),
            "prefix": model.num_prefix_tokens,
            "prefix_positions": embedded > 0,
            "embedding_norm": not isinstance(model.norm_pre, nn.Identity),
            **(_side_by_side(block) if kind == "parallel" else _in_a_row(block)),
            **_read_out(model),
        }
    )


def _in_a_row(block: Any) -> ModelFacts:
    """Facts of blocks with separate attentions and MLPs in sequence."""
    twin = isinstance(block, ParallelThingsBlock)
    first, second = (block.attns[0], block.ffns[0]) if twin else (block, block)
    norm, scale = (first.norm, first.ls) if twin else (block.norm1, getattr(block, "ls1", nn.Identity()))
    attention, mlp = first.attn, second.mlp
    width, hidden = attention.qkv.in_features, mlp.fc2.in_features
    inner = {type(getattr(part, "norm", nn.Identity())) for part in (attention, mlp)}
    plain = type(attention) is Attention and type(mlp) in (Mlp, GluMlp, SwiGLU) and attention.proj.in_features == width
    if not plain or len(inner) > 1 or getattr(attention, "gate", None) is not None:
        raise TypeError(f"no facts describe an attention {attention} with an MLP {mlp}")
    return {
        "heads": attention.num_heads,
        "hidden": 0 if hidden == 4 * width else hidden,
        "gated": not isinstance(mlp, Mlp),
        "norm": "rms" if isinstance(norm, RmsNorm) else "layer",
        "eps": norm.eps,
        "inner_norms": inner != {nn.Identity},
        "layer_scale": None if isinstance(scale, nn.Identity) else 1.0,
        "qkv_bias": attention.qkv.bias is not None,
        "proj_bias": attention.proj.bias is not None,
        "mlp_bias": mlp.fc2.bias is not None,
        "query_norm": "none" if isinstance(attention.q_norm, nn.Identity) else "head",
    }


def _side_by_side(block: Any) -> ModelFacts:
    """Facts of blocks whose attention and MLP share their norm and first projection."""
    width, hidden = block.in_proj.in_features, block.mlp_out_proj.in_features
    return {
        "heads": block.num_heads,
        "hidden": 0 if hidden == 4 * width else hidden,
        "norm": "rms" if isinstance(block.in_norm, RmsNorm) else "layer",
        "eps": block.in_norm.eps,
        "layer_scale": None if isinstance(block.ls, nn.Identity) else 1.0,
        "qkv_bias": block.in_proj.bias is not None,
        "proj_bias": block.attn_out_proj.bias is not None,
        "mlp_bias": block.mlp_out_proj.bias is not None,
        "query_norm": "none" if isinstance(block.q_norm, nn.Identity) else "head",
    }


def _beit(model: Any) -> ModelFacts | str:
    block = model.blocks[0]
    if model.pos_embed is not None or model.rel_pos_bias is not None or type(block.mlp) is not Mlp:
        return "is a BEiT with absolute positions, shared biases or gated MLPs"
    return _without_defaults(
        {
            "width": model.embed_dim,
            "depth": len(model.blocks),
            "heads": block.attn.num_heads,
            "patch": model.patch_embed.patch_size[0],
            "position_grid": 0,
            "relative_grid": block.attn.window_size[0],
            "layer_scale": None if block.gamma_1 is None else 1.0,
            "qkv_bias": block.attn.q_bias is not None,
            **_read_out(model),
        }
    )


def _read_out(model: Any) -> ModelFacts:
    """Facts of the class scores' source."""
    last, after = (not isinstance(norm, nn.Identity) for norm in (model.norm, model.fc_norm))
    pool = model.global_pool
    if isinstance(model, VisionTransformerDistilled):
        pool = "pair"
    elif pool == "avg" and last:
        pool = "normed_avg"
    if pool == "token" and after:
        raise TypeError("no facts describe a class token that is normed twice")
    return {"final_norm": last or after, "pool": pool}


def _without_defaults(facts: ModelFacts) -> ModelFacts:
    """Facts without default values."""
    plain = {field.name: field.default for field in backbones.Transformer.__dataclass_fields__.values()}
    return {"family": "vit", **{key: value for key, value in facts.items() if value != plain[key]}}


def _convnext(model: Any) -> ModelFacts | str:
    block = model.stages[0].blocks[0]
    if len(model.stem) != 2:
        return "is a ConvNeXt with a stem of several convolutions"
    if not isinstance(model.stem[1], nn.LayerNorm) or not isinstance(block.norm, nn.LayerNorm):
        return "is a ConvNeXt with norms that have no bias"
    before, after = model.norm_pre, getattr(model.head, "norm", nn.Identity())
    facts: ModelFacts = {
        "family": "convnext",
        "widths": [int(item["num_chs"]) for item in model.feature_info],
        "depths": [len(stage.blocks) for stage in model.stages],
    }
    given = {
        "response_norm": block.gamma is None,
        "eps": (before if isinstance(after, nn.Identity) else after).eps,
        "pool": "avg" if isinstance(before, nn.Identity) else "normed_avg",
    }
    plain = {field.name: field.default for field in backbones.ConvNeXt.__dataclass_fields__.values()}
    return {**facts, **{key: value for key, value in given.items() if value != plain[key]}}


def main() -> None:
    path = Path(backbones.__file__).parent / "timm_models.json"
    models, refused = catalogue()
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(facts)}" for name, facts in models.items())
    others = ",\n".join(f"  {json.dumps(reason)}: {json.dumps(sorted(names))}" for reason, names in refused.items())
    path.write_text(
        f'{{"timm": "{timm.__version__}", "models": {{\n{lines}\n}}, "refused": {{\n{others}\n}}}}\n', encoding="utf-8"
    )
    print(f"wrote {path}: {len(models)} models of timm {timm.__version__}")


if __name__ == "__main__":
    main()
