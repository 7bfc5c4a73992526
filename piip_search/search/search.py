"""The search itself: propose, accept, front. It is passive: it owns what is decided and runs nothing.

Resuming and starting are the same: whatever the ledger holds of the run is replayed into the policy first, in the
order in which it happened, so that the policy is in the state in which the last sitting left it.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from piip_search.config import SearchSpec
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.evaluation.objectives import Objectives, ParetoFront
from piip_search.evaluation.tracker import NoTracker, Tracker
from piip_search.ledger import Circumstances, FrontSnapshot, Ledger
from piip_search.search.feasible import feasible_designs
from piip_search.search.history import RunHistory
from piip_search.search.policy import Policy, SamplerPolicy, halving_of
from piip_search.search.samplers.published_prior import published_prior
from piip_search.search.samplers.sampler import Sampler, make_sampler


class Search:
    """One search over one space, kept in one ledger.

    Attributes:
        run: Name under which the ledger knows it.
        uid: Its name in every ledger.
        spec: What is searched.
        recipe: Fingerprint of data and training.
        history: All that happened in the run, and what follows from it.
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
        fresh: bool = False,
        objectives: Objectives | None = None,
        data: str = "",
        circumstances: Circumstances | None = None,
        audit_of: str | None = None,
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
            fresh: Whether everything is measured anew, whatever the ledger holds of other runs.
            objectives: What is traded off; the spec's by default.
            data: Fingerprint of the data.
            circumstances: Where, and with what, this process drives the search.
            audit_of: The search whose proxies are audited, by its name in every ledger; None for a search.

        Raises:
            LedgerError: A run of that name asked something else, or another process drives it.
        """
        self.run = run
        self.spec = spec
        self.recipe = recipe
        self.history = RunHistory(spec, objectives=objectives)
        self.running: dict[int, Candidate] = {}
        self.answered = 0
        self._policy = policy
        self._ledger = ledger
        self._tracker = tracker or NoTracker()
        self._clock = clock
        self._started = clock()
        self._fresh = fresh
        self._proposed = 0
        self._since: dict[int, float] = {}
        content = spec.model_dump(mode="json")
        self.uid = ledger.start(run, question or spec.question, recipe, content, data, circumstances, audit_of)
        self._tracker.begin(run, content, self.objectives)
        self._replay()
        self.replayed = len(self.evaluations)
        # What was cut off goes first, under its old number, so that it continues from its checkpoint.
        self._again = deque(self.running.values())
        self.running.clear()
        self._halted = ""

    def propose(self) -> Candidate | None:
        """The next candidate to measure, noted in the ledger; None when there is nothing to start.

        While something is `running`, its evaluation may bring new candidates about.
        """
        if self._halted:
            return None
        if self._again:
            candidate = self._again.popleft()
            self.running[candidate.number] = candidate
            self._since[candidate.number] = self._clock()
            return candidate
        while not self.history.spent(self.elapsed / 3600):
            proposal = self._policy.ask(self._proposed)
            if proposal is None:
                break
            candidate = proposal
            self._ledger.propose(self.run, candidate, self.recipe)
            self._note(candidate)
            known = None if self._fresh else self._ledger.find(candidate.key(self.recipe))
            if known is None:
                self._since[candidate.number] = self._clock()
                return candidate
            other, evaluation = known
            facts = replace(evaluation.facts, answered_from=f"{other}/{evaluation.candidate.number}")
            self.answered += 1
            self.accept(replace(evaluation, candidate=candidate, seconds=0.0, facts=facts))
        return None

    def accept(self, evaluation: Evaluation) -> None:
        """Keeps an evaluation, learns from it and mirrors it. A second answer for one candidate is passed over."""
        if evaluation.candidate.number not in self.running:
            return
        evaluation = self._with_metric(evaluation)
        moved = zip(self.history.fronts_with(evaluation), self.history.fronts, strict=True)
        snapshots = [
            FrontSnapshot(front.tier, tuple(e.candidate.number for e in front.evaluations), front.hypervolume)
            for front, before in moved
            if front is not before
        ]
        self._ledger.accept(self.run, evaluation, self.recipe, self.history.gpu_seconds_of(evaluation), snapshots)
        self._learn(evaluation)

    def halt(self, candidate: Candidate, why: str) -> None:
        """A candidate could not be measured, and not by its own fault: nothing more is begun in this sitting.

        The ledger knows it as unfinished, so that the next sitting takes it up.

        Args:
            candidate: What was to be measured.
            why: What is at fault, and what can be done about it.
        """
        self.running.pop(candidate.number, None)
        self.stop(why)

    def stop(self, why: str) -> None:
        """Nothing more is begun in this sitting.

        Args:
            why: What is at fault, and what can be done about it.
        """
        self._halted = self._halted or why

    def postpone(self, candidate: Candidate) -> None:
        """A candidate whose measurement never began: it is proposed again."""
        if self.running.pop(candidate.number, None) is not None:
            self._again.append(candidate)

    def finish(self) -> None:
        """Ends the sitting."""
        self._tracker.finish(self.fronts())

    @property
    def objectives(self) -> Objectives:
        """Metric and cost that are traded off."""
        return self.history.objectives

    @property
    def evaluations(self) -> list[Evaluation]:
        """All evaluations, in the order in which they ended."""
        return self.history.evaluations

    @property
    def finished(self) -> list[Evaluation]:
        """Evaluations of whole trainings, the failed ones included."""
        return self.history.finished

    @property
    def failures(self) -> list[Evaluation]:
        """Evaluations that failed."""
        return self.history.failed

    @property
    def left(self) -> dict[float, float]:
        """Expected remaining gain of each tier; as for `RunHistory.left`."""
        return self.history.left

    def fronts(self) -> tuple[ParetoFront, ...]:
        """The front of each tier, the cheapest tier first."""
        return self.history.fronts

    def choose(self, choice: str) -> tuple[Evaluation, ...]:
        """The designs that a user means; as for `RunHistory.choose`."""
        return self.history.choose(choice)

    @property
    def expected(self) -> int:
        """About how many candidates this search will measure in all."""
        return max(self._policy.expected, len(self.evaluations) + len(self.running))

    @property
    def ending(self) -> str:
        """Why nothing more is proposed; empty while more may be."""
        if self._halted:
            return self._halted
        if self._again:
            return ""
        return self.history.spent(self.elapsed / 3600) or ("" if self.running else self._policy.ending)

    @property
    def halted(self) -> bool:
        """Whether something that a person has to mend stopped this sitting."""
        return bool(self._halted)

    @property
    def measured_nothing(self) -> bool:
        """Whether every trial failed; as for `RunHistory.measured_nothing`."""
        return self.history.measured_nothing

    @property
    def running_seconds(self) -> dict[Candidate, float]:
        """For how long what is being measured has been."""
        now = self._clock()
        running = tuple(self.running.values())
        return {candidate: now - self._since.get(candidate.number, now) for candidate in running}

    @property
    def elapsed(self) -> float:
        """Seconds since this sitting began."""
        return self._clock() - self._started

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
        self.history.add(candidate)
        if why := self.history.little_left:
            self._policy.close(why)

    def _learn(self, evaluation: Evaluation) -> None:
        del self.running[evaluation.candidate.number]
        self.history.add(evaluation)
        self._policy.tell(evaluation)
        self._tracker.record(evaluation, self.fronts())

    def _with_metric(self, evaluation: Evaluation) -> Evaluation:
        """An evaluation without the searched metric is a failed one, and says so."""
        if evaluation.status == "failed" or self.objectives.value(evaluation) is not None:
            return evaluation
        measured = ", ".join(evaluation.metrics)
        error = f"no {self.objectives.metric} was measured, only {measured}; set metric to one of these"
        return replace(evaluation, status="failed", error=error)


def open_search(
    run: str,
    spec: SearchSpec,
    ledger: Ledger,
    recipe: str,
    tracker: Tracker | None = None,
    fresh: bool = False,
    data: str = "",
    circumstances: Circumstances | None = None,
) -> Search:
    """A search with the sampler and the schedule that its space names; the rest as for `Search`."""
    space, designs = feasible_designs(spec)
    limit = spec.bounds
    prior = published_prior(space, designs, limit.convention, limit.detector, spec.seed) if spec.prior else None
    sampler = make_sampler(spec.sampler, space, designs, spec.budget.trials, spec.seed, limit.gmacs, prior=prior)
    policy = policy_of(spec, sampler)
    return Search(run, spec, policy, ledger, recipe, tracker, fresh=fresh, data=data, circumstances=circumstances)


def policy_of(spec: SearchSpec, sampler: Sampler, objectives: Objectives | None = None) -> SamplerPolicy:
    """What proposes whole candidates: a sampler under the schedule of a space."""
    trials, inherit = spec.budget.trials, spec.training.inherit
    halving = halving_of(spec)
    return SamplerPolicy(sampler, objectives or spec.objectives, trials, spec.rungs, spec.seed, halving, inherit)
