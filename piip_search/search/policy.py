"""Policies: propose whole candidates and learn from whole evaluations."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from piip_search.architecture import Architecture
from piip_search.architecture.design import Design, as_architecture
from piip_search.config import SearchSpec
from piip_search.cost.kinship import nearest
from piip_search.evaluation.evaluation import Candidate, Evaluation, Fidelity
from piip_search.evaluation.objectives import Objectives
from piip_search.evaluation.reason import Reason
from piip_search.search.ending import TRIALS_SPENT
from piip_search.search.halving import Halving
from piip_search.search.samplers.suggestion import Sampler, Suggestion


class Policy(Protocol):
    """Proposes candidates, one at a time, and learns from their evaluations."""

    @property
    def expected(self) -> int:
        """Approximate number of candidates in all."""
        ...

    @property
    def ending(self) -> str:
        """The reason why it has no proposal until the next evaluation; empty while it may have one."""
        ...

    def ask(self, number: int, recorded: Candidate | None = None) -> Candidate | None:
        """The next candidate to measure; None for none until the next evaluation, or ever.

        Args:
            number: The candidate's number.
            recorded: Candidate that an earlier sitting proposed at this point. It is proposed again, and the policy
                goes through the same states as then.
        """
        ...

    def tell(self, evaluation: Evaluation) -> None:
        """Learns from a candidate's evaluation."""
        ...

    def close(self, why: str) -> None:
        """Stops new designs; trials of designs that have started may go on."""
        ...


class SamplerPolicy:
    """A sampler's designs under a schedule that selects which of them are trained to the end."""

    def __init__(
        self,
        sampler: Sampler,
        objectives: Objectives,
        trials: int,
        rungs: Sequence[Fidelity],
        seed: int,
        halving: Halving[Design],
        inherit: bool = False,
    ) -> None:
        """Combines a sampler and a schedule.

        Args:
            sampler: Sampler that proposes architectures.
            objectives: Objectives for the sampler.
            trials: Number of architectures to propose.
            rungs: Fidelities, the full training last.
            seed: Seed of weights and data order.
            halving: Schedule that promotes designs from one rung to the next.
            inherit: Whether a candidate starts from the nearest relative's weights.
        """
        self._sampler = sampler
        self._objectives = objectives
        self._trials = trials
        self._rungs = tuple(rungs)
        self._seed = seed
        self._halving = halving
        self._first: dict[Design, Candidate] = {}
        self._closed = ""
        self._trained: dict[Architecture, str] | None = {} if inherit else None

    @property
    def expected(self) -> int:
        return self._halving.expected(len(self._first) if self._closed else self._trials)

    @property
    def ending(self) -> str:
        return self._closed or (TRIALS_SPENT if len(self._first) >= self._trials else "")

    def close(self, why: str) -> None:
        self._closed = self._closed or why

    def ask(self, number: int, recorded: Candidate | None = None) -> Candidate | None:
        if recorded is not None:
            if recorded.design not in self._first:
                self._sampler.ask(recorded=recorded.design)
            return self._begun(recorded)
        going = self._halving.promotion(closed=bool(self.ending))
        if going is not None:
            design, rung = going
            first = self._first[design]
            reason = Reason("promotion", first=first.number, rung=rung)
            return self._begun(replace(first, number=number, fidelity=self._rungs[rung], reason=reason))
        if self.ending:
            return None
        suggestion = self._sampler.ask()
        if suggestion is None:
            self.close("every design inside the limit was measured")
            return self.ask(number)
        fidelity, parent = self._rungs[self._halving.first_rung()], self._parent(suggestion.design)
        return self._begun(Candidate(number, suggestion.design, fidelity, self._seed, parent, self._reason(suggestion)))

    def _parent(self, design: Design) -> str | None:
        """Name of the weights that a design starts from: those of its nearest relative."""
        if not self._trained:
            return None
        relative = nearest(as_architecture(design), self._trained)
        return None if relative is None else self._trained[relative]

    def tell(self, evaluation: Evaluation) -> None:
        candidate = evaluation.candidate
        design, rung = candidate.design, self._rungs.index(candidate.fidelity)
        measured = self._objectives.value(evaluation) is not None
        losses = self._objectives.losses([evaluation])[0]
        self._halving.record(design, rung, losses.tolist() if measured else None)
        if not measured or rung == self._halving.last:
            self._sampler.tell(design, losses if measured else None)
        else:
            self._sampler.report(design, candidate.fidelity.epochs, losses[: len(self._objectives.metrics)].tolist())
        # An answer from another run has no weights here.
        if self._trained is not None and measured and not evaluation.facts.answered_from:
            self._trained[candidate.architecture] = candidate.weights

    def _begun(self, candidate: Candidate) -> Candidate:
        self._first.setdefault(candidate.design, candidate)
        cost = self._objectives.price(candidate.design)
        self._halving.start(candidate.design, self._rungs.index(candidate.fidelity), cost)
        return candidate

    def _reason(self, suggestion: Suggestion) -> Reason:
        """The sampler's reason, with the metric in place of its loss."""
        if suggestion.expected is None:
            return suggestion.reason
        value, (loss, *ends) = self._objectives.metrics[0].value, suggestion.expected
        low, high = sorted(map(value, ends))
        return replace(suggestion.reason, predicted=(value(loss), low, high))


class FixedPolicy:
    """A fixed list of candidates."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = tuple(candidates)
        self._next = 0

    @property
    def expected(self) -> int:
        return len(self._candidates)

    @property
    def ending(self) -> str:
        return "all that was listed is measured" if self._next >= len(self._candidates) else ""

    def ask(self, number: int, recorded: Candidate | None = None) -> Candidate | None:
        if number >= len(self._candidates):
            return None
        self._next = number + 1
        return self._candidates[number]

    def tell(self, evaluation: Evaluation) -> None:
        """Does nothing: the list is fixed."""

    def close(self, why: str) -> None:
        """Does nothing: see `tell`."""


def halving_of(spec: SearchSpec, metrics: int = 1) -> Halving[Design]:
    """The schedule of a space. A space without one has a single rung, at which every design is fully trained."""
    keep, brackets = spec.promoted
    return Halving([rung.epochs for rung in spec.rungs], keep, spec.bounds.tiers, brackets, metrics)
