"""Records that a ledger returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.owner import NOBODY, Owner


@dataclass(frozen=True, slots=True)
class Event:
    """A proposal or an evaluation in a search.

    Attributes:
        position: Place in the order of the search, from 1.
        at: Time in UTC.
        item: The proposed candidate, or the evaluation.
    """

    position: int
    at: datetime
    item: Candidate | Evaluation


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row that this version cannot read, and passes over.

    Attributes:
        table: Name of its table.
        id: Its key in the table.
        reason: The field that cannot be read, in one line.
    """

    table: str
    id: int
    reason: str

    def __str__(self) -> str:
        return f"{self.table} {self.id}: {self.reason}"


def unreadable_note(rows: Sequence[UnreadableRow]) -> str:
    """One line about rows that were passed over; empty for none."""
    if not rows:
        return ""
    if len(rows) == 1:
        return f"1 row cannot be read and is left out ({rows[0]})"
    return f"{len(rows)} rows cannot be read and are left out (the first: {rows[0]})"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Host and versions of a process that drives a search.

    Attributes:
        host: Name of the machine.
        process: Id of the process.
        revision: Commit of the source, with `+` after local changes; empty outside a checkout.
        versions: Versions of the packages that decide or measure.
    """

    host: str = ""
    process: int = 0
    revision: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sitting:
    """One process that drove a search.

    Attributes:
        number: Number of the process, from 1.
        began_at: Start in UTC.
        circumstances: Host and versions.
        owner: Owner of the process; unknown in older ledgers.
        budget: Budget of the search in this process; empty in older ledgers.
        resources: Resources of a trial in this process; empty in older ledgers.
    """

    number: int
    began_at: datetime
    circumstances: Circumstances
    owner: Owner = NOBODY
    budget: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SearchRows:
    """What the ledger holds about a search.

    Attributes:
        events: Proposals and evaluations, in order.
        sittings: The processes that drove it, first one first.
        preparations: The steps in which its evaluator was prepared, in order.
        unreadable: Rows that are left out.
    """

    events: tuple[Event, ...]
    sittings: tuple[Sitting, ...]
    preparations: tuple["PreparationRecord", ...]
    unreadable: tuple[UnreadableRow, ...] = ()


BASELINES_QUESTION = "baselines-"
"""Beginning of the question of a list of baselines; that of a search or an audit is a fingerprint."""


@dataclass(frozen=True, slots=True)
class SearchRecord:
    """One search in the ledger.

    Attributes:
        name: Name of the run.
        question: Fingerprint of the search (`SearchSpec.question`).
        recipe: Fingerprint of data and training.
        spec: Content of the search space file, with the budget and the resources of the last process that drove it.
        created_at: First start in UTC.
        proposals: Number of proposals.
        evaluations: Number of evaluations.
        uid: Name in every ledger.
        data: Fingerprint of the data; empty in older ledgers.
        audit_of: The `uid` of the search that an audit or a list of baselines belongs to, empty if unknown; None for a
            search.
        owner: Owner; unknown in older ledgers.
    """

    name: str
    question: str
    recipe: str
    spec: Mapping[str, Any]
    created_at: datetime
    proposals: int
    evaluations: int
    uid: str
    data: str
    audit_of: str | None = None
    owner: Owner = NOBODY

    @property
    def is_audit(self) -> bool:
        """Whether its designs belong to an audit instead of a search."""
        return self.audit_of is not None and not self.holds_baselines

    @property
    def holds_baselines(self) -> bool:
        """Whether its designs are the baselines of a search."""
        return self.audit_of is not None and self.question.startswith(BASELINES_QUESTION)

    @property
    def is_search(self) -> bool:
        """Whether a sampler proposed its designs."""
        return self.audit_of is None


@dataclass(frozen=True, slots=True)
class Promotion:
    """A design that the schedule promoted.

    Attributes:
        number: Number of the promoted candidate.
        first: Number of the candidate that began the training.
        rung: Target rung, from 0.
        at: Time in UTC.
    """

    number: int
    first: int
    rung: int
    at: datetime


@dataclass(frozen=True, slots=True)
class FrontSnapshot:
    """The front of a tier after an evaluation changed it.

    Attributes:
        tier: Tier on the axis of the tiers.
        members: Numbers of its candidates, cheapest first.
        hypervolume: As in `objectives.ParetoFront`.
        at: Time in UTC; None before it is stored.
    """

    tier: float
    members: tuple[int, ...]
    hypervolume: float
    at: datetime | None = None


PreparationStep = Literal["running", "done", "failed"]


@dataclass(frozen=True, slots=True)
class PreparationRecord:
    """A step in the preparation of a search's evaluator.

    Attributes:
        kind: Kind of the evaluator.
        digest: Fingerprint of what is prepared (`SearchSpec.preparation`).
        state: State from this step on. `running` without a process that drives the search means interrupted.
        uid: Name of the preparation, shared by the searches that use it; empty before it began.
        error: Error in one line; empty unless it failed.
        seconds: Seconds that the search is charged for by this step; 0 for what another search prepared.
        gpu_seconds: GPU time that it is charged for by this step.
        facts: What the evaluator says about it.
        number: Number of the step in its search, from 1; 0 before it is stored.
        sitting: Number of the process that drove the search; 0 before it is stored.
        at: Time in UTC; None before it is stored.
    """

    kind: str
    digest: str
    state: PreparationStep
    uid: str = ""
    error: str = ""
    seconds: float = 0.0
    gpu_seconds: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0
    sitting: int = 0
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PreparationSummary:
    """The preparation of a search's evaluator over all its steps.

    Attributes:
        kind: Kind of the evaluator.
        state: State now.
        error: Error in one line; empty unless it failed.
        seconds: Seconds that the search is charged for.
        gpu_seconds: GPU time that it is charged for.
        said: What the evaluator says about the finished preparation, in lines (its fact `said`).
    """

    kind: str
    state: Literal["running", "interrupted", "done", "failed"]
    error: str
    seconds: float
    gpu_seconds: float
    said: tuple[str, ...] = ()

    @classmethod
    def of(cls, steps: Sequence[PreparationRecord], driven: bool | None) -> "PreparationSummary | None":
        """The summary of a search's steps; None for an evaluator that prepares nothing.

        Args:
            steps: Steps in order.
            driven: Whether a process drives the search; None if that is unknown.
        """
        if not steps:
            return None
        last = steps[-1]
        state = "interrupted" if last.state == "running" and driven is False else last.state
        spent = sum(step.seconds for step in steps), sum(step.gpu_seconds for step in steps)
        said = last.facts.get("said", ()) if last.state == "done" else ()
        lines = tuple(line for line in said if isinstance(line, str)) if isinstance(said, list | tuple) else ()
        return cls(last.kind, state, last.error, *spent, lines)


Deed = Literal["began", "resumed", "took over", "changed", "submitted", "stopped", "exported", "merged", "upgraded"]


@dataclass(frozen=True, slots=True)
class Action:
    """Who did what to a search.

    Attributes:
        what: What was done.
        run: Name of the run at that time; empty for an action on the whole ledger.
        search: Uid of the search; empty for an action on the whole ledger.
        owner: Who did it.
        process: Id of the process that did it.
        at: Time in UTC.
        detail: Further facts, such as the folder of an export.
    """

    what: str
    run: str
    search: str
    owner: Owner
    process: int
    at: datetime
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file that a search names, with its content at the search's start.

    Attributes:
        path: Path as the search names it.
        digest: SHA-256 of the content in UTF-8.
        content: Content.
    """

    path: str
    digest: str
    content: str


AnswerRule = Literal["own", "all"] | tuple[str, ...]
"""Which searches' measurements may answer a trial: those of one's own, all, or the named runs."""
