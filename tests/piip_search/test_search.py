from pathlib import Path

import fakes
import pytest

from piip_search.evaluation import Candidate, Evaluation
from piip_search.ledger import Ledger, LedgerError
from piip_search.search import Search, open_search
from piip_search.spec import SearchSpec


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.db")


def drive(search: Search, stop_after: int = 10**9) -> list[Candidate]:
    """Two candidates in flight, as on two workers; the older is answered first."""
    proposed: list[Candidate] = []
    waiting: list[Candidate] = []
    while len(proposed) < stop_after and (candidate := search.propose()) is not None:
        proposed.append(candidate)
        waiting.append(candidate)
        if len(waiting) == 2:
            search.accept(fakes.measure(waiting.pop(0)))
    if len(proposed) < stop_after:
        for candidate in waiting:
            search.accept(fakes.measure(candidate))
    return proposed


def outcome(search: Search) -> list[tuple[int, str]]:
    return [(e.candidate.number, e.candidate.architecture.name) for e in search.evaluations]


@pytest.mark.parametrize("cut", [1, 2, 5, 11])
@pytest.mark.parametrize("sampler", ["nsga2", "tpe", "random"])
def test_a_cut_off_search_ends_as_if_it_had_not_been(
    spec: SearchSpec, ledger: Ledger, tmp_path: Path, cut: int, sampler: str
) -> None:
    spec = spec.model_copy(update={"sampler": sampler})
    undisturbed = open_search("run", spec, Ledger(f"sqlite:///{tmp_path}/other.db"), "recipe")
    drive(undisturbed)
    before = drive(open_search("run", spec, ledger, "recipe"), stop_after=cut)
    search = open_search("run", spec, ledger, "recipe")
    again = drive(search)
    in_flight = [c for c in before if c.number not in {n for n, _ in outcome(search)[: search.replayed]}]
    assert again[: len(in_flight)] == in_flight
    assert sorted(outcome(search)) == sorted(outcome(undisturbed))
    assert [f.hypervolume for f in search.fronts()] == [f.hypervolume for f in undisturbed.fronts()]


def test_a_finished_search_proposes_nothing_more(spec: SearchSpec, ledger: Ledger) -> None:
    drive(open_search("run", spec, ledger, "recipe"))
    search = open_search("run", spec, ledger, "recipe")
    assert search.propose() is None
    assert search.replayed == len(ledger.evaluations("run")) == spec.budget.trials


def test_more_trials_extend_a_finished_search(spec: SearchSpec, ledger: Ledger) -> None:
    drive(open_search("run", spec, ledger, "recipe"))
    more = spec.model_copy(update={"budget": spec.budget.model_copy(update={"trials": 15})})
    assert len(drive(open_search("run", more, ledger, "recipe"))) == 3


def test_another_run_is_answered_from_the_ledger(spec: SearchSpec, ledger: Ledger) -> None:
    drive(open_search("first", spec, ledger, "recipe"))
    second = open_search("second", spec, ledger, "recipe")
    trained = drive(second)
    known = {e.candidate.architecture for e in ledger.evaluations("first")}
    assert second.answered + len(trained) == spec.budget.trials
    assert second.answered > 0
    assert not known & {candidate.architecture for candidate in trained}
    answered = [e for e in second.evaluations if "answered_from" in e.facts]
    assert len(answered) == second.answered
    assert all(e.seconds == 0 for e in answered)


def test_other_data_are_measured_anew(spec: SearchSpec, ledger: Ledger) -> None:
    drive(open_search("first", spec, ledger, "recipe"))
    assert len(drive(open_search("second", spec, ledger, "other recipe"))) == spec.budget.trials


def test_a_run_keeps_its_question(spec: SearchSpec, ledger: Ledger) -> None:
    open_search("run", spec, ledger, "recipe")
    with pytest.raises(LedgerError, match="changed since: seed"):
        open_search("run", spec.model_copy(update={"seed": 9}), ledger, "recipe")


def test_a_second_answer_is_passed_over(spec: SearchSpec, ledger: Ledger) -> None:
    search = open_search("run", spec, ledger, "recipe")
    candidate = search.propose()
    assert candidate is not None
    search.accept(fakes.measure(candidate))
    search.accept(fakes.measure(candidate))
    assert len(search.evaluations) == 1


def test_an_evaluation_without_the_searched_metric_failed(spec: SearchSpec, ledger: Ledger) -> None:
    search = open_search("run", spec, ledger, "recipe")
    candidate = search.propose()
    assert candidate is not None
    search.accept(Evaluation(candidate, "done", {"accuracy": 0.5}))
    assert search.failures[0].error.startswith("no bbox_mAP was measured, only accuracy")
    assert not search.fronts()[-1].evaluations


def test_a_small_space_ends_the_search(spec: SearchSpec, ledger: Ledger) -> None:
    space = spec.space.model_copy(update={"branches": (1,), "resolutions": (32,), "windows": ((None, 0),)})
    search = open_search("run", spec.model_copy(update={"space": space}), ledger, "recipe")
    assert len(drive(search)) == 3
    assert search.ending == "every design inside the limit was measured"


def test_the_clock_ends_the_search(spec: SearchSpec, ledger: Ledger) -> None:
    timed = spec.model_copy(update={"budget": spec.budget.model_copy(update={"hours": 1.0})})
    now = [0.0]
    inner = open_search("other", spec, ledger, "recipe")
    search = Search("run", timed, inner._policy, ledger, "recipe", clock=lambda: now[0])
    assert search.propose() is not None
    now[0] = 3601.0
    assert search.propose() is None
    assert search.ending == "the budget of hours is spent"


def test_the_ledger_says_why_each_candidate_was_proposed(spec: SearchSpec, ledger: Ledger) -> None:
    search = open_search("first", spec, ledger, "recipe")
    while (candidate := search.propose()) is not None:
        search.accept(fakes.measure(candidate))
    kept = [event.why for event in ledger.events("first") if isinstance(event, Candidate)]
    assert len(kept) == spec.budget.trials
    assert [why["source"] for why in kept[:4]] == ["start"] * 4
    guided = [why for why in kept if why["source"] == "gain"]
    assert guided
    for why in guided:
        expected, low, high = why["predicted"]
        assert low <= expected <= high
        assert why["gain"] > 0
        assert why["tier"] in spec.limit.gmacs
    tpe = open_search("second", spec.model_copy(update={"sampler": "tpe"}), ledger, "other recipe")
    proposed = tpe.propose()
    assert proposed is not None
    assert proposed.why == {"source": "TPESampler"}
