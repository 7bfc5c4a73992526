"""The search itself: propose, accept, front. It is passive: it owns what is decided and runs nothing.

Resuming and starting are the same: whatever the ledger holds of the run is replayed into the policy first, in the
order in which it happened, so that the policy is in the state in which the last sitting left it.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from piip_search.evaluation import Candidate, Evaluation
from piip_search.ledger import Ledger
from piip_search.legal import legal_designs
from piip_search.objectives import Objectives, ParetoFront, pareto_front
from piip_search.policy import Policy, Sampled
from piip_search.sampler import make_sampler
from piip_search.spec import SearchSpec
from piip_search.tracker import NoTracker, Tracker


class Search:
    """One search over one space, kept in one ledger.

    Attributes:
        run: Name under which the ledger knows it.
        spec: What is searched.
        objectives: What is traded off.
        evaluations: All that ended, in that order.
        running: Candidates that are being measured.
        replayed: How many evaluations earlier sittings had made.
        answered: How many candidates of this sitting the ledger answered from another run.
    """

    def __init__(
        self,
        run: str,
        spec: SearchSpec,
        policy: Policy,
        ledger: Ledger,
        recipe: str,
        tracker: Tracker | None = None,
        clock: Callable[[], float] = time.monotonic,
        question: str | None = None,
    ) -> None:
        """Opens the search and replays what the ledger holds of it.

        Args:
            run: Name under which the ledger knows it.
            spec: What is searched.
            policy: Who proposes.
            ledger: Where everything is kept.
            recipe: Fingerprint of data and training.
            tracker: Who mirrors it.
            clock: Seconds, for the budget of hours.
            question: Fingerprint of what is asked; the spec's by default.

        Raises:
            LedgerError: A run of that name asked something else.
        """
        self.run = run
        self.spec = spec
        self.objectives = objectives_of(spec)
        self.evaluations: list[Evaluation] = []
        self.running: dict[int, Candidate] = {}
        self.answered = 0
        self._policy = policy
        self._ledger = ledger
        self._recipe = recipe
        self._tracker = tracker or NoTracker()
        self._clock = clock
        self._started = clock()
        self._proposed = 0
        self._exhausted = False
        content = spec.model_dump(mode="json")
        ledger.start(run, question or spec.question, recipe, content)
        self._tracker.begin(run, content, self.objectives)
        self._replay()
        self.replayed = len(self.evaluations)
        # What was cut off goes first, under its old number, so that it continues from its checkpoint.
        self._again = deque(self.running.values())
        self.running.clear()

    def propose(self) -> Candidate | None:
        """The next candidate to measure, noted in the ledger; None when there is nothing more to start."""
        if self._again:
            candidate = self._again.popleft()
            self.running[candidate.number] = candidate
            return candidate
        while self._proposed < self.trials and not self._exhausted and not self._out_of_time():
            proposal = self._policy.ask(self._proposed)
            if proposal is None:
                self._exhausted = True
                break
            candidate = proposal
            self._ledger.propose(self.run, candidate, self._recipe)
            self._note(candidate)
            known = self._ledger.find(candidate.key(self._recipe))
            if known is None:
                return candidate
            other, evaluation = known
            facts = {**evaluation.facts, "answered_from": f"{other}/{evaluation.candidate.number}"}
            self.answered += 1
            self.accept(replace(evaluation, candidate=candidate, seconds=0.0, facts=facts))
        return None

    def accept(self, evaluation: Evaluation) -> None:
        """Keeps an evaluation, learns from it and mirrors it. A second answer for one candidate is passed over."""
        if evaluation.candidate.number not in self.running:
            return
        evaluation = self._with_metric(evaluation)
        self._ledger.accept(self.run, evaluation, self._recipe)
        self._learn(evaluation)

    def finish(self) -> None:
        """Ends the sitting."""
        self._tracker.finish(self.fronts)

    def fronts(self) -> tuple[ParetoFront, ...]:
        """The front of each tier, the cheapest tier first."""
        tiers = self.spec.bounds.gmacs
        return tuple(pareto_front(self.evaluations, self.objectives, tier) for tier in tiers)

    @property
    def trials(self) -> int:
        """How many candidates this search will measure at most."""
        return self._policy.most

    @property
    def failures(self) -> list[Evaluation]:
        """Evaluations that failed."""
        return [evaluation for evaluation in self.evaluations if evaluation.status == "failed"]

    @property
    def ending(self) -> str:
        """Why nothing more is proposed; empty while more may be."""
        if self._again:
            return ""
        if self._exhausted:
            return "every design inside the limit was measured"
        if self._proposed >= self.trials:
            return "the budget of trials is spent"
        return "the budget of hours is spent" if self._out_of_time() else ""

    @property
    def elapsed(self) -> float:
        """Seconds since this sitting began."""
        return self._clock() - self._started

    def _out_of_time(self) -> bool:
        hours = self.spec.budget.hours
        return hours is not None and self.elapsed >= hours * 3600

    def _replay(self) -> None:
        for item in self._ledger.events(self.run):
            if isinstance(item, Candidate):
                self._policy.ask(item.number, recorded=item)
                self._note(item)
            else:
                self._learn(item)

    def _note(self, candidate: Candidate) -> None:
        self.running[candidate.number] = candidate
        self._proposed = max(self._proposed, candidate.number + 1)

    def _learn(self, evaluation: Evaluation) -> None:
        del self.running[evaluation.candidate.number]
        self.evaluations.append(evaluation)
        self._policy.tell(evaluation)
        self._tracker.record(evaluation, self.fronts)

    def _with_metric(self, evaluation: Evaluation) -> Evaluation:
        """An evaluation without the searched metric is a failed one, and says so."""
        if evaluation.status == "failed" or self.objectives.value(evaluation) is not None:
            return evaluation
        measured = ", ".join(evaluation.metrics)
        error = f"no {self.objectives.metric} was measured, only {measured}; set metric to one of these"
        return replace(evaluation, status="failed", error=error)


def open_search(run: str, spec: SearchSpec, ledger: Ledger, recipe: str, tracker: Tracker | None = None) -> Search:
    """A search with the sampler that its space names."""
    space, designs = legal_designs(spec)
    trials = spec.budget.trials
    sampler = make_sampler(spec.sampler, space, designs, trials, spec.seed, spec.bounds.gmacs)
    objectives = objectives_of(spec)
    policy = Sampled(sampler, objectives, trials, spec.fidelity.build(), spec.seed, spec.training.inherit)
    return Search(run, spec, policy, ledger, recipe, tracker)


def objectives_of(spec: SearchSpec) -> Objectives:
    """What a search trades off."""
    return Objectives(spec.metric, spec.limit.convention, spec.detector)
