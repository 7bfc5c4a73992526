"""What every implementation of an interface must do: subclass and give the fixture."""

from collections.abc import Callable
from pathlib import Path

import pytest

from piip_search.config import SearchSpec, parse_spec
from piip_search.cost import price
from piip_search.evaluation.evaluation import Candidate, Evaluation, Fidelity
from piip_search.ledger import Ledger
from piip_search.search.feasible import feasible_designs
from piip_search.search.samplers.sampler import Sampler
from piip_search.search.search import Search, open_search
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
        assert all(price(e.candidate.architecture, limit.convention).gmacs <= limit.tiers[-1] for e in kept)
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
