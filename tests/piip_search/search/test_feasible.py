"""The designs that keep a limit are enumerated once, however often a command asks for them."""

from piip_search.config import SearchSpec, parse_spec
from piip_search.search.feasible import feasible_designs
from piip_search.space import Designs


def test_a_space_is_enumerated_once(spec: SearchSpec) -> None:
    first, second = feasible_designs(spec)[1], feasible_designs(parse_spec(spec.model_dump(mode="json")))[1]
    assert first is second
    assert isinstance(first, Designs)


def test_another_limit_is_enumerated_anew(spec: SearchSpec) -> None:
    wide = feasible_designs(spec)[1]
    narrow = feasible_designs(parse_spec({**spec.model_dump(mode="json"), "limit": {"gmacs": [0.02]}}))[1]
    assert len(narrow) < len(wide)
    assert len(feasible_designs(spec)[1]) == len(wide)
