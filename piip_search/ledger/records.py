"""What readers of the ledger get."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from piip_search.evaluation.evaluation import Candidate, Evaluation


@dataclass(frozen=True, slots=True)
class Event:
    """What happened in a search.

    Attributes:
        position: Place in the order of the search, from 1.
        at: When, UTC.
        item: The candidate that was proposed, or the evaluation that came back.
    """

    position: int
    at: datetime
    item: Candidate | Evaluation


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Where, and with what, a process drives a search.

    Attributes:
        host: Its machine.
        process: Its number there.
        revision: Commit of the source, with `+` where it was changed since; empty where it is no checkout.
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
        number: From 1.
        began_at: UTC.
        circumstances: Where, and with what.
    """

    number: int
    began_at: datetime
    circumstances: Circumstances


@dataclass(frozen=True, slots=True)
class SearchRecord:
    """One search as the ledger knows it.

    Attributes:
        name: Name of the run.
        question: Fingerprint of what is searched (`SearchSpec.question`).
        recipe: Fingerprint of data and training.
        spec: The search space file's content.
        created_at: When it was first run, UTC.
        proposals: How many were made.
        evaluations: How many ended.
        uid: Its name in every ledger.
        data: Fingerprint of the data; empty in ledgers from before this was kept.
        audit_of: The `uid` of the search whose proxies this one audits, empty where that is not known; None where this
            is no audit.
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
        """Whether its designs are an audit's, and were not searched for."""
        return self.audit_of is not None


@dataclass(frozen=True, slots=True)
class Promotion:
    """A design that the schedule sent on.

    Attributes:
        number: Number of the candidate that goes on.
        first: Number of the candidate that began the training.
        rung: Where to, from 0.
        at: When, UTC.
    """

    number: int
    first: int
    rung: int
    at: datetime


@dataclass(frozen=True, slots=True)
class FrontSnapshot:
    """The front of a tier after an evaluation that moved it.

    Attributes:
        tier: Budget in GMACs.
        members: Numbers of its candidates, the cheapest first.
        hypervolume: As in `objectives.ParetoFront`.
        at: When, UTC; None before it is kept.
    """

    tier: float
    members: tuple[int, ...]
    hypervolume: float
    at: datetime | None = None
