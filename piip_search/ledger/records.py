"""Records that a ledger returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from piip_search.evaluation.evaluation import Candidate, Evaluation


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
    """

    number: int
    began_at: datetime
    circumstances: Circumstances


@dataclass(frozen=True, slots=True)
class SearchRecord:
    """One search in the ledger.

    Attributes:
        name: Name of the run.
        question: Fingerprint of the search (`SearchSpec.question`).
        recipe: Fingerprint of data and training.
        spec: Content of the search space file.
        created_at: First start in UTC.
        proposals: Number of proposals.
        evaluations: Number of evaluations.
        uid: Name in every ledger.
        data: Fingerprint of the data; empty in older ledgers.
        audit_of: The `uid` of the audited search, empty if unknown; None for a search that is no audit.
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

    @property
    def is_audit(self) -> bool:
        """Whether its designs belong to an audit instead of a search."""
        return self.audit_of is not None


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
        tier: Tier in GMACs.
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
