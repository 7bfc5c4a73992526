import itertools
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from piip_search.architecture import ATTENTIONS, DIRECTIONS, Architecture, Branch, Interaction
from piip_search.architecture.backbones import BACKBONES, Transformer, backbone_named
from piip_search.architecture.segments import MERGES, interaction_ranges, interaction_stages, most_interactions
from piip_search.config import load_spec
from piip_search.config.shipped import find_space

TSB = "vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12"


NAMES = [*BACKBONES, "vit_w160_d6_h5", "deit3_base_patch16_224.fb_in22k_ft_in1k", "vit_large_patch14_dinov2"]


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    """Any architecture that can be built: parts are drawn freely, and what is refused is drawn again."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4))
    branches = []
    for name in sorted(names, key=lambda name: -backbone_named(name).width):
        model = backbone_named(name)
        patch = None if model.family == "convnext" or model.patch == 16 else draw(st.sampled_from([None, 16]))
        side = draw(st.integers(1, 40)) * (patch or model.patch)
        window = draw(st.one_of(st.none(), st.integers(1, 40))) if model.family == "vit" else None
        every = draw(st.sampled_from([0, 2, 3])) if window else 0
        branches.append(Branch(name, side, window, every, patch))
    count = draw(st.integers(0, 14)) if len(branches) > 1 else 0
    attention = draw(st.sampled_from(ATTENTIONS))
    points = draw(st.integers(1, 8)) if attention == "deformable" else 4
    settings = (
        draw(st.sampled_from([1, 2, 8, 16])),
        points,
        attention,
        draw(st.sampled_from(DIRECTIONS)),
        draw(st.booleans()),
        draw(st.booleans()),
    )
    merge = draw(st.sampled_from(MERGES))
    try:
        return Architecture(tuple(branches), Interaction(count, *settings) if count else Interaction(), merge)
    except ValueError:
        reject()


@given(architectures())
def test_three_faces_are_equal(architecture: Architecture) -> None:
    assert Architecture.parse(architecture.name) == architecture
    assert Architecture.from_dict(architecture.to_dict()) == architecture
    assert Architecture.parse(architecture.name).fingerprint == architecture.fingerprint


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(architectures(), architectures())
def test_fingerprints_differ_when_architectures_do(one: Architecture, other: Architecture) -> None:
    assert (one.fingerprint == other.fingerprint) == (one == other)


def test_the_fingerprint_is_stable_across_versions() -> None:
    assert Architecture.parse(TSB).fingerprint == "0ec2f4c95e35a507"


def test_short_form_reads_as_documented() -> None:
    architecture = Architecture.parse(TSB)
    assert [(b.backbone, b.resolution, b.window) for b in architecture.branches] == [
        ("vit_b", 672, 14),
        ("vit_s", 1120, 14),
        ("vit_t", 1568, 14),
    ]
    assert architecture.interaction.count == 12
    assert architecture.resolution == 1568
    assert architecture.name == TSB


def test_every_third_block_attends_globally() -> None:
    assert Branch("vit_t", 224, 14, 3).windows == (14, 14, None) * 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "write it like"),
        ("vit_b", "write it like"),
        ("vit_b@672", "write it like"),
        ("vit_b@672:w14++vit_t@32:g", "write it like"),
        ("vit_b@672:w14*x", "write it like"),
        ("vit_x@672:g", "unknown backbone 'vit_x'"),
        ("vit_b@100:g", "nearest: 96"),
        ("vit_b@0:g", "nearest: 16"),
        ("vit_b@672:w0", "at least 1 token"),
        ("vit_b@672:w14g1", "global_every"),
        ("vit_t@672:g+vit_b@1568:g*2", "widest model to the narrowest"),
        ("vit_b@672:g*3", "nothing to interact with"),
        ("vit_b@672:g+vit_t@1568:g*13", "at most 12 here, got 13"),
        ("vit_b@672:g+vit_t@1568:g*2(heads=7)", "heads must divide"),
        ("vit_b@672:g+vit_t@1568:g*2(color=7)", "not an interaction setting"),
        ("vit_b@672:g+vit_t@1568:g*2(attention=none)", "attention is one of"),
        ("vit_b@672:g+vit_t@1568:g*2(norm=maybe)", "projection and norm are yes or no"),
        ("vit_b@672:g+vit_t@1568:g*2(attention=regular,points=2)", "samples no points"),
        ("vit_b@672:g+vit_t@1568:g*0(heads=8)", "nothing to set"),
        ("vit_b@672:g+vit_t@1568:g*2/sum", "unknown merge 'sum'"),
        ("vit_b@672:w14+vit_t@1568:g*2/logits", "attend globally"),
        ("vit_b@672:g+vit_t@1568:g*3/pyramid", "use none, or 4 and more"),
        ("vit_w100_d4_h4@64:g+vit_w50_d4_h2@96:g", "nearest: 96"),
        ("convnext_b@672:g", "has no attention; write convnext_b@672"),
        ("convnext_b@1000", "nearest: 992"),
        ("convnext_b@672+vit_t@1568:g*4/conv", "use /pyramid, /logits or /tokens"),
        ("convnext_t@672+vit_t@1568:g*13", "at most 12 here, got 13"),
        ("vit_large_patch14_dinov2@448:g+vit_t@672:g", "resample one"),
        ("vit_b@448:gp16", "leave p out"),
        ("+".join(["vit_t@32:g"] * 5), "1 to 4 branches, got 5"),
    ],
)
def test_what_cannot_be_built_says_why(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Architecture.parse(text)


@pytest.mark.parametrize("name", [*BACKBONES, "convnext_atto"])
def test_ranges_tile_the_depth(name: str) -> None:
    model = backbone_named(name)
    for count in range(most_interactions(model) + 1):
        ranges = interaction_ranges(model, count)
        assert len(ranges) == max(1, count)
        assert [block for stretch in ranges for block in stretch] == list(range(model.depth))
        assert all(len(stretch) for stretch in ranges)


def test_uneven_ranges_are_the_authors() -> None:
    # ViT-H of 32 blocks over 12 interactions, as in PIIP's H6B configurations.
    assert [len(stretch) for stretch in interaction_ranges(backbone_named("vit_h"), 12)] == [2] * 4 + [3] * 8


@pytest.mark.parametrize(
    ("name", "last_blocks"),
    [
        ("convnext_s", [2, 6, 10, 13, 16, 19, 22, 25, 28, 31, 34, 38]),
        ("convnext_t", [2, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 20]),
    ],
)
def test_twelve_interactions_of_a_convnext_are_the_authors(name: str, last_blocks: list[int]) -> None:
    # Blocks after which PIIP's ConvNeXt configurations interact, a downsampling counting as a block.
    model = backbone_named(name)
    assert [stretch.stop - 1 for stretch in interaction_ranges(model, 12)] == last_blocks
    assert [stage.stride for stage in interaction_stages(model, 12)] == [4, 8, *[16] * 9, 32]


@pytest.mark.parametrize(
    ("direction", "steps"),
    [
        ("both", [(True, True), (True, True)]),
        ("to_large", [(True, False), (True, False)]),
        ("to_small", [(False, True), (False, True)]),
        ("alternating", [(True, False), (False, True)]),
    ],
)
def test_who_reads(direction: Any, steps: list[tuple[bool, bool]]) -> None:
    interaction = Interaction(2, direction=direction)
    assert [interaction.reads(step) for step in range(2)] == steps


def test_any_plain_vit_goes_by_its_numbers() -> None:
    model = backbone_named("vit_w640_d12_h10_p8")
    assert isinstance(model, Transformer)
    assert (model.width, model.depth, model.heads, model.patch, model.mlp_width) == (640, 12, 10, 8, 2560)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_w640_d12_h7", "heads that divide the width"),
        ("deit_smal_patch16_224", "did you mean deit_small_patch16_224?"),
        ("resnet50", "unknown backbone 'resnet50'"),
        ("eva02_base_patch14_224.mim_in22k", "cannot be a branch: it is of timm's class Eva (EVA, EVA-02, DINOv3)"),
        ("vit_small_patch16_dinov3", "cannot be a branch: it is of timm's class Eva"),
        ("convnext_nano_ols", "cannot be a branch: it is a ConvNeXt with a stem of several convolutions"),
    ],
)
def test_what_is_no_backbone_says_so(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        backbone_named(name)


@given(architectures(), st.floats(0.05, 1.0))
def test_scaled_designs_keep_their_pairing(architecture: Architecture, scale: float) -> None:
    scaled = architecture.scaled(scale)
    assert [b.backbone for b in scaled.branches] == [b.backbone for b in architecture.branches]
    assert scaled.interaction == architecture.interaction
    sides = [b.resolution for b in architecture.branches]
    order = sorted(range(len(sides)), key=lambda index: sides[index])
    shrunk = [scaled.branches[index].resolution for index in order]
    assert all(side <= before for side, before in zip(shrunk, sorted(sides), strict=True))
    pairs = itertools.pairwise(zip(sorted(sides), shrunk, strict=True))
    assert all((before == after) == (small == large) and small <= large for (before, small), (after, large) in pairs)
    assert scaled.scaled(1.0) == scaled


@pytest.mark.parametrize("scale", [0.5, 0.75])
@pytest.mark.parametrize("branches", [2, 3, 4])
def test_scaled_designs_of_the_shipped_space_need_little_padding(branches: int, scale: float) -> None:
    space = load_spec(find_space("coco")).space
    models = ("vit_l", "vit_b", "vit_s", "vit_t")[-branches:]
    shares, errors = [], []
    for sides in itertools.combinations(space.resolutions, branches):
        meant = Architecture(tuple(Branch(model, side, 14) for model, side in zip(models, sides, strict=True)))
        found = meant.scaled(scale)
        shares.append(found.multiple / found.resolution)
        errors.append(
            max(abs(b.resolution / (side * scale) - 1) for b, side in zip(found.branches, sides, strict=True))
        )
    assert max(shares) <= 1 / 3
    assert sum(shares) / len(shares) < 1 / 6
    assert max(errors) <= 1 / 5
    assert sum(errors) / len(errors) < 1 / 12


def test_sizes_that_scale_as_they_are_keep_their_ratios() -> None:
    scaled = "vit_b@336:w7+vit_s@560:w7+vit_t@784:w7*12"
    assert Architecture.parse(TSB).scaled(0.5).name == scaled


@pytest.mark.parametrize("scale", [0.0, -1.0, 1.5])
def test_a_scale_outside_its_range_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="image_scale must lie in"):
        Architecture.parse(TSB).scaled(scale)


# Rates of the authors' detection configurations: DeiT, MAE and BEiT; AugReg and DINOv2; ConvNeXt.
@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("vit_t", 0.05),
        ("deit3_small_patch16_224", 0.05),
        ("deit3_base_patch16_224.fb_in22k_ft_in1k", 0.15),
        ("beitv2_large_patch16_224", 0.4),
        ("vit_w640_d12_h10", 0.15),
        ("vit_small_patch16_384.augreg_in21k", 0.2),
        ("vit_base_patch14_dinov2", 0.3),
        ("vit_large_patch14_dinov2", 0.4),
        ("convnext_t", 0.3),
        ("convnext_small.fb_in22k", 0.3),
        ("convnextv2_base", 0.4),
        ("vit_pico", 0.0),
    ],
)
def test_every_backbone_has_the_drop_path_of_its_size(name: str, rate: float) -> None:
    assert backbone_named(name).drop_path == rate
