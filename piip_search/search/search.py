"""The search: propose, accept, front. It is passive: it decides and runs nothing.

Resuming and starting are the same: the ledger's events of the run are first replayed into the policy in their order, so
that the policy has its state at the end of the last sitting.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from piip_search.config import SearchSpec
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.evaluation.objectives import Objectives, ParetoFront
from piip_search.evaluation.tracker import NoTracker, TrackedSearch, Tracker
from piip_search.ledger import Circumstances, FrontSnapshot, Ledger, LedgerError, PreparationRecord, unreadable_note
from piip_search.search.feasible import feasible_designs
from piip_search.search.history import RunHistory, without_garbage
from piip_search.search.policy import Policy, SamplerPolicy, halving_of
from piip_search.search.samplers.published_prior import published_prior
from piip_search.search.samplers.sampler import make_sampler
from piip_search.search.samplers.suggestion import Sampler


class Search:
    """One search over one space, recorded in one ledger.

    Attributes:
        run: Name of the run in the ledger.
        uid: Name in every ledger.
        spec: Content of its search space file.
        recipe: Fingerprint of data and training.
        history: Events of the run, and the results that follow from them.
        running: Candidates in measurement.
        replayed: Number of evaluations of earlier sittings.
        answered: Number of this sitting's candidates with an answer from another run in the ledger.
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
        take_over: bool = False,
    ) -> None:
        """Opens the search and replays the ledger's events.

        Args:
            run: Name of the run in the ledger.
            spec: Content of the search space file.
            policy: Policy that proposes candidates.
            ledger: Ledger of the search.
            recipe: Fingerprint of data and training.
            tracker: Mirror of the search.
            clock: Returns seconds, for the budget of hours.
            question: Fingerprint of the search; the spec's by default.
            fresh: Whether to ignore measurements of other runs in the ledger.
            objectives: Objectives; the spec's by default.
            data: Fingerprint of the data.
            circumstances: Circumstances of this process.
            audit_of: Uid of the search that an audit or a list of baselines belongs to; None for a search.
            take_over: Whether to go on with another owner's search, and to take it from a process that drives it.

        Raises:
            LedgerError: A run of that name has another question or owner, or another process drives it.
        """
        self.run = run
        self._kin = audit_of
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
        self._versions = {} if circumstances is None else circumstances.versions
        self.uid = ledger.start(
            run, question or spec.question, recipe, content, data, circumstances, audit_of, take_over
        )
        record = ledger.search(run)
        tracked = TrackedSearch(run, self.uid, record.owner, record.created_at, content, self.objectives)
        self._tracker.begin(tracked)
        with without_garbage():
            self._replay()
        self.replayed = len(self.evaluations)
        # Interrupted candidates go first, with their old numbers, so that they continue from their checkpoints.
        self._again = deque(self.running.values())
        self.running.clear()
        self._halted = ""

    def propose(self) -> Candidate | None:
        """The next candidate to measure, recorded in the ledger; None if there is nothing to start.

        An evaluation of a `running` candidate may enable new candidates.
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
            known = self._answer(candidate)
            if known is None:
                self._since[candidate.number] = self._clock()
                return candidate
            other, evaluation = known
            facts = replace(evaluation.facts, answered_from=f"{other}/{evaluation.candidate.number}")
            self.answered += 1
            self.accept(replace(evaluation, candidate=candidate, seconds=0.0, facts=facts))
        return None

    def _answer(self, candidate: Candidate) -> tuple[str, Evaluation] | None:
        """A measurement of the candidate in another search, and that search's name."""
        if self._fresh:
            return None
        key = candidate.key(self.recipe)
        found = self._ledger.find(key, self.spec.answers, self._versions, self._kin)
        # The key of a row is what its writer claims it to be.
        return found if found is not None and found[1].candidate.key(self.recipe) == key else None

    def accept(self, evaluation: Evaluation) -> None:
        """Records an evaluation, learns from it and mirrors it; a second answer for a candidate is ignored."""
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
        """Stops new candidates in this sitting after a candidate that failed by no fault of its own.

        It stays unfinished in the ledger, so that the next sitting resumes it.

        Args:
            candidate: Candidate that was not measured.
            why: Fault, and the way out.
        """
        self.running.pop(candidate.number, None)
        self.stop(why)

    def stop(self, why: str) -> None:
        """Stops new candidates in this sitting.

        Args:
            why: Fault, and the way out.
        """
        self._halted = self._halted or why

    def postpone(self, candidate: Candidate) -> None:
        """Proposes a candidate again whose measurement never began."""
        if self.running.pop(candidate.number, None) is not None:
            self._again.append(candidate)

    def note_preparation(self, step: PreparationRecord) -> None:
        """Records a step in the preparation of the evaluator, and charges the search for its GPU time."""
        self._ledger.prepare(self.run, step)
        self.history.charge(step.gpu_seconds)

    def note_stop(self) -> None:
        """Records in the log that a signal ended this sitting; who sent it is unknown here."""
        self._ledger.note("stopped", self.run, by="a signal to the process")

    def finish(self) -> None:
        """Ends the sitting."""
        self._tracker.finish(self.fronts())

    @property
    def preparations(self) -> list[PreparationRecord]:
        """The steps in which the evaluator was prepared, in order."""
        return self._ledger.preparations(self.run)

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
        """Evaluations of full trainings, including failed ones."""
        return self.history.finished

    @property
    def failures(self) -> list[Evaluation]:
        """Failed evaluations."""
        return self.history.failed

    @property
    def left(self) -> dict[float, float]:
        """Expected remaining gain of each tier; as for `RunHistory.left`."""
        return self.history.left

    def fronts(self) -> tuple[ParetoFront, ...]:
        """The front of each tier, cheapest tier first."""
        return self.history.fronts

    def choose(self, choice: str) -> tuple[Evaluation, ...]:
        """The designs of a user's choice; as for `RunHistory.choose`."""
        return self.history.choose(choice)

    @property
    def expected(self) -> int:
        """Approximate number of candidates of this search in all."""
        return max(self._policy.expected, len(self.evaluations) + len(self.running))

    @property
    def ending(self) -> str:
        """The reason why nothing more is proposed; empty while more may be."""
        if self._halted:
            return self._halted
        if self._again:
            return ""
        return self.history.spent(self.elapsed / 3600) or ("" if self.running else self._policy.ending)

    @property
    def halted(self) -> bool:
        """Whether a fault that a person has to fix stopped this sitting."""
        return bool(self._halted)

    @property
    def measured_nothing(self) -> bool:
        """Whether every trial failed; as for `RunHistory.measured_nothing`."""
        return self.history.measured_nothing

    @property
    def running_seconds(self) -> dict[Candidate, float]:
        """Running time of each running candidate in seconds."""
        now = self._clock()
        running = tuple(self.running.values())
        return {candidate: now - self._since.get(candidate.number, now) for candidate in running}

    @property
    def elapsed(self) -> float:
        """Seconds since the start of this sitting."""
        return self._clock() - self._started

    def _replay(self) -> None:
        self.history.charge(sum(step.gpu_seconds for step in self.preparations))
        rows = self._ledger.rows(self.run)
        if rows.unreadable:
            raise LedgerError(
                f"run {self.run!r} cannot go on: {unreadable_note(rows.unreadable)}; if a later version of piip-search "
                "wrote them, go on with that one, or else choose another --name"
            )
        for item in (event.item for event in rows.events):
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
        """The evaluation, or a failed one if it lacks a metric of the search."""
        if evaluation.status == "failed" or self.objectives.value(evaluation) is not None:
            return evaluation
        measured = ", ".join(evaluation.metrics)
        lacking = " and ".join(m.name for m in self.objectives.metrics if m.name not in evaluation.metrics)
        error = f"no {lacking} was measured, only {measured}; set metric to one of these"
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
    take_over: bool = False,
) -> Search:
    """Opens a search with the sampler and the schedule of its space; other arguments are those of `Search`."""
    spec = _as_begun(spec, ledger, run)
    space, designs = feasible_designs(spec)
    limit = spec.bounds
    prior = published_prior(spec.known_task, space, designs, limit.pricing, spec.seed) if spec.prior else None
    trials, metrics = spec.budget.trials, len(spec.searched_metrics)
    sampler = make_sampler(
        spec.sampler,
        space,
        designs,
        trials,
        spec.seed,
        limit.tiers,
        prior=prior,
        metrics=metrics,
        groups=spec.grouping,
    )
    policy = policy_of(spec, sampler)
    return Search(
        run,
        spec,
        policy,
        ledger,
        recipe,
        tracker,
        fresh=fresh,
        data=data,
        circumstances=circumstances,
        take_over=take_over,
    )


def _as_begun(spec: SearchSpec, ledger: Ledger, run: str) -> SearchSpec:
    """The spec with the image that is priced as the run began: the first versions priced squares alone."""
    record = next((record for record in ledger.searches() if record.name == run), None)
    if record is None or "image" in record.spec.get("limit", {}):
        return spec
    return spec.model_copy(update={"limit": spec.limit.model_copy(update={"image": None})})


def policy_of(spec: SearchSpec, sampler: Sampler, objectives: Objectives | None = None) -> SamplerPolicy:
    """The policy of a space: a sampler under a schedule."""
    trials, inherit, objectives = spec.budget.trials, spec.training.inherit, objectives or spec.objectives
    halving = halving_of(spec, len(objectives.metrics))
    return SamplerPolicy(sampler, objectives, trials, spec.rungs, spec.seed, halving, inherit)
