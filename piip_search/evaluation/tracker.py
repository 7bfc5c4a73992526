"""Mirrors of a search for people; the ledger alone is the source."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import Objectives, ParetoFront


class Tracker(Protocol):
    """A mirror that receives a search from its first evaluation on, including those of earlier sittings."""

    def begin(self, run: str, spec: Mapping[str, Any], objectives: Objectives) -> None:
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

    def begin(self, run: str, spec: Mapping[str, Any], objectives: Objectives) -> None: ...

    def record(self, evaluation: Evaluation, fronts: Sequence[ParetoFront]) -> None: ...

    def finish(self, fronts: Sequence[ParetoFront]) -> None: ...
