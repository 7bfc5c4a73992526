"""A run's facts are the same for the search, the ledger's reader, Python, the dashboard and the report."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import piip_search as ps
from piip_search.api.runs import history_of, report_source
from piip_search.config import SearchSpec
from piip_search.errors import ChoiceError
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.ledger import Ledger
from piip_search.search.history import RunHistory
from piip_search.search.policy import FixedPolicy
from piip_search.search.search import Search, open_search
from support import fakes


def _search_of_seeds(spec: SearchSpec, ledger: Ledger) -> Search:
    """Three designs; the second and the third with another seed, which lowers their means."""
    drawn = open_search("drawn", spec, Ledger("sqlite://"), "recipe")
    designs = [candidate for candidate in (drawn.propose() for _ in range(3)) if candidate is not None]
    more = [replace(designs[place], number=2 + place, seed=7) for place in (1, 2)]
    search = Search("seeds", spec, FixedPolicy([*designs, *more]), ledger, "recipe")
    values = [0.2, 0.5, 0.4, 0.1, 0.2]
    for value in values:
        candidate = search.propose()
        assert candidate is not None
        search.accept(Evaluation(candidate, "done", {spec.metric: value}))
    return search


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")


def test_a_design_counts_with_the_mean_of_its_seeds(spec: SearchSpec, ledger: Ledger) -> None:
    search = _search_of_seeds(spec, ledger)
    assert [e.metrics[spec.metric] for e in search.history.representatives] == pytest.approx([0.2, 0.3, 0.3])
    best = search.fronts()[-1].best
    assert best is not None
    assert best.metrics[spec.metric] == pytest.approx(0.3)


def test_the_front_of_a_run_with_seeds_is_the_same_everywhere(spec: SearchSpec, ledger: Ledger, tmp_path: Path) -> None:
    search = _search_of_seeds(spec, ledger)
    read = history_of(ledger, "seeds")
    assert read.fronts == search.fronts()
    front = [(member.trial, member.value) for member in ps.front(ps.read_run("seeds", home=tmp_path))]
    assert front == [(member.trial, member.value) for member in ps.front(search)]
    overview = pytest.importorskip("piip_dashboards.views.overview", exc_type=ImportError).overview
    cache = pytest.importorskip("piip_dashboards.runs.run_cache", exc_type=ImportError).RunCache(ledger)
    make_report = pytest.importorskip("piip_dashboards.report", exc_type=ImportError).make_report
    shown = overview(cache.reading("seeds"), None, datetime.now(UTC)).tiers[-1].front
    assert [(member.trial, member.value) for member in shown] == front
    written = make_report(report_source(ledger, "seeds"), 0.01).front
    assert [(row.trial, row.value) for row in written] == front


def test_the_ledger_keeps_the_fronts_that_seeds_move(spec: SearchSpec, ledger: Ledger) -> None:
    search = _search_of_seeds(spec, ledger)
    newest = {snapshot.tier: snapshot for snapshot in ledger.front_snapshots("seeds")}
    for front in search.fronts():
        if front.best is not None:
            assert newest[front.tier].hypervolume == front.hypervolume
            assert newest[front.tier].members == tuple(e.candidate.number for e in front.evaluations)


def test_a_search_goes_on_with_the_fronts_that_it_had(spec: SearchSpec, ledger: Ledger) -> None:
    before = _search_of_seeds(spec, ledger)
    events = [event for event in ledger.events("seeds") if isinstance(event, Candidate)]
    again = Search("seeds", spec, FixedPolicy(events), ledger, "recipe")
    assert again.fronts() == before.fronts()


def test_a_later_history_leaves_the_earlier_one_as_it_is(spec: SearchSpec, ledger: Ledger) -> None:
    history = _search_of_seeds(spec, ledger).history
    early = RunHistory(spec, history.events[:6])
    fronts, designs = early.fronts, dict(early.designs)
    late = early.later(history.events[6:])
    assert (early.fronts, early.designs, len(early.events)) == (fronts, designs, 6)
    assert late.fronts == history.fronts
    assert late.designs == history.designs
    assert late.gpu_seconds == history.gpu_seconds


def test_a_replay_ends_with_the_fronts_of_the_run(spec: SearchSpec, ledger: Ledger) -> None:
    history = _search_of_seeds(spec, ledger).history
    steps = list(history.replay())
    assert [evaluation for evaluation, _ in steps] == history.evaluations
    assert steps[-1][1] == history.fronts


def test_any_trial_of_a_design_chooses_the_design(spec: SearchSpec, ledger: Ledger) -> None:
    history = _search_of_seeds(spec, ledger).history
    assert history.choose("3") == history.choose("1")
    with pytest.raises(ChoiceError, match="'9' matches no finished evaluation"):
        history.choose("9")


def test_a_finished_run_ends_for_the_reader_as_for_the_search(spec: SearchSpec, ledger: Ledger) -> None:
    search = open_search("run", spec, ledger, "recipe")
    while (candidate := search.propose()) is not None:
        search.accept(fakes.measure(candidate))
    assert search.ending
    assert history_of(ledger, "run").ending == search.ending
