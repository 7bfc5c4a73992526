"""Samplers that keep their results themselves, without a study.

Replay takes them a time that depends neither on what was recorded before nor on the number of designs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from piip_search.architecture.design import Design
from piip_search.evaluation.reason import Reason
from piip_search.search.samplers.acquisition import ExpectedFrontGain
from piip_search.search.samplers.design_pool import DesignPool
from piip_search.search.samplers.results import Results, State
from piip_search.search.samplers.suggestion import Suggestion


class UniformSampler:
    """Proposes a free design at random."""

    def __init__(self, pool: DesignPool) -> None:
        self._pool = pool

    def ask(self, recorded: Design | None = None) -> Suggestion | None:
        if recorded is None and not self._pool.free:
            return None
        if recorded is None:
            index = self._pool.draw()
        else:
            self._pool.skip_draw()
            index = self._pool.place(recorded)
        self._pool.take(index)
        return Suggestion(recorded or self._pool.design(index), Reason("uniform"))

    def tell(self, design: Design, losses: Sequence[float] | None) -> None:
        """Does nothing: draws do not depend on results."""

    def report(self, design: Design, epochs: int, losses: Sequence[float]) -> None:
        """Does nothing: see `tell`."""


@dataclass
class _Measurement:
    """The measurement of a proposed design."""

    state: State = "running"
    losses: list[float] = field(default_factory=list)
    reached: dict[int, list[float]] = field(default_factory=dict)


class FrontGainSampler:
    """Proposes the design with the largest expected gain of the fronts at its known cost (`acquisition`).

    It is a function of the results in the order of their proposals.
    """

    def __init__(self, pool: DesignPool, gain: ExpectedFrontGain, metrics: int) -> None:
        """Prepares the sampler.

        Args:
            pool: All designs that may be proposed.
            gain: Acquisition function over these designs.
            metrics: Number of measured losses.
        """
        self._pool, self._gain, self._metrics = pool, gain, metrics
        self._proposed: dict[int, _Measurement] = {}

    def ask(self, recorded: Design | None = None) -> Suggestion | None:
        if recorded is not None:
            self._begin(self._pool.place(recorded))
            return Suggestion(recorded, Reason())
        found = Results(self._metrics)
        for index, one in self._proposed.items():
            found.add(index, one.state, one.losses, one.reached)
        proposal = self._gain.propose(found.measured, found.pending, found.failed, self._pool.free_N, found.reached)
        if proposal is None:
            return None
        self._begin(proposal.index)
        return Suggestion(self._pool.design(proposal.index), proposal.reason, proposal.loss)

    def tell(self, design: Design, losses: Sequence[float] | None) -> None:
        one = self._proposed[self._pool.place(design)]
        one.state = "failed" if losses is None else "done"
        one.losses = [] if losses is None else list(losses[: self._metrics])

    def report(self, design: Design, epochs: int, losses: Sequence[float]) -> None:
        self._proposed[self._pool.place(design)].reached[epochs] = list(losses)

    def _begin(self, index: int) -> None:
        self._pool.take(index)
        self._proposed[index] = _Measurement()
