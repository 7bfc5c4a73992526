"""Which tensors designs share."""

import itertools

import pytest

from piip_search.architecture import Architecture

torch = pytest.importorskip("torch")

from piip_search.models import PIIPPyramid  # noqa: E402
from piip_search.models.weights.shared_keys import network_key  # noqa: E402

DESIGNS = [
    "vit_nano@64:g+vit_pico@128:g*2/residual",
    "vit_nano@96:g+vit_pico@160:w4*1/residual",
    "vit_nano@128:g+vit_pico@64:g*0/residual",
    "vit_micro@32:g+vit_nano@64:g+vit_pico@96:g*2/residual",
    "vit_micro@32:g+vit_pico@64:g*4/residual",
    "vit_pico@64:g+vit_pico@96:g*2/residual",
    "vit_pico@128:g/residual",
    "vit_nano@64:g",
    "vit_nano@64:g+vit_pico@128:g*2/conv",
    "vit_nano@64:g+vit_pico@128:g*2(attention=regular)/residual",
    "convnext_pico@64+convnext_yocto@128*4(heads=8)/pyramid",
]


def keyed(name: str) -> dict[str, tuple[int, ...]]:
    """Shapes by key."""
    design = Architecture.parse(name)
    shapes = {parameter: tuple(tensor.shape) for parameter, tensor in PIIPPyramid(design).named_parameters()}
    found = {network_key(design, parameter): shape for parameter, shape in shapes.items()}
    assert len(found) == len(shapes), "each parameter has a key of its own"
    return found


def test_equal_keys_have_equal_shapes() -> None:
    networks = [keyed(name) for name in DESIGNS]
    for one, other in itertools.combinations(networks, 2):
        for key in one.keys() & other.keys():
            assert one[key] == other[key], key


def test_designs_of_one_set_share_all_but_what_reads_another_image() -> None:
    first, second = keyed("vit_nano@64:g+vit_pico@128:g*2/residual"), keyed("vit_nano@96:w3+vit_pico@192:g*2/residual")
    assert first == second
    turned = keyed("vit_nano@128:g+vit_pico@64:g*2/residual")
    apart = {key.partition("/")[0] for key in first.keys() - turned.keys()}
    assert apart == {"A", "P"}


def test_interactions_after_the_same_blocks_are_shared() -> None:
    two, four = keyed("vit_nano@64:g+vit_pico@128:g*2/residual"), keyed("vit_nano@64:g+vit_pico@128:g*4/residual")
    ends = {key.split("/")[2] for key in two.keys() & four.keys() if key.startswith("I/")}
    assert ends == {key.split("/")[2] for key in two if key.startswith("I/")}, "the ends of halves are ends of quarters"
    assert len({key.split("/")[2] for key in four if key.startswith("I/")}) == 4


def test_a_left_out_branch_leaves_the_others_as_they_are() -> None:
    three = keyed("vit_micro@32:g+vit_nano@64:g+vit_pico@96:g*2/residual")
    two, one = keyed("vit_nano@64:g+vit_pico@96:g*2/residual"), keyed("vit_pico@96:g")
    assert {key for key in two if key.startswith(("B/", "I/"))} <= three.keys()
    assert {key for key in one if key.startswith("B/")} <= three.keys()
