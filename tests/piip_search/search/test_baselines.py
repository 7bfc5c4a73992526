"""Baselines as a run beside a search, which stays as it is without them."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from piip_search.api.audit import AuditOptions, open_audit
from piip_search.api.programs import read_program
from piip_search.api.runners import Place
from piip_search.api.runs import baselines_of_run
from piip_search.architecture import Architecture
from piip_search.architecture.stock import StockNetwork
from piip_search.config import SearchSpec, SpecError, parse_spec
from piip_search.config.budget import Goal
from piip_search.errors import DesignError, UserError
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.ledger import Ledger
from piip_search.search.baselines import open_baselines
from piip_search.search.search import Search, open_search
from piip_workers.runners import local
from support import fakes

STOCK = StockNetwork("library::some.py", 64, "some_net", macs=15_000_000, params=2_000_000)
ENTRIES = ["vit_pico@128:g", "vit_micro@64:g+vit_pico@128:g*1"]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.db")


def with_baselines(spec: SearchSpec, *entries: str) -> SearchSpec:
    return parse_spec({**spec.model_dump(mode="json", exclude_defaults=True), "baselines": list(entries)})


def measured(candidate: Candidate) -> Evaluation:
    if isinstance(candidate.design, StockNetwork):
        return Evaluation(candidate, "done", {"bbox_mAP": 0.2})
    return fakes.measure(candidate)


def run(spec: SearchSpec, ledger: Ledger, name: str = "run") -> Search:
    search = open_search(name, spec, ledger, "recipe")
    local.run(search, measured)
    return search


def test_a_search_with_baselines_proposes_what_it_does_without(
    spec: SearchSpec, ledger: Ledger, tmp_path: Path
) -> None:
    alone = run(spec, Ledger(f"sqlite:///{tmp_path}/alone.db"))
    named = with_baselines(spec, *ENTRIES)
    assert (named.question, named.recipe("data")) == (spec.question, spec.recipe("data"))
    search = run(named, ledger)
    beside = open_baselines(search, [*named.baseline_designs, STOCK], ledger)
    local.run(beside, measured)
    assert [e.candidate.design.name for e in beside.evaluations] == [*ENTRIES, "some_net@64"]
    # The search goes on: neither its past nor its future holds them.
    longer = {"budget": spec.budget.model_copy(update={"trials": 16})}
    later = run(named.model_copy(update=longer), ledger)
    alone = run(spec.model_copy(update=longer), Ledger(f"sqlite:///{tmp_path}/alone.db"))
    assert alone.replayed == later.replayed == 12
    assert [e.candidate for e in later.evaluations] == [e.candidate for e in alone.evaluations]
    assert [f.evaluations for f in later.fronts()] == [
        tuple(replace(e, facts=of.facts) for e, of in zip(f.evaluations, g.evaluations, strict=True))
        for f, g in zip(alone.fronts(), later.fronts(), strict=True)
    ]


def test_baselines_are_trained_once_and_belong_to_their_search(spec: SearchSpec, ledger: Ledger) -> None:
    search = run(spec, ledger)
    known = search.finished[0].candidate.design
    designs, asked = [known, Architecture.parse("vit_micro@128:g"), STOCK], []

    def measure(candidate: Candidate) -> Evaluation:
        asked.append(candidate.design)
        return measured(candidate)

    beside = open_baselines(search, designs, ledger)
    assert beside.propose() is not None  # the process dies with the second one under way
    local.run(open_baselines(search, designs, ledger), measure)
    local.run(open_baselines(search, designs, ledger), measure)
    assert asked == designs[1:]  # the search had measured the first
    local.run(open_baselines(search, designs[1:], ledger), measure)
    assert asked == designs[1:]  # another list is answered by the first
    records = {record.name: record for record in ledger.searches()}
    beside_it = [record for name, record in records.items() if name.startswith("run.baselines-")]
    assert len(beside_it) == 2
    assert {record.audit_of for record in beside_it} == {records["run"].uid}
    assert [(r.holds_baselines, r.is_audit, r.is_search) for r in (*beside_it, records["run"])] == [
        (True, False, False),
        (True, False, False),
        (False, False, True),
    ]


def test_the_budget_of_a_search_does_not_end_its_baselines(spec: SearchSpec, ledger: Ledger) -> None:
    budget = spec.budget.model_copy(update={"target": Goal(0.0), "trials": 1, "hours": 1e-9})
    search = open_search("run", spec.model_copy(update={"budget": budget}), ledger, "recipe")
    local.run(search, measured)
    beside = open_baselines(search, [STOCK, Architecture.parse("vit_micro@128:g")], ledger)
    local.run(beside, measured)
    assert len(beside.evaluations) == 2
    assert beside.ending == "all that was listed is measured"


def test_stock_networks_survive_the_ledger(spec: SearchSpec, ledger: Ledger) -> None:
    search = run(spec, ledger)
    beside = open_baselines(search, [STOCK], ledger)
    local.run(beside, measured)
    (found,) = ledger.evaluations(beside.run)
    design = found.candidate.design
    assert isinstance(design, StockNetwork)
    assert (design, design.label, design.macs, design.params) == (STOCK, "some_net", 15_000_000, 2_000_000)
    assert design.fingerprint == replace(STOCK, label="other", macs=1).fingerprint
    assert design.fingerprint != replace(STOCK, side=96).fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stock": 3}, "a stock network needs a name"),
        ({"side": -1}, "the image side of a stock network must be from 1"),
        ({"macs": None}, "the counts of a stock network must be from 1"),
        ({"params": True}, "the counts of a stock network must be from 1"),
    ],
)
def test_stock_networks_of_others_are_checked(change: dict[str, object], message: str) -> None:
    with pytest.raises(DesignError, match=message):
        StockNetwork.from_dict({**STOCK.to_dict(), **change})


def test_published_designs_within_the_limit_are_baselines(spec: SearchSpec) -> None:
    content = spec.model_dump(mode="json", exclude_defaults=True)
    limit = {"gmacs": [100, 250], "convention": "published"}
    named = parse_spec({**content, "limit": limit, "baselines": ["published", "vit_pico@128:g"]})
    costs = [named.objectives.price(design) for design in named.baseline_designs]
    assert len(costs) > 5
    assert max(costs) <= 250
    with pytest.raises(SpecError, match=r"baselines: no published design lies within the limit of 0\.06 G"):
        with_baselines(spec, "published")


def test_a_baseline_is_named_once(spec: SearchSpec) -> None:
    assert len(with_baselines(spec, ENTRIES[0], ENTRIES[0]).baseline_designs) == 1
    assert spec.baseline_designs == ()


def test_a_longer_list_trains_only_what_is_new_whatever_may_answer(spec: SearchSpec, ledger: Ledger) -> None:
    asked: list[str] = []

    def counted(candidate: Candidate) -> Evaluation:
        asked.append(candidate.design.name)
        return measured(candidate)

    named = with_baselines(spec.model_copy(update={"answers": ("another",)}), *ENTRIES)
    first, second = named.baseline_designs
    for designs in ([first], [first, second], [second, first]):
        local.run(open_baselines(run(named, ledger), designs, ledger), counted)
    assert asked == [second.name], "the search measured the first one"


def test_a_space_is_read_without_the_files_that_it_names(spec: SearchSpec, tmp_path: Path) -> None:
    """Whoever looks at a recorded search must not open paths that others wrote into its ledger."""
    os.mkfifo(tmp_path / "pipe.py")
    found = with_baselines(spec, f"{tmp_path}/pipe.py@64", f"{tmp_path}/nowhere.py")
    assert [design.name for design in found.baseline_designs] == ["pipe@64", "nowhere@128"]
    for path, message in (("pipe.py", "no file"), ("nowhere.py", "no file"), ("", "no file")):
        with pytest.raises(UserError, match=f"baselines: {message} {tmp_path}"):
            read_program("baselines", tmp_path / path)


def test_the_newest_list_is_shown(spec: SearchSpec, ledger: Ledger) -> None:
    named = with_baselines(spec, *ENTRIES)
    first, second = named.baseline_designs
    search = run(named, ledger)
    for designs in ([first], [second]):
        local.run(open_baselines(search, designs, ledger), measured)
    assert [one.name for one in baselines_of_run(ledger, search.run, search.history)] == [second.name]


def test_baselines_are_not_audited(spec: SearchSpec, ledger: Ledger, tmp_path: Path) -> None:
    search = run(with_baselines(spec, *ENTRIES), ledger)
    beside = open_baselines(search, [STOCK], ledger)
    with pytest.raises(UserError, match="holds the baselines of a search, which no proxy stands for; audit that"):
        open_audit(ledger, beside.run, tmp_path, AuditOptions(), Place.LOCAL)
