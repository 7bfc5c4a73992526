"""What stands for a design: networks and rows of tables keep one interface."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from piip_search.architecture import Architecture
from piip_search.architecture.design import Design, as_architecture
from piip_search.evaluation.evaluation import Candidate, Fidelity
from piip_search.simulation.table_design import TableDesign

DESIGNS: list[tuple[Design, Design, Callable[[Mapping[str, Any]], Design]]] = [
    (
        Architecture.parse("vit_nano@64:g+vit_pico@128:g*2"),
        Architecture.parse("vit_pico@128:g"),
        Architecture.from_dict,
    ),
    (TableDesign((("depth", "2"),), 3.0), TableDesign((("depth", "3"),), 3.0), TableDesign.from_dict),
]


@pytest.mark.parametrize(("design", "other", "read"), DESIGNS)
def test_a_design_survives_plain_data_and_is_told_from_others(
    design: Design, other: Design, read: Callable[[Mapping[str, Any]], Design]
) -> None:
    again = read(design.to_dict())
    assert (again, hash(again), again.fingerprint) == (design, hash(design), design.fingerprint)
    assert design != other
    assert design.fingerprint != other.fingerprint
    candidate = Candidate(0, design, Fidelity(3))
    assert Candidate.from_dict(candidate.to_dict(), read) == candidate


def test_no_network_is_built_from_a_row_of_a_table() -> None:
    network, row = DESIGNS[0][0], DESIGNS[1][0]
    assert as_architecture(network) is network
    with pytest.raises(TypeError, match=r"depth=2 is a TableDesign, of which no network can be built"):
        Candidate(0, row, Fidelity(3)).architecture  # noqa: B018
