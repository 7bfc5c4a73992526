"""PIIP as mmdet and mmengine see it."""

import math
import warnings
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mmdet")
pytestmark = pytest.mark.filterwarnings("ignore")

from torch._dynamo.utils import counters  # noqa: E402

from piip_search.architecture import Architecture  # noqa: E402
from piip_search.models import PIIP, PIIPClassifier, PIIPPyramid  # noqa: E402
from piip_search.models.authors.checkpoint import to_official  # noqa: E402
from piip_search.models.weights.pretrained import load_pretrained  # noqa: E402

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what mmengine does while it is imported
    from piip_workers.mmlab.layer_decay import LayerDecay
    from piip_workers.networks.layer_rates import rate_scales
    from piip_workers.tasks.detection.backbone import PIIPBackbone
    from piip_workers.tasks.detection.starting_weights import from_pretrained

NAME = "vit_micro@32:g+vit_pico@64:w2*2"


def test_branches_start_from_a_folder_of_weights(tmp_path: Path) -> None:
    import timm

    model = timm.create_model("deit_tiny_patch16_224")
    torch.save(model.state_dict(), tmp_path / "deit_tiny_patch16_224.fb_in1k.pth")
    backbone = PIIPBackbone("vit_t@32:g", pretrained=str(tmp_path))
    backbone.init_weights()
    found = backbone.network.piip.branches[0].blocks[11].mlp.fc2.weight
    assert torch.equal(found, model.blocks[11].mlp.fc2.weight)


def test_branches_start_from_the_miniature_weights() -> None:
    torch.manual_seed(0)
    backbone, same = PIIPBackbone(NAME, pretrained="miniature"), PIIPBackbone(NAME)
    backbone.init_weights()
    load_pretrained(same.network.piip, "miniature")
    ours, theirs = (one.network.piip.branches.state_dict().values() for one in (backbone, same))
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_an_export_starts_from_the_miniature_weights() -> None:
    weights = from_pretrained(Architecture.parse(NAME), "miniature")
    assert weights.start.kind == "pretrained"
    assert "tensors of miniature" in weights.start.text
    assert all(name.startswith("backbone.network.piip.branches.") for name in weights.tensors)


@pytest.mark.parametrize("strides", [(4, 8, 16, 32), (8, 16, 32)])
def test_a_whole_backbone_starts_from_the_authors_checkpoint(strides: tuple[int, ...], tmp_path: Path) -> None:
    source = PIIPBackbone(NAME, strides=strides).eval()
    state = to_official(source.network.state_dict(), Architecture.parse(NAME), strides)
    torch.save({"state_dict": {f"backbone.{key}": value for key, value in state.items()}}, tmp_path / "piip.pth")
    backbone = PIIPBackbone(NAME, strides=strides, pretrained=str(tmp_path / "piip.pth")).eval()
    backbone.init_weights()
    image = torch.randn(1, 3, 64, 64)
    assert all(torch.equal(one, other) for one, other in zip(source(image), backbone(image), strict=True))


def test_bfloat16_runs_inside_and_leaves_as_float32() -> None:
    torch.manual_seed(0)
    exact, half = PIIPBackbone(NAME).eval(), PIIPBackbone(NAME, bfloat16=True).eval()
    half.load_state_dict(exact.state_dict())
    image = torch.randn(1, 3, 64, 64)
    for one, other in zip(exact(image), half(image), strict=True):
        assert other.dtype == torch.float32
        assert not torch.equal(one, other)
        torch.testing.assert_close(one, other, rtol=0.1, atol=0.1)


def test_a_checkpoint_that_is_not_there_is_said() -> None:
    with pytest.raises(ValueError, match=r"no file nowhere/piip\.pth .*; name an existing checkpoint"):
        PIIPBackbone(NAME, pretrained="nowhere/piip.pth").init_weights()


@pytest.mark.parametrize("bfloat16", [False, True])
def test_an_autocast_around_it_reaches_the_blocks(bfloat16: bool) -> None:
    """Torch's own, and mmengine's, which its `AmpOptimWrapper` enters (and lets nobody build without a GPU)."""
    from mmengine.runner.amp import autocast

    backbone = PIIPBackbone(NAME, bfloat16=bfloat16)
    seen: list[torch.dtype] = []
    block = backbone.network.piip.branches[0].blocks[0]
    block.mlp.fc1.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    image = torch.randn(1, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        backbone(image)
    with autocast(device_type="cpu", dtype=torch.bfloat16):
        maps = backbone(image)
    sum(map_.square().mean() for map_ in maps).backward()
    backbone(image)
    assert seen == [torch.bfloat16, torch.bfloat16, torch.bfloat16 if bfloat16 else torch.float32]
    assert all(map_.dtype == torch.float32 for map_ in maps)


def test_the_rate_falls_from_block_to_block_as_in_the_public_recipe() -> None:
    # SBL: 24, 12 and 12 blocks, so ids of the smaller branches count twice (skip_stride 2, 2); rate 0.85.
    scales = rate_scales(Architecture.parse("vit_l@448:w28+vit_b@672:w28+vit_s@1120:w28*12"), 0.85)
    assert scales["branches.0.patch_embed"] == pytest.approx(0.85**25)
    assert scales["branches.0.blocks.0."] == pytest.approx(0.85**24)
    assert scales["branches.0.blocks.23."] == pytest.approx(0.85)
    assert scales["branches.1.blocks.0."] == pytest.approx(0.85**23)
    assert scales["branches.2.blocks.11."] == pytest.approx(0.85)
    assert scales["branches.2.pos_embed"] == pytest.approx(0.85**25)
    # However deep a ConvNeXt before it is, a ViT of 12 blocks decays by one power a block.
    hybrid = rate_scales(Architecture.parse("convnext_b@448+vit_s@672:w14+convnext_t@1024*12"), 0.8)
    assert hybrid["branches.1.blocks.0."] == pytest.approx(0.8**12)
    assert {name.split(".")[1] for name in hybrid} == {"1"}


def test_every_parameter_is_in_one_group() -> None:
    model = torch.nn.ModuleDict({"backbone": PIIPBackbone(NAME), "head": torch.nn.Linear(3, 2)})
    wrapper = {"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": 0.1, "weight_decay": 0.05}}
    optimizer = LayerDecay(wrapper, {"architecture": NAME, "rate": 0.5})(model).optimizer
    groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    assert set(groups) == {id(parameter) for parameter in model.parameters()}

    def group(name: str) -> Any:
        return groups[id(model.get_parameter(name))]

    inside = "backbone.network.piip."
    assert math.isclose(group(inside + "branches.0.blocks.3.attn.qkv.weight")["lr"], 0.1 * 0.5)
    assert math.isclose(group(inside + "branches.1.blocks.0.attn.qkv.weight")["lr"], 0.1 * 0.5**4)
    assert group(inside + "branches.0.pos_embed")["weight_decay"] == 0
    assert group(inside + "branches.0.blocks.3.norm1.weight")["weight_decay"] == 0
    assert group(inside + "interactions.0.0.large_reads.projection.weight")["lr"] == 0.1
    assert group("head.weight")["weight_decay"] == 0.05
    assert group("head.bias")["weight_decay"] == 0


def scales_of(model: torch.nn.Module, name: str) -> dict[str, float]:
    """Factor on the rate of every parameter, by its name in the network that has the branches."""
    wrapper = {"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": 1.0}}
    optimizer = LayerDecay(wrapper, {"architecture": name, "rate": 0.5})(model).optimizer
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    network = next(module for module in model.modules() if isinstance(module, PIIP))
    return {key: rates[id(parameter)] for key, parameter in network.named_parameters()}


def test_the_rate_falls_whatever_holds_the_network() -> None:
    name = "vit_nano@48:g+vit_pico@64:g*2/linear"
    architecture = Architecture.parse(name)
    bare = scales_of(PIIP(architecture), name)
    assert bare["branches.0.pos_embed"] == 0.5**5
    assert bare["branches.0.blocks.3.norm1.weight"] == 0.5
    assert bare["interactions.0.0.large_reads.projection.weight"] == 1
    holders = {
        "classifier": PIIPClassifier(architecture),
        "pyramid": PIIPPyramid(architecture),
        "backbone": PIIPBackbone(name),
        "detector": torch.nn.ModuleDict({"backbone": PIIPBackbone(name), "head": torch.nn.Linear(3, 2)}),
        "wrapper": torch.nn.DataParallel(PIIPClassifier(architecture)),
        "attribute": torch.nn.ModuleDict({"tower": PIIP(architecture)}),
    }
    assert {kind: scales_of(model, name) == bare for kind, model in holders.items()} == dict.fromkeys(holders, True)
    images = name.replace("48", "96").replace("64", "128")
    assert scales_of(PIIP(architecture), images) == bare, "the rates do not depend on the images' sizes"


def test_a_decay_that_would_be_silently_off_is_an_error() -> None:
    with pytest.raises(ValueError, match="found no PIIP network in Linear; use it with a PIIP backbone"):
        scales_of(torch.nn.Linear(3, 2), NAME)
    with pytest.raises(ValueError, match=r"given paramwise_cfg\['architecture'\] vit_micro@64:g, and the network is"):
        scales_of(PIIP(Architecture.parse(NAME)), "vit_micro@64:g")


def test_steps_are_replayed_or_run_again() -> None:
    with pytest.raises(ValueError, match="leave out cuda_graphs or checkpointing"):
        PIIPBackbone(NAME, checkpointing=True, cuda_graphs=True)


def test_training_steps_are_compiled() -> None:
    torch.compiler.reset()
    counters.clear()
    backbone = PIIPBackbone(NAME, compiled="eager")
    usual = PIIPBackbone(NAME)
    usual.load_state_dict(backbone.state_dict())
    image = torch.randn(1, 3, 64, 64)
    maps = [network(image) for network in (backbone, usual)]
    for one, other in zip(*maps, strict=True):
        torch.testing.assert_close(one, other)
    assert counters["stats"]["unique_graphs"] == 2 + 2 + 3  # a kind of blocks a branch, two that read, a merge's three


@pytest.mark.parametrize("given", [{}, {"rate": 0.5}, {"architecture": NAME}])
def test_what_layer_decay_misses_is_said(given: dict[str, Any]) -> None:
    wrapper = {"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": 0.1}}
    with pytest.raises(ValueError, match=r"PIIPLayerDecay needs paramwise_cfg with (architecture|rate)"):
        LayerDecay(wrapper, given)
