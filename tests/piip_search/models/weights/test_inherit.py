"""What a design takes over from a relative."""

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")

from torch import nn  # noqa: E402

from piip_search.architecture import Architecture  # noqa: E402
from piip_search.models import PIIP, PIIPPyramid  # noqa: E402
from piip_search.models.weights.inherit import InheritReport, inherit  # noqa: E402

PARENT = "vit_micro@32:g+vit_nano@64:g+vit_pico@96:w3*2"


def network(name: str, seed: int, kind: Any = PIIP) -> Any:
    torch.manual_seed(seed)
    built = kind(Architecture.parse(name), interaction_drop_path=0.0).eval()
    for parameter in built.parameters():
        nn.init.normal_(parameter, std=0.1)
    return built


def child_of(parent: str, name: str, kind: Any = PIIP) -> tuple[Any, Any, InheritReport]:
    source, child = network(parent, 0, kind), network(name, 1, kind)
    report = inherit(child, Architecture.parse(name), source.state_dict(), Architecture.parse(parent))
    return source, child, report


@pytest.mark.parametrize("kind", [PIIP, PIIPPyramid])
@pytest.mark.parametrize(
    "name",
    [
        PARENT,
        "vit_micro@32:g+vit_nano@64:w2+vit_pico@96:g*2",
        "vit_w128_d6_h4@64:g+convnext_pico@128*6",
        "vit_micro@64:g+vit_nano@64:g*2/logits",
        "vit_micro@32:g+vit_pico@64:g*2(attention=regular)/linear",
    ],
)
def test_a_twin_computes_the_same(name: str, kind: Any) -> None:
    architecture = Architecture.parse(name)
    if kind is PIIPPyramid and architecture.merge == "logits":
        return
    source, child, report = child_of(name, name, kind)
    assert report.fresh == ()
    assert report.tensors == report.of
    image = torch.randn(1, 3, architecture.resolution, architecture.resolution)
    for one, other in zip(
        torch.utils._pytree.tree_leaves(source(image)), torch.utils._pytree.tree_leaves(child(image)), strict=True
    ):
        assert torch.equal(one, other)


def test_more_interactions_keep_those_that_stand_at_the_same_blocks() -> None:
    _, _, report = child_of(PARENT, "vit_micro@32:g+vit_nano@64:g+vit_pico@96:g*4")
    assert report.taken["interactions.1.0.large_reads"] == "interactions.0.0.large_reads"
    assert report.taken["interactions.3.1.small_reads"] == "interactions.1.1.small_reads"
    assert set(report.fresh) == {
        f"interactions.{step}.{pair}.{reader}"
        for step in (0, 2)
        for pair in (0, 1)
        for reader in ("large_reads", "small_reads")
    }


def test_a_dropped_branch_leaves_the_others() -> None:
    source, child, report = child_of(PARENT, "vit_micro@32:g+vit_nano@96:g*2")
    assert report.fresh == ()
    assert "branches.1" in report.taken
    assert torch.equal(child.merges[0].branch_weights, source.merges[0].branch_weights[:2])


@pytest.mark.parametrize(
    ("relative", "placed"),
    [
        ("vit_micro@32:g+vit_pico@96:g*2/residual", True),
        ("vit_micro@64:g+vit_nano@48:g+vit_pico@96:g*2/residual", True),
        ("vit_micro@96:g+vit_pico@64:g*2/residual", False),
    ],
)
def test_the_placement_of_the_largest_images_map_is_inherited_with_its_ends(relative: str, placed: bool) -> None:
    source, child, report = child_of(relative, "vit_micro@48:g+vit_pico@64:g*2/residual")
    assert ("merges.0.placement" in report.taken) is placed
    assert torch.equal(child.merges[0].branch_weights[0], source.merges[0].branch_weights[0])
    if placed:
        assert torch.equal(child.merges[0].placement.weight, source.merges[0].placement.weight)


def test_neighbours_that_were_none_start_fresh() -> None:
    _, _, report = child_of(PARENT, "vit_micro@32:g+vit_pico@96:g*2")
    assert report.taken["branches.1"] == "branches.2"
    assert all(name.startswith("interactions") for name in report.fresh)
    assert "fresh: interactions.0.0.large_reads" in str(report)


def test_another_first_width_needs_another_merge() -> None:
    _, _, report = child_of(PARENT, "vit_nano@32:g+vit_pico@64:g*2")
    assert report.taken["branches.0"] == "branches.1"
    assert set(report.fresh) == {"merges.0.projections.0", "merges.0.projections.1"}


@pytest.mark.parametrize("settings", ["(attention=regular)", "(heads=8)", "(points=2)", "(projection=no)", "(norm=no)"])
@pytest.mark.parametrize("branches", ["vit_micro@32:g+vit_nano@64:g", "vit_micro@32:g+vit_micro@64:g"])
def test_another_kind_of_interaction_starts_fresh(branches: str, settings: str) -> None:
    """Also between equal widths, where all shapes would fit, and whichever of the two has more parts."""
    for parent, child in ((branches + "*2", branches + "*2" + settings), (branches + "*2" + settings, branches + "*2")):
        _, _, report = child_of(parent, child)
        assert not any(name.startswith("interactions") for name in report.taken)


def test_one_way_takes_its_way() -> None:
    _, _, report = child_of(PARENT, "vit_micro@32:g+vit_nano@64:g+vit_pico@96:g*2(direction=to_large)")
    assert report.fresh == ()
    assert not any(name.endswith("small_reads") for name in report.taken)
