import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piip_search.architecture import Architecture, Branch, Interaction, interaction_ranges
from piip_search.backbones import BACKBONES

TSB = "vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12"


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    names = sorted(draw(st.lists(st.sampled_from(list(BACKBONES)), min_size=1, max_size=4)),
                   key=lambda name: -BACKBONES[name].width)  # fmt: skip
    window = st.one_of(st.none(), st.integers(1, 40))
    branches = []
    for name in names:
        side = draw(window)
        every = draw(st.sampled_from([0, 2, 3])) if side else 0
        branches.append(Branch(name, 16 * draw(st.integers(1, 112)), side, every))
    if len(branches) == 1:
        return Architecture(tuple(branches))
    depth = min(branch.model.depth for branch in branches)
    interaction = Interaction(draw(st.integers(0, depth)), draw(st.sampled_from([8, 16])), draw(st.integers(1, 8)))
    return Architecture(tuple(branches), interaction, draw(st.sampled_from(["conv", "linear"])))


@given(architectures())
def test_three_faces_are_equal(architecture: Architecture) -> None:
    assert Architecture.parse(architecture.name) == architecture
    assert Architecture.from_dict(architecture.to_dict()) == architecture
    assert Architecture.parse(architecture.name).fingerprint == architecture.fingerprint


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
        ("vit_b@672:g+vit_t@1568:g*2/sum", "unknown merge 'sum'"),
        ("+".join(["vit_t@32:g"] * 5), "1 to 4 branches, got 5"),
    ],
)
def test_what_cannot_be_built_says_why(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Architecture.parse(text)


@pytest.mark.parametrize("depth", [4, 12, 24, 32, 48])
def test_ranges_tile_the_depth(depth: int) -> None:
    for count in range(depth + 1):
        ranges = interaction_ranges(depth, count)
        assert len(ranges) == max(1, count)
        assert [block for stretch in ranges for block in stretch] == list(range(depth))
        assert max(map(len, ranges)) - min(map(len, ranges)) <= 1


def test_uneven_ranges_are_the_authors() -> None:
    # ViT-H of 32 blocks over 12 interactions, as in PIIP's H6B configurations.
    assert [len(stretch) for stretch in interaction_ranges(32, 12)] == [2] * 4 + [3] * 8


@given(architectures(), st.floats(0.05, 1.0))
def test_scaled_designs_keep_their_pairing(architecture: Architecture, scale: float) -> None:
    scaled = architecture.scaled(scale)
    assert [b.backbone for b in scaled.branches] == [b.backbone for b in architecture.branches]
    assert scaled.interaction == architecture.interaction
    sides = [b.resolution for b in architecture.branches]
    order = sorted(range(len(sides)), key=lambda index: sides[index])
    shrunk = [scaled.branches[index].resolution for index in order]
    assert shrunk == sorted(shrunk)
    assert all(side <= before for side, before in zip(shrunk, sorted(sides), strict=True))


@pytest.mark.parametrize("scale", [0.0, -1.0, 1.5])
def test_a_scale_outside_its_range_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="image_scale must lie in"):
        Architecture.parse(TSB).scaled(scale)
