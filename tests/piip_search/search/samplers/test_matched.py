"""The sampler of groups at equal cost."""

from collections import Counter
from typing import Any

import pytest

import piip_search as ps
from piip_search.api.compare import compare_groups
from piip_search.architecture import Architecture
from piip_search.architecture.traits import EQUAL_COST, TRAITS, Grouping
from piip_search.config import SearchSpec, SpecError, load_spec, parse_spec
from piip_search.config.shipped import find_space, shipped_spaces
from piip_search.errors import SpaceError
from piip_search.ledger import Ledger
from piip_search.search.feasible import feasible_designs
from piip_search.search.samplers.sampler import make_sampler
from support.contracts import MakeSampler, SamplerContract

CONTENT: dict[str, Any] = {
    "name": "groups",
    "sampler": "matched",
    "groups": "pairing",
    "space": {
        "backbones": ["vit_micro", "vit_nano", "vit_pico"],
        "resolutions": [64, 80, 96, 112, 128, 144, 160],
        "branches": [1, 2],
        "interactions": [0, 2],
        "pairing": "free",
    },
    "limit": {"gmacs": [0.2]},
    "data": {"embedded": "digits"},
}
EXPERIMENTS = [name for name in shipped_spaces() if name.startswith("experiments/")]


def size(candidate: ps.Candidate) -> float:
    return candidate.architecture.resolution / 10_000


class TestMatchedSampler(SamplerContract):
    @pytest.fixture
    def spec(self) -> SearchSpec:
        return parse_spec(CONTENT)

    @pytest.fixture
    def make(self, spec: SearchSpec) -> MakeSampler:
        space, designs = feasible_designs(spec)
        return lambda seed: make_sampler("matched", space, designs, 30, seed, groups=Grouping(TRAITS["pairing"]))

    def test_proposes_every_legal_design_once_and_ends(self, make: MakeSampler, spec: SearchSpec) -> None:
        """Every one that has a match; single branches have no pairing."""
        _, designs = feasible_designs(spec)
        names = self.drive(make(0), asks=len(designs) + 5)
        assert len(set(names)) == len(names) > 30
        assert {len(Architecture.parse(name).branches) for name in names} == {2}


def asked(**changes: Any) -> list[Architecture]:
    spec = parse_spec({**CONTENT, **changes})
    space, designs = feasible_designs(spec)
    sampler = make_sampler("matched", space, designs, 30, spec.seed, groups=spec.grouping)
    found = []
    while (suggestion := sampler.ask()) is not None:
        assert isinstance(suggestion.design, Architecture)
        assert suggestion.reason.to_dict()["group"] == TRAITS["pairing"](suggestion.design)
        found.append(suggestion.design)
    return found


def test_designs_come_in_sets_of_all_groups_at_equal_cost() -> None:
    designs = asked(groups={"by": "pairing", "only": ["inverted", "equal", "direct"]})
    sets = [designs[start : start + 3] for start in range(0, 9, 3)]
    assert [len({TRAITS["pairing"](design) for design in one}) for one in sets] == [3, 3, 3]
    for one in sets:
        costs = [ps.price(design, "published").macs for design in one]
        assert max(costs) <= (1 + EQUAL_COST) * min(costs)
    counted = Counter(TRAITS["pairing"](design) for design in designs)
    assert set(counted) == {"inverted", "equal", "direct"}


def test_groups_can_be_left_out() -> None:
    found = asked(groups={"by": "pairing", "only": ["inverted", "direct"]})
    assert {TRAITS["pairing"](design) for design in found} == {"inverted", "direct"}


def test_an_interrupted_search_goes_on_with_the_same_designs(tmp_path: Any) -> None:
    names = []
    for ledger, trials in (("whole.db", (9,)), ("parts.db", (2, 5, 9))):
        for count in trials:
            found = ps.run(
                ps.load({**CONTENT, "budget": {"trials": count}}), evaluate=size, ledger=tmp_path / ledger, name="one"
            )
        names.append([one.candidate.design.name for one in found.evaluations])
    assert names[0] == names[1]
    assert len(set(names[0])) == 9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"groups": {"by": "pairing", "only": ["direct", "sideways"]}},
            r"groups.only: no design .* is sideways; there are ",
        ),
        ({"groups": "family"}, r"two groups are needed, and within the limit there are ViT \(\d+\)"),
    ],
)
def test_groups_that_the_space_lacks_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        asked(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": None}, "the sampler matched needs groups, such as groups: pairing; choose pairing, branches"),
        ({"sampler": "piip"}, "groups is for the sampler matched, not for piip; leave it out"),
        ({"groups": "pairings"}, "groups.by: unknown trait 'pairings'; did you mean pairing?"),
        ({"groups": {"by": "pairing", "only": ["direct"]}}, "groups.only: tuple should have at least 2 items"),
        ({"groups": {"of": "pairing"}}, "groups.of: unknown key"),
    ],
)
def test_a_bad_section_is_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message.replace("?", r"\?")):
        parse_spec({**CONTENT, **changes})


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_shipped_experiment_answers_its_question(name: str, tmp_path: Any) -> None:
    """At least three matched pairs of every two groups, so that the mean difference has an interval."""
    spec = load_spec(find_space(name))
    assert spec.name == name.partition("/")[2]
    content = {**spec.model_dump(mode="json", exclude_unset=True), "data": {"embedded": "digits"}, "baselines": []}
    content["fidelity"].pop("seeds", None)
    ps.run(ps.load(content), evaluate=size, ledger=tmp_path / "ledger.db")
    found = compare_groups(Ledger(f"sqlite:///{tmp_path}/ledger.db"), [spec.name])
    assert spec.groups is not None
    assert found.by == spec.groups.by
    assert all(len(comparison.pairs) >= 3 for comparison in found.comparisons), found.verdicts
    if spec.groups.only:
        assert set(found.groups) == set(spec.groups.only)
