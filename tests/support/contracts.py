"""What every implementation of an interface must do: subclass and give the fixture."""

import json
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from piip_search.api import evaluators
from piip_search.api.runners import Place
from piip_search.config import SearchSpec, parse_spec
from piip_search.errors import NotPreparedError
from piip_search.evaluation.evaluation import Candidate, Evaluation, Fidelity
from piip_search.ledger import Ledger
from piip_search.search.feasible import feasible_designs
from piip_search.search.samplers.suggestion import Sampler
from piip_search.search.search import Search, open_search
from piip_workers.evaluators.preparation import STATE_FILE, PreparationState, state_of
from piip_workers.jobs.job import Work
from piip_workers.runners import local
from support import fakes
from support.trades import trade

MakeSampler = Callable[[int], Sampler]


def losses(candidate: Candidate) -> list[float]:
    evaluation = Evaluation(candidate, "done", {"bbox_mAP": fakes.quality(candidate)})
    return trade().losses([evaluation])[0].tolist()


class SamplerContract:
    """Give `make`: a sampler for the seed, over the legal designs of the fixture `spec`."""

    @pytest.fixture
    def make(self, spec: SearchSpec) -> MakeSampler:
        raise NotImplementedError

    def drive(self, sampler: Sampler, asks: int, replay: list[str] | None = None) -> list[str]:
        """Asks with two proposals in flight; every seventh fails."""
        from piip_search.architecture import Architecture

        names: list[str] = []
        waiting: list[Candidate] = []
        for number in range(asks):
            recorded = Architecture.parse(replay[number]) if replay and number < len(replay) else None
            suggestion = sampler.ask(recorded)
            if suggestion is None:
                break
            names.append(suggestion.design.name)
            waiting.append(Candidate(number, suggestion.design, Fidelity()))
            if len(waiting) == 2:
                candidate = waiting.pop(0)
                sampler.tell(candidate.design, None if candidate.number % 7 == 6 else losses(candidate))
        return names

    def test_proposes_every_legal_design_once_and_ends(self, make: MakeSampler, spec: SearchSpec) -> None:
        space, designs = feasible_designs(spec)
        names = self.drive(make(0), asks=len(designs) + 5)
        assert sorted(names) == sorted(space.decode(row).name for row in designs.rows_ND)

    def test_equal_seeds_repeat_and_others_do_not(self, make: MakeSampler) -> None:
        assert self.drive(make(1), 30) == self.drive(make(1), 30)
        assert self.drive(make(1), 30) != self.drive(make(2), 30)

    def test_a_replay_ends_in_the_same_state(self, make: MakeSampler) -> None:
        whole = self.drive(make(3), 40)
        assert self.drive(make(3), 40, replay=whole[:17]) == whole

    def test_a_replay_proposes_what_is_recorded_even_if_it_would_not(self, make: MakeSampler) -> None:
        foreign = self.drive(make(5), 5)
        assert self.drive(make(6), 10, replay=foreign)[:5] == foreign


Run = Callable[[Search, Path], None]


class RunnerContract:
    """Give `run`: drives a search to its end with `fakes.measure`, where candidates 2 and 5 raise."""

    @pytest.fixture
    def run(self) -> Run:
        raise NotImplementedError

    def test_every_trial_ends_and_failures_are_kept(self, run: Run, spec: SearchSpec, tmp_path: Path) -> None:
        ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
        search = open_search("run", spec, ledger, "recipe")
        run(search, tmp_path)
        kept = Ledger(f"sqlite:///{tmp_path}/ledger.db").evaluations("run")
        assert sorted(e.candidate.number for e in kept) == list(range(spec.budget.trials))
        assert {e.candidate.number for e in kept if e.status == "failed"} == {2, 5}
        assert all("out of luck" in e.error for e in kept if e.status == "failed")
        assert len({e.candidate.architecture for e in kept}) == len(kept)
        limit = spec.bounds
        assert all(limit.cost_axis.of(e.candidate.architecture) <= limit.tiers[-1] for e in kept)
        assert not search.running
        assert search.ending == "the budget of trials is spent"
        assert search.fronts()[-1].evaluations

    def test_designs_go_on_rung_by_rung(self, run: Run, spec: SearchSpec, tmp_path: Path) -> None:
        halved = parse_spec(
            {**spec.model_dump(mode="json"), "fidelity": {"epochs": 4}, "schedule": {"rungs": [1, 2], "keep": 2}}
        )
        search = open_search("run", halved, Ledger(f"sqlite:///{tmp_path}/ledger.db"), "recipe")
        run(search, tmp_path)
        epochs = [e.candidate.fidelity.epochs for e in search.evaluations]
        assert epochs.count(1) == spec.budget.trials
        assert epochs.count(1) > epochs.count(2) > 0 < epochs.count(4)
        assert {e.candidate.number for e in search.failures} == {2, 5}
        assert not search.running
        assert search.fronts()[-1].evaluations


Measure = Callable[[SearchSpec, Path, Search], Work]


@dataclass(frozen=True)
class OpenEvaluator:
    """A search that is open in a home folder, with its evaluator."""

    home: Path
    search: Search
    work: Work
    preparation: evaluators.Preparation | None

    def prepare(self) -> list[str]:
        """Prepares what there is to prepare; what was told meanwhile."""
        told: list[str] = []
        evaluators.prepare(self.search, self.preparation, told.append)
        return told

    @property
    def folder(self) -> Path:
        assert self.preparation is not None
        return self.home / evaluators.PREPARED_FOLDER / self.preparation.digest

    def state(self) -> PreparationState:
        state = state_of(self.folder)
        assert state is not None
        return state


def opened(spec: SearchSpec, home: Path, measure: Measure, name: str = "run", on: Place = Place.LOCAL) -> OpenEvaluator:
    """Opens a search as the use cases do, for data that are called `data`."""
    home.mkdir(exist_ok=True)
    search = open_search(name, spec, Ledger(f"sqlite:///{home}/ledger.db"), spec.recipe("data"))
    alone = measure(spec, home, search)
    return OpenEvaluator(home, search, *evaluators.evaluator_of(spec, alone, search, "data", home, on))


def _elsewhere(work: str, candidate: str) -> str:
    """Measures in a process that got nothing but two texts."""
    evaluation = Work(**json.loads(work))(Candidate.from_dict(json.loads(candidate)))
    return json.dumps(evaluation.to_dict())


def in_another_process(work: Work, candidate: Candidate) -> Evaluation:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        text = pool.submit(_elsewhere, json.dumps(work.to_dict()), json.dumps(candidate.to_dict())).result(120)
    return Evaluation.from_dict(json.loads(text))


def answer(evaluation: Evaluation) -> tuple[object, ...]:
    """What does not depend on the clock and the process."""
    return evaluation.status, evaluation.error, dict(evaluation.metrics), evaluation.history


class EvaluatorContract:
    """Give `chosen`, a small search with the evaluator; `others`, with other settings; `measure`, of the task."""

    @pytest.fixture
    def chosen(self) -> SearchSpec:
        raise NotImplementedError

    @pytest.fixture
    def others(self) -> list[SearchSpec]:
        raise NotImplementedError

    @pytest.fixture
    def measure(self) -> Measure:
        return lambda spec, home, search: Work("support.fakes:measure")

    @pytest.fixture
    def ready(self, chosen: SearchSpec, measure: Measure, tmp_path: Path) -> OpenEvaluator:
        """An evaluator that is prepared."""
        found = opened(chosen, tmp_path / "home", measure)
        found.prepare()
        return found

    def test_its_settings_are_part_of_the_recipe(self, chosen: SearchSpec, others: list[SearchSpec]) -> None:
        found = [spec.recipe("data") for spec in (chosen, *others)]
        assert len({*found, chosen.recipe("other data")}) == len(found) + 1
        assert parse_spec(chosen.model_dump(mode="json")).recipe("data") == found[0]

    def test_equal_candidates_have_equal_evaluations_also_elsewhere(self, ready: OpenEvaluator) -> None:
        candidate = ready.search.propose()
        assert candidate is not None
        first, again = ready.work(candidate), ready.work(replace(candidate, number=7))
        assert first.status == "done", first.error
        assert answer(again) == answer(first)
        assert answer(in_another_process(ready.work, candidate)) == answer(first)

    def test_an_evaluation_survives_json(self, ready: OpenEvaluator) -> None:
        candidate = ready.search.propose()
        assert candidate is not None
        evaluation = ready.work(candidate)
        assert Evaluation.from_dict(json.loads(json.dumps(evaluation.to_dict()))) == evaluation

    def test_a_search_goes_on_with_equal_proposals(self, chosen: SearchSpec, measure: Measure, tmp_path: Path) -> None:
        names = []
        for home, first in (("straight", 0), ("cut", 2)):
            begun = opened(chosen, tmp_path / home, measure)
            begun.prepare()
            for _ in range(first):
                candidate = begun.search.propose()
                assert candidate is not None
                begun.search.accept(begun.work(candidate))
            on = opened(chosen, tmp_path / home, measure)
            on.prepare()
            local.run(on.search, on.work)
            assert (on.search.replayed, len(on.search.failures), on.search.halted) == (first, 0, False)
            names.append([evaluation.candidate.design.name for evaluation in on.search.evaluations])
        assert names[0] == names[1]
        assert len(set(names[0])) == chosen.budget.trials


class PreparingEvaluatorContract(EvaluatorContract):
    """Give also `slow`: a search whose preparation takes a second at least, and reports on its way."""

    @pytest.fixture
    def slow(self) -> SearchSpec:
        raise NotImplementedError

    def test_it_is_not_asked_before_it_is_prepared(self, chosen: SearchSpec, measure: Measure, tmp_path: Path) -> None:
        found = opened(chosen, tmp_path / "home", measure)
        local.run(found.search, found.work)
        assert found.search.halted
        assert found.search.evaluations == []
        assert "an evaluator answers after its preparation" in found.search.ending
        assert "it goes on where it stopped" in found.search.ending

    def test_it_is_prepared_once(self, ready: OpenEvaluator, chosen: SearchSpec, measure: Measure) -> None:
        assert ready.state().state == "done"
        before = {path: path.read_bytes() for path in ready.folder.rglob("*") if path.is_file()}
        assert ready.prepare() == []
        later = opened(chosen, ready.home, measure)
        assert later.prepare() == []
        assert {path: path.read_bytes() for path in ready.folder.rglob("*") if path.is_file()} == before
        assert [step.state for step in later.search.preparations] == ["running", "done"]

    def test_the_search_that_prepared_it_is_charged_once(
        self, ready: OpenEvaluator, chosen: SearchSpec, measure: Measure
    ) -> None:
        seconds = ready.state().seconds[ready.search.uid]
        other = opened(chosen, ready.home, measure, "other")
        assert other.prepare() == []
        first, second = (
            [(step.state, step.uid, step.seconds) for step in found.search.preparations] for found in (ready, other)
        )
        uid = ready.state().uid
        assert first == [("running", "", 0.0), ("done", uid, seconds)]
        assert second == [("running", "", 0.0), ("done", uid, 0.0)]

    def test_a_killed_preparation_goes_on(self, slow: SearchSpec, measure: Measure, tmp_path: Path) -> None:
        cut = opened(slow, tmp_path / "cut", measure)
        assert cut.preparation is not None
        process = multiprocessing.get_context("spawn").Process(target=_prepared_elsewhere, args=(cut.preparation.run,))
        process.start()
        _await(lambda: (cut.folder / STATE_FILE).exists() and cut.state().share > 0)
        process.kill()
        process.join()
        half = cut.state()
        assert half.state == "running"
        assert half.share < 1
        candidate = cut.search.propose()
        assert candidate is not None
        with pytest.raises(NotPreparedError, match=f"has {half.share:.0%} of it"):
            cut.work(candidate)

        cut.prepare()
        whole = cut.state()
        assert whole.state == "done"
        assert whole.uid == half.uid
        assert whole.seconds[cut.search.uid] > half.seconds[cut.search.uid]
        assert sum(step.seconds for step in cut.search.preparations) == whole.seconds[cut.search.uid]
        straight = opened(slow, tmp_path / "straight", measure)
        straight.prepare()
        assert dict(whole.facts) == dict(straight.state().facts)
        assert answer(cut.work(candidate)) == answer(straight.work(candidate))

    def test_two_searches_at_once_prepare_it_once(self, slow: SearchSpec, measure: Measure, tmp_path: Path) -> None:
        one, other = (opened(slow, tmp_path / "home", measure, name) for name in ("one", "other"))
        assert one.preparation is not None
        process = multiprocessing.get_context("spawn").Process(target=_prepared_elsewhere, args=(one.preparation.run,))
        process.start()
        _await(lambda: (one.folder / STATE_FILE).exists() and one.state().share > 0)
        assert "so this one waits for its end" in other.prepare()[0]
        process.join(60)
        assert one.prepare() == []
        seconds = other.state().seconds
        assert list(seconds) == [one.search.uid]
        assert [sum(step.seconds for step in found.search.preparations) for found in (one, other)] == [
            seconds[one.search.uid],
            0.0,
        ]

    def test_answers_of_another_preparation_are_not_taken(
        self, ready: OpenEvaluator, others: list[SearchSpec], measure: Measure
    ) -> None:
        local.run(ready.search, ready.work)
        for number, spec in enumerate(others):
            found = opened(spec, ready.home, measure, f"other-{number}")
            found.prepare()
            local.run(found.search, found.work)
            assert found.search.answered == 0
        again = opened(ready.search.spec, ready.home, measure, "again")
        again.prepare()
        local.run(again.search, again.work)
        assert again.search.answered == len(ready.search.evaluations)


def _await(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _silent(share: float, text: str) -> None:
    pass


def _prepared_elsewhere(run: Callable[[Callable[[float, str], None]], PreparationState]) -> None:
    run(_silent)
