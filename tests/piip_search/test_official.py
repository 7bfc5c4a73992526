"""Checkpoints under the names of the authors' repository (OpenGVLab/PIIP @ 7a8eceb)."""

import re

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")

from piip_search.architecture import Architecture  # noqa: E402
from piip_search.models import PIIPPyramid  # noqa: E402
from piip_search.models.official import from_official, to_official  # noqa: E402

# Names as the modules of that repository have them.
NAMES = {
    "vit_micro@32:w2+vit_pico@64:w2*2": {
        "branch1.patch_embed.proj.weight", "branch1.pos_embed", "branch2.blocks.3.attn.qkv.weight",
        "branch2.blocks.3.gamma_1", "branch1.blocks.0.mlp.fc2.bias",
        "interactions.1.interaction_units_12.branch2to1_proj.weight",
        "interactions.1.interaction_units_12.branch1to2_injector.ca_gamma",
        "interactions.1.interaction_units_12.branch1to2_injector.cffn_gamma",
        "interactions.0.interaction_units_12.branch2to1_injector.attn.sampling_offsets.bias",
        "interactions.0.interaction_units_12.branch2to1_injector.ffn.dwconv.dwconv.weight", "merge_branch1.0.weight",
        "merge_branch2.4.bias", "w1", "w2", "fpn1.0.weight", "fpn1.1.weight", "fpn1.3.bias", "fpn2.0.weight",
    },
    "vit_micro@32:g+vit_nano@48:g+vit_pico@64:g*2(attention=regular,projection=no,norm=no)": {
        "interactions.0.interaction_units_23.branch2to1_injector.attn.wq.weight",
        "interactions.0.interaction_units_23.branch2to1_injector.attn.wk.weight",
        "interactions.0.interaction_units_23.branch2to1_injector.attn.wv.weight",
        "interactions.0.interaction_units_23.branch2to1_injector.attn.proj.bias", "w3",
    },
    "vit_micro@32:g+vit_nano@48:g+vit_pico@64:g+vit_pico@96:g*1": {
        "interactions.0.interaction_units_34.branch1to2_proj.bias", "merge_branch4.3.weight", "w4",
    },
    "vit_w128_d6_h4@64:g+vit_nano@64:g+convnext_pico@128*4": {
        "branch3.convnext_model.embeddings.patch_embeddings.weight", "branch3.convnext_model.embeddings.layernorm.bias",
        "branch3.convnext_model.encoder.stages.2.downsampling_layer.1.weight",
        "branch3.convnext_model.encoder.stages.2.layers.1.pwconv1.weight",
        "branch3.convnext_model.encoder.stages.2.layers.1.layer_scale_parameter",
        "intermediate_merging_0_branch1.0.weight", "intermediate_merging_1_branch2.0.weight",
        "intermediate_merging_2_w3",
        "merge_branch1.0.weight", "merge_branch2.0.weight", "w1",
    },
    "vit_h@32:g+vit_pico@64:g*4": {"branch1.blocks.31.ls1.gamma"},
}  # fmt: skip


def network(name: str, seed: int) -> PIIPPyramid:
    torch.manual_seed(seed)
    return PIIPPyramid(Architecture.parse(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_network_goes_there_and_back(name: str) -> None:
    architecture = Architecture.parse(name)
    state = network(name, 0).state_dict()
    written = to_official(state, architecture)
    assert NAMES[name] <= set(written)
    elements = (sum(tensor.numel() for tensor in tensors.values()) for tensors in (state, written))
    assert len(set(elements)) == 1
    read = from_official({f"backbone.{key}": tensor for key, tensor in written.items()}, architecture)
    assert set(read) == set(state)
    assert all(torch.equal(read[key], state[key]) for key in state)


def test_what_is_read_runs_alike() -> None:
    name = "vit_micro@32:w2+vit_pico@64:w2*2"
    one, other = network(name, 0).eval(), network(name, 1).eval()
    image = torch.randn(1, 3, 64, 64)
    other.load_state_dict(
        from_official(to_official(one.state_dict(), Architecture.parse(name)), Architecture.parse(name))
    )
    assert all(torch.equal(a, b) for a, b in zip(one(image), other(image), strict=True))


def test_the_class_tokens_position_is_dropped() -> None:
    name = "vit_micro@32:w2+vit_pico@64:w2*2"
    architecture = Architecture.parse(name)
    state = network(name, 0).state_dict()
    written = to_official(state, architecture)
    written["branch1.pos_embed"] = torch.cat([torch.zeros(1, 1, 128), written["branch1.pos_embed"]], 1)
    key = "piip.branches.0.pos_embed"
    assert torch.equal(from_official(written, architecture)[key], state[key])


def test_another_architecture_is_said() -> None:
    written = to_official(network("vit_micro@32:w2+vit_pico@64:w2*2", 0).state_dict(),
                          Architecture.parse("vit_micro@32:w2+vit_pico@64:w2*2"))  # fmt: skip
    with pytest.raises(ValueError, match=re.escape("tensors are missing, the first is interactions.2")):
        from_official(written, Architecture.parse("vit_micro@32:w2+vit_pico@64:w2*3"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_pico@64:g", "two to four branches"),
        ("vit_micro@32:g+vit_pico@64:g*1/linear", "merged by conv or pyramid"),
        ("vit_micro@64:g+vit_pico@32:g*1", "merge on the last branch's grid"),
        ("vit_micro@32:g+vit_pico@64:g*1(direction=to_large)", "interactions go both ways"),
    ],
)
def test_what_the_authors_do_not_have_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_official({}, Architecture.parse(name))
