from collections.abc import Sequence
from pathlib import Path

import pytest

from piip_search.architecture.design import Design
from piip_search.config import SearchSpec, parse_spec
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.evaluation.reason import Reason
from piip_search.ledger import Ledger, LedgerError
from piip_search.search.feasible import feasible_designs
from piip_search.search.samplers.sampler import make_sampler
from piip_search.search.samplers.suggestion import Sampler
from piip_search.search.search import Search, open_search, policy_of
from support import fakes


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
    return [(e.candidate.number, e.candidate.design.name) for e in search.evaluations]


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


def test_an_interruption_is_in_the_log(spec: SearchSpec, ledger: Ledger) -> None:
    search = open_search("run", spec, ledger, "recipe")
    search.note_stop()
    assert [act.what for act in ledger.actions("run")] == ["began", "stopped"]


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
    answered = [e for e in second.evaluations if e.facts.answered_from]
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
    kept = [event.reason for event in ledger.events("first") if isinstance(event, Candidate)]
    assert len(kept) == spec.budget.trials
    assert [reason.source for reason in kept[:4]] == ["start"] * 4
    guided = [reason for reason in kept if reason.source == "gain"]
    assert guided
    for reason in guided:
        assert reason.predicted is not None
        assert reason.gain is not None
        expected, low, high = reason.predicted
        assert low <= expected <= high
        assert reason.gain > 0
        assert reason.tier in spec.limit.tiers
    tpe = open_search("second", spec.model_copy(update={"sampler": "tpe"}), ledger, "other recipe")
    proposed = tpe.propose()
    assert proposed is not None
    assert proposed.reason == Reason("TPESampler")


def changed(spec: SearchSpec, **settings: object) -> SearchSpec:
    return parse_spec({**spec.model_dump(mode="json"), **settings})


def halved(spec: SearchSpec, sampler: str = "piip") -> SearchSpec:
    schedule = {"rungs": [1, 3], "keep": 3}
    return changed(spec, sampler=sampler, schedule=schedule, fidelity={"epochs": 9}, budget={"trials": 18})


def work_off(search: Search, workers: int = 3, stop_after: int = 10**9) -> list[Candidate]:
    """Several candidates in flight; whoever waits is asked again when something ended."""
    proposed: list[Candidate] = []
    waiting: list[Candidate] = []
    while len(proposed) < stop_after:
        candidate = search.propose() if len(waiting) < workers else None
        if candidate is not None:
            proposed.append(candidate)
            waiting.append(candidate)
        elif waiting:
            search.accept(fakes.measure(waiting.pop(0)))
        else:
            break
    return proposed


@pytest.mark.parametrize("sampler", ["piip", "tpe", "random"])
def test_designs_are_trained_further_rung_by_rung(spec: SearchSpec, ledger: Ledger, sampler: str) -> None:
    search = open_search("run", halved(spec, sampler), ledger, "recipe")
    proposed = work_off(search)
    epochs = [candidate.fidelity.epochs for candidate in proposed]
    assert epochs.count(1) == 18
    assert 6 <= epochs.count(3) < 18
    assert 2 <= epochs.count(9) <= epochs.count(3)
    assert search.ending == "the budget of trials is spent"
    # Each goes on from where it paused: the same training, and never twice the same rung.
    assert len({(c.architecture, c.fidelity) for c in proposed}) == len(proposed)
    trainings = {c.architecture: c.training for c in proposed}
    assert all(c.training == trainings[c.architecture] for c in proposed)
    # Only what was trained to the end is on a front.
    members = [e for front in search.fronts() for e in front.evaluations]
    assert members
    assert all(e.candidate.fidelity.epochs == 9 for e in members)


@pytest.mark.slow
@pytest.mark.parametrize("cut", [1, 7, 13, 20, 26])
@pytest.mark.parametrize("sampler", ["piip", "random"])
def test_a_killed_search_promotes_the_same_designs(
    spec: SearchSpec, ledger: Ledger, tmp_path: Path, cut: int, sampler: str
) -> None:
    spec = halved(spec, sampler)
    undisturbed = open_search("run", spec, Ledger(f"sqlite:///{tmp_path}/other.db"), "recipe")
    work_off(undisturbed, workers=1)
    work_off(open_search("run", spec, ledger, "recipe"), workers=1, stop_after=cut)
    search = open_search("run", spec, ledger, "recipe")
    work_off(search, workers=1)
    assert [e.candidate for e in search.evaluations] == [e.candidate for e in undisturbed.evaluations]


class Listening:
    """A sampler that remembers what it is told."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler, self.ask = sampler, sampler.ask
        self.told: list[Design] = []
        self.reported: set[Design] = set()

    def tell(self, design: Design, losses: Sequence[float] | None) -> None:
        self.told.append(design)
        self._sampler.tell(design, losses)

    def report(self, design: Design, epochs: int, losses: Sequence[float]) -> None:
        self.reported.add(design)
        self._sampler.report(design, epochs, losses)


def test_paused_trials_are_never_told_as_complete(spec: SearchSpec, ledger: Ledger) -> None:
    spec = halved(spec)
    space, designs = feasible_designs(spec)
    sampler = Listening(make_sampler("random", space, designs, spec.budget.trials, seed=0))
    search = Search("run", spec, policy_of(spec, sampler), ledger, "recipe")
    work_off(search)
    assert sampler.told == [e.candidate.design for e in search.finished]
    assert len(sampler.told) < len(sampler.reported) == 18


def test_fresh_measures_what_another_run_measured(spec: SearchSpec, ledger: Ledger) -> None:
    spec = changed(spec, sampler="random")
    drive(open_search("first", spec, ledger, "recipe"))
    assert drive(open_search("second", spec, ledger, "recipe")) == []
    assert len(drive(open_search("third", spec, ledger, "recipe", fresh=True))) == spec.budget.trials


def test_a_target_ends_the_search(spec: SearchSpec, ledger: Ledger) -> None:
    tier = min(spec.limit.tiers)
    aimed = changed(spec, budget={"trials": 30, "target": f"best <= {tier} G >= 0.2"})
    search = open_search("run", aimed, ledger, "recipe")
    drive(search)
    assert search.ending == "the target is reached"
    assert search.objectives.value(search.fronts()[0].best) >= 0.2  # type: ignore[arg-type, operator]
    assert len(search.evaluations) < 30
    again = open_search("run", aimed, ledger, "recipe")
    assert again.propose() is None


def test_gpu_hours_are_spent_over_all_sittings(spec: SearchSpec, ledger: Ledger) -> None:
    # Half a second each on half a GPU: a quarter of a second of a GPU a trial.
    limited = changed(spec, budget={"trials": 12, "gpu_hours": 1.125 / 3600}, resources={"gpu": 0.5})
    drive(open_search("run", limited, ledger, "recipe"), stop_after=3)
    search = open_search("run", limited, ledger, "recipe")
    work_off(search, workers=1)
    assert search.ending == "the budget of GPU-hours is spent"
    assert len(search.evaluations) == 5


def test_a_search_ends_when_little_is_left_to_gain(spec: SearchSpec, ledger: Ledger) -> None:
    patient = changed(spec, budget={"trials": 60, "least_gain": 0.001})
    search = open_search("run", patient, ledger, "recipe")
    work_off(search, workers=1)
    assert search.ending == "no tier is expected to improve by 0.001 bbox_mAP"
    assert len(search.evaluations) < 60
    assert set(search.left) == set(spec.limit.tiers)
    assert all(gain < 0.001 for gain in search.left.values())
