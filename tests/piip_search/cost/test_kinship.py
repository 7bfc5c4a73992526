import pytest

from piip_search.architecture import Architecture
from piip_search.cost.kinship import all_parts, kinship, nearest, shared_parts

CHILD = Architecture.parse("vit_s@96:g+vit_t@128:g*2")


@pytest.mark.parametrize(
    ("nearer", "farther"),
    [
        ("vit_s@96:g+vit_t@160:g*2", "vit_s@96:g"),  # more of the weights
        ("vit_s@96:g+vit_t@160:g*2", "vit_s@96:g+vit_t@128:g*0"),  # more of the parts
        ("vit_s@96:g+vit_t@128:w4*2", "vit_s@96:g+vit_t@160:g*2"),  # nearer sizes
        ("vit_s@64:g", "vit_t@128:g"),  # the larger branch
    ],
)
def test_what_leaves_less_to_learn_is_nearer(nearer: str, farther: str) -> None:
    first, second = Architecture.parse(nearer), Architecture.parse(farther)
    assert kinship(CHILD, first) > kinship(CHILD, second)
    assert nearest(CHILD, [first, second]) == nearest(CHILD, [second, first]) == first


def test_strangers_are_no_relatives() -> None:
    stranger = Architecture.parse("vit_b@96:g")
    assert nearest(CHILD, [stranger]) is None
    assert nearest(CHILD, []) is None
    assert kinship(CHILD, stranger)[0] == 0


def test_oneself_is_the_nearest() -> None:
    share, parts, apart = kinship(CHILD, CHILD)
    assert (share, parts, apart) == (1, 1, 0)
    assert set(shared_parts(CHILD, CHILD)) >= set(all_parts(CHILD))
