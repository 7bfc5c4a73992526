"""Mirrors of a search for people; the ledger alone is the source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import Objectives, ParetoFront
from piip_search.owner import Owner


@dataclass(frozen=True, slots=True)
class TrackedSearch:
    """A search as its mirrors know it.

    Attributes:
        run: Name of the run; other searches may have it too.
        uid: Name of the search in every ledger.
        owner: Owner of the search.
        created_at: First start in UTC.
        spec: Content of its search space file.
        objectives: Metrics and costs that are traded off.
    """

    run: str
    uid: str
    owner: Owner
    created_at: datetime
    spec: Mapping[str, Any]
    objectives: Objectives


class Tracker(Protocol):
    """A mirror that receives a search from its first evaluation on, including those of earlier sittings."""

    def begin(self, search: TrackedSearch) -> None:
        """Begins or resumes the mirror of a search."""
        ...

    def record(self, evaluation: Evaluation, fronts: Sequence[ParetoFront]) -> None:
        """Records an evaluation; one that was recorded before is ignored.

        Args:
            evaluation: Evaluation of a candidate.
            fronts: Front of each tier after this evaluation.
        """
        ...

    def finish(self, fronts: Sequence[ParetoFront]) -> None:
        """Ends the sitting: everything shown should be up to date."""
        ...


class NoTracker:
    """Mirrors nothing."""

    def begin(self, search: TrackedSearch) -> None: ...

    def record(self, evaluation: Evaluation, fronts: Sequence[ParetoFront]) -> None: ...

    def finish(self, fronts: Sequence[ParetoFront]) -> None: ...
