"""Who mirrors a search for people to look at. A mirror is never a source: the ledger is."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import Objectives, ParetoFront


class Tracker(Protocol):
    """Told of a search from its first evaluation on, also of those that an earlier sitting made."""

    def begin(self, run: str, spec: Mapping[str, Any], objectives: Objectives) -> None:
        """A search starts or goes on."""
        ...

    def record(self, evaluation: Evaluation, fronts: Sequence[ParetoFront]) -> None:
        """An evaluation ended. What was recorded before is passed over.

        Args:
            evaluation: What came of a candidate.
            fronts: The front of each tier as it stands after this evaluation.
        """
        ...

    def finish(self, fronts: Sequence[ParetoFront]) -> None:
        """The sitting is over: everything that is shown should be up to date."""
        ...


class NoTracker:
    """Mirrors nothing."""

    def begin(self, run: str, spec: Mapping[str, Any], objectives: Objectives) -> None: ...

    def record(self, evaluation: Evaluation, fronts: Sequence[ParetoFront]) -> None: ...

    def finish(self, fronts: Sequence[ParetoFront]) -> None: ...
