"""The interface of samplers: ask for a design, tell its result."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from piip_search.architecture.design import Design
from piip_search.evaluation.reason import Reason


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A sampler's proposal.

    Attributes:
        design: The design.
        reason: Reason of the proposal.
        expected: Expected loss, with its lowest and its highest predicted level; None without a prediction.
    """

    design: Design
    reason: Reason
    expected: tuple[float, float, float] | None = None


class Sampler(Protocol):
    """Proposes designs, one at a time, and learns from their results."""

    def ask(self, recorded: Design | None = None) -> Suggestion | None:
        """The next design to measure with the reason; None if no new one is left.

        Args:
            recorded: Architecture that an earlier sitting proposed at this point. It is proposed again, and the sampler
                goes through the same states as then.
        """
        ...

    def tell(self, design: Design, losses: Sequence[float] | None) -> None:
        """Learns a proposal's losses, metrics before costs, all lower is better, or None for a failure."""
        ...

    def report(self, design: Design, epochs: int, losses: Sequence[float]) -> None:
        """Learns the losses of a proposal's metrics at a lower rung; it is not finished, and may never be."""
        ...
