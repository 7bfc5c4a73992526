"""Checkpoints under the names of the authors' repository (OpenGVLab/PIIP @ 7a8eceb)."""

import re
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")

from torch.utils._pytree import tree_leaves  # noqa: E402

from piip_search.architecture import Architecture  # noqa: E402
from piip_search.models import PIIP, PIIPClassifier, PIIPPyramid  # noqa: E402
from piip_search.models.authors.checkpoint import from_official, to_official  # noqa: E402

# Names as the modules of that repository have them.
NAMES = {
    "vit_micro@32:w2+vit_pico@64:w2*2": {
        "branch1.patch_embed.proj.weight",
        "branch1.pos_embed",
        "branch2.blocks.3.attn.qkv.weight",
        "branch2.blocks.3.gamma_1",
        "branch1.blocks.0.mlp.fc2.bias",
        "interactions.1.interaction_units_12.branch2to1_proj.weight",
        "interactions.1.interaction_units_12.branch1to2_injector.ca_gamma",
        "interactions.1.interaction_units_12.branch1to2_injector.cffn_gamma",
        "interactions.0.interaction_units_12.branch2to1_injector.attn.sampling_offsets.bias",
        "interactions.0.interaction_units_12.branch2to1_injector.ffn.dwconv.dwconv.weight",
        "merge_branch1.0.weight",
        "merge_branch2.4.bias",
        "w1",
        "w2",
        "fpn1.0.weight",
        "fpn1.1.weight",
        "fpn1.3.bias",
        "fpn2.0.weight",
    },
    "vit_micro@32:g+vit_nano@48:g+vit_pico@64:g*2(attention=regular,projection=no,norm=no)": {
        "interactions.0.interaction_units_23.branch2to1_injector.attn.wq.weight",
        "interactions.0.interaction_units_23.branch2to1_injector.attn.wk.weight",
        "interactions.0.interaction_units_23.branch2to1_injector.attn.wv.weight",
        "interactions.0.interaction_units_23.branch2to1_injector.attn.proj.bias",
        "w3",
    },
    "vit_micro@32:g+vit_nano@48:g+vit_pico@64:g+vit_pico@96:g*1": {
        "interactions.0.interaction_units_34.branch1to2_proj.bias",
        "merge_branch4.3.weight",
        "w4",
    },
    "vit_w128_d6_h4@64:g+vit_nano@64:g+convnext_pico@128*4": {
        "branch3.convnext_model.embeddings.patch_embeddings.weight",
        "branch3.convnext_model.embeddings.layernorm.bias",
        "branch3.convnext_model.encoder.stages.2.downsampling_layer.1.weight",
        "branch3.convnext_model.encoder.stages.2.layers.1.pwconv1.weight",
        "branch3.convnext_model.encoder.stages.2.layers.1.layer_scale_parameter",
        "intermediate_merging_0_branch1.0.weight",
        "intermediate_merging_1_branch2.0.weight",
        "intermediate_merging_2_w3",
        "merge_branch1.0.weight",
        "merge_branch2.0.weight",
        "w1",
    },
    "deit_tiny_patch16_224@32:g+vit_w192_d6_h3@64:g*4": {"branch1.blocks.11.attn.proj.bias"},
    "vit_micro@32:g+vit_nano@48:g+vit_pico@64:g*2/linear": {
        "merge_branch1.weight",
        "merge_branch2.0.weight",
        "merge_branch2.2.weight",
        "merge_branch3.4.bias",
        "w3",
        "cls_norm.weight",
        "cls_head.bias",
    },
    "vit_tiny_patch16_224@32:g+vit_pico@64:g*2/logits": {
        "branch1.cls_token",
        "branch1.norm.weight",
        "branch1.head.weight",
        "branch2.cls_token",
        "branch2.head.bias",
        "branch2.blocks.0.gamma_2",
    },
    "vit_xsmall_patch16_clip_224@64:g+convnext_pico@128*4/tokens": {
        "model.vision_tower.vision_tower.branch1.clip_model.embeddings.class_embedding",
        "model.vision_tower.vision_tower.branch1.clip_model.embeddings.patch_embedding.weight",
        "model.vision_tower.vision_tower.branch1.clip_model.embeddings.position_embedding.weight",
        "model.vision_tower.vision_tower.branch1.clip_model.pre_layrnorm.bias",
        "model.vision_tower.vision_tower.branch1.clip_model.encoder.layers.9.self_attn.k_proj.weight",
        "model.vision_tower.vision_tower.branch1.clip_model.encoder.layers.9.self_attn.out_proj.bias",
        "model.vision_tower.vision_tower.branch1.clip_model.encoder.layers.0.layer_norm2.weight",
        "model.vision_tower.vision_tower.branch1.clip_model.encoder.layers.0.mlp.fc1.weight",
        "model.vision_tower.vision_tower.branch2.convnext_model.stem.0.weight",
        "model.vision_tower.vision_tower.branch2.convnext_model.stages.2.downsample.1.weight",
        "model.vision_tower.vision_tower.branch2.convnext_model.stages.2.blocks.1.weight",
        "model.vision_tower.vision_tower.branch2.convnext_model.stages.0.blocks.0.conv_dw.bias",
        "model.vision_tower.vision_tower.interactions.3.interaction_units_12.branch1to2_injector.ca_weight",
        "model.vision_tower.vision_tower.interactions.0.interaction_units_12.branch2to1_injector.cffn_weight",
        "model.mm_projector.branch1.1.weight",
        "model.mm_projector.branch2.3.bias",
        "model.mm_projector.branch2.6.bias",
    },
}
TINY = "vit_micro@32:w2+vit_pico@64:w2*2"


def network(name: str, seed: int, **settings: Any) -> Any:
    """The network that the authors' code base has for the merge."""
    torch.manual_seed(seed)
    architecture = Architecture.parse(name)
    if architecture.merge in ("logits", "tokens"):
        return PIIP(architecture, outputs=64, **settings).eval()
    return (PIIPClassifier if architecture.merge == "linear" else PIIPPyramid)(architecture, **settings).eval()


@pytest.mark.parametrize("name", NAMES)
def test_a_network_goes_there_and_back(name: str) -> None:
    architecture = Architecture.parse(name)
    one = network(name, 0)
    state = one.state_dict()
    written = to_official(state, architecture)
    assert NAMES[name] <= set(written)
    first = "" if architecture.merge == "tokens" else "backbone."
    read = from_official({f"module.{first}{key}": tensor for key, tensor in written.items()}, architecture)
    assert set(read) == set(state)
    other = network(name, 1)
    other.load_state_dict(read)
    image = torch.randn(1, 3, architecture.resolution, architecture.resolution)
    with torch.no_grad():
        for a, b in zip(tree_leaves(one(image)), tree_leaves(other(image)), strict=True):
            assert torch.equal(a, b)
    # A position of a class token is added to it where theirs has none.
    changed = [key for key in state if not torch.equal(read[key], state[key])]
    assert all(key.endswith(("prefix", "prefix_positions")) for key in changed)


def test_three_levels_have_no_first_one() -> None:
    architecture, strides = Architecture.parse(TINY), (8, 16, 32)
    state = network(TINY, 0, strides=strides).state_dict()
    written = to_official(state, architecture, strides)
    assert {key for key in written if key.startswith("fpn")} == {"fpn2.0.weight", "fpn2.0.bias"}
    # Their class of three branches builds the first level all the same.
    read = from_official({**written, "fpn1.0.weight": torch.zeros(1)}, architecture, strides)
    assert all(torch.equal(read[key], state[key]) for key in state)


def test_positions_stay_on_the_grid_they_were_stored_on() -> None:
    """As those of a detector of 384 px, or of a classifier that stores them for its own images."""
    architecture = Architecture.parse(TINY)
    one, other = network(TINY, 0), network(TINY, 1)
    written = to_official(one.state_dict(), architecture)
    written["branch1.pos_embed"] = torch.randn(1, 24 * 24, 128)
    other.load_state_dict(from_official(written, architecture))
    stored = written["branch1.pos_embed"].unflatten(1, (24, 24)).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(stored, (2, 2), mode="bicubic").permute(0, 2, 3, 1)
    assert torch.equal(other.piip.branches[0]._positions(2, 2), expected)
    assert other(torch.randn(1, 3, 64, 64))[0].isfinite().all()


def test_the_class_tokens_position_is_dropped() -> None:
    architecture = Architecture.parse(TINY)
    state = network(TINY, 0).state_dict()
    written = to_official(state, architecture)
    written["branch1.pos_embed"] = torch.cat([torch.zeros(1, 1, 128), written["branch1.pos_embed"]], 1)
    key = "piip.branches.0.pos_embed"
    assert torch.equal(from_official(written, architecture)[key], state[key])


def test_their_other_class_stores_a_class_tokens_position() -> None:
    """`InternViT6B`, which builds all but DeiT's branches."""
    name = "vit_tiny_patch16_224@32:g+vit_pico@64:g*2"
    written = to_official(network(name, 0).state_dict(), Architecture.parse(name))
    assert written["branch1.pos_embed"].shape == (1, 197, 192)
    assert written["branch2.pos_embed"].shape == (1, 196, 64)


def test_layer_scales_that_a_backbone_has_not_are_multiplied_in() -> None:
    """AugReg's and MAE's models have none; the authors add them, at one, and train them."""
    name = "vit_tiny_patch16_224@32:g+vit_w192_d12_h3@64:g*2"
    architecture = Architecture.parse(name)
    one = network(name, 0)
    written = to_official(one.state_dict(), architecture)
    for block in range(12):
        written |= {f"branch1.blocks.{block}.ls{which}.gamma": torch.full((192,), 0.5) for which in (1, 2)}
    read = from_official(written, architecture)
    inside = "piip.branches.0.blocks.11."
    for layer in ("attn.proj.weight", "attn.proj.bias", "mlp.fc2.weight", "mlp.fc2.bias"):
        assert torch.equal(read[inside + layer], one.state_dict()[inside + layer] / 2)
    assert torch.equal(read[inside + "mlp.fc1.weight"], one.state_dict()[inside + "mlp.fc1.weight"])


def broken(change: str) -> dict[str, Any]:
    written = to_official(network(TINY, 0).state_dict(), Architecture.parse(TINY))
    weight = "branch1.blocks.0.mlp.fc1.weight"
    changes = {
        "transposed": {weight: written[weight].T},
        "positions": {"branch1.pos_embed": torch.zeros(1, 30, 128)},
        "width": {"branch1.pos_embed": torch.zeros(1, 196, 64)},
        "more": {"branch1.cls_token": torch.zeros(1, 1, 128)},
    }
    return {**written, **changes[change]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("transposed", "branch1.blocks.0.mlp.fc1.weight has the shape (128, 512), not (512, 128)"),
        ("positions", "branch1.pos_embed has the shape (1, 30, 128), which is no square grid of width 128"),
        ("width", "branch1.pos_embed has the shape (1, 196, 64), which is no square grid of width 128"),
        ("more", "1 tensors have no place in it, the first is branch1.cls_token"),
    ],
)
def test_tensors_that_do_not_fit_are_named(change: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        from_official(broken(change), Architecture.parse(TINY))


@pytest.mark.parametrize(("theirs", "ours"), [(4, 2), (2, 4)])
def test_other_numbers_of_interactions_are_said(theirs: int, ours: int) -> None:
    name = "vit_micro@32:w2+vit_pico@64:w2*"
    written = to_official(network(f"{name}{theirs}", 0).state_dict(), Architecture.parse(f"{name}{theirs}"))
    what = "have no place in it" if theirs > ours else "are missing"
    with pytest.raises(ValueError, match=rf"tensors {what}, the first is interactions\.2"):
        from_official(written, Architecture.parse(f"{name}{ours}"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_pico@64:g", "two to four branches"),
        ("vit_micro@64:g+vit_pico@32:g*1", "merge on the last branch's grid"),
        ("vit_micro@32:g+vit_pico@64:g*1(direction=to_large)", "interactions go both ways"),
        ("vit_micro@32:g+vit_pico@64:g*1/residual", "no way around their merge"),
        ("beit_base_patch16_224@32:g+vit_pico@64:g*1", "BEiT branches hold tables for one window"),
        ("vit_small_patch14_reg4_dinov2@32:gp16+vit_pico@64:g*1", "one class token"),
        ("vit_xsmall_patch16_clip_224@32:g+vit_pico@64:g*1", "plain blocks, norms and MLPs"),
        ("vit_micro@32:g+convnext_pico@64*1/logits", "have ViTs alone"),
        ("vit_medium_patch16_gap_256@32:g+vit_pico@64:g*1/logits", "scores come from class tokens"),
        ("vit_micro@32:g+convnext_pico@64*1/tokens", "CLIP's ViTs and ConvNeXts alone"),
        ("vit_micro@32:g+vit_nano@48:g+vit_pico@64:g*1/tokens", "have two branches"),
    ],
)
def test_what_the_authors_do_not_have_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_official({}, Architecture.parse(name))
