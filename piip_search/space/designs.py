"""Feasible designs with their costs, and the limit on costs. Legend: N designs, D dimensions of a row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from piip_search.cost import Convention, Head, Step

Rows = NDArray[Any]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Limit:
    """The limit on the cost of one architecture, checked before training.

    Attributes:
        gmacs: Tiers of cost in 10^9 multiply-accumulates, rising; the last is the highest cost of a proposed design.
        convention: Counting convention of the cost.
        mparams: Most parameters, in 10^6; None for no limit.
        head: Layers that read the merged maps, under the convention `whole`.
        step: Training step whose memory is limited; None for no such limit.
        step_bytes: Most memory of that step in bytes.
    """

    gmacs: tuple[float, ...]
    convention: Convention = "published"
    mparams: float | None = None
    head: Head | None = None
    step: Step | None = None
    step_bytes: int = 0


@dataclass(frozen=True)
class Designs:
    """Designs of a space with their costs.

    Attributes:
        rows_ND: Rows of the designs.
        macs_N: Multiply-accumulates.
        params_N: Parameters.
        training_N: Memory of a training step in bytes; None if it was not computed.
    """

    rows_ND: Rows
    macs_N: Counts
    params_N: Counts
    training_N: Counts | None = None

    def __len__(self) -> int:
        return len(self.rows_ND)

    @property
    def gmacs_N(self) -> NDArray[np.float64]:
        """Multiply-accumulates in 10^9, the unit of limits."""
        gmacs: NDArray[np.float64] = self.macs_N / 1e9
        return gmacs

    @property
    def costs_NC(self) -> NDArray[np.float64]:
        """Known costs that a search trades off, shape (N, C), the one with the tiers first."""
        return self.gmacs_N[:, None]

    def within(self, limit: Limit) -> "Designs":
        """The designs within the limit."""
        fits_N = self.macs_N <= max(limit.gmacs) * 1e9
        if limit.mparams is not None:
            fits_N &= self.params_N <= limit.mparams * 1e6
        if limit.step is not None and self.training_N is not None:
            fits_N &= self.training_N <= limit.step_bytes
        return self[fits_N]

    def __getitem__(self, chosen: Any) -> "Designs":
        training_N = None if self.training_N is None else self.training_N[chosen]
        return Designs(self.rows_ND[chosen], self.macs_N[chosen], self.params_N[chosen], training_N)

    @classmethod
    def concat(cls, parts: Sequence["Designs"]) -> "Designs":
        """Concatenates one or more parts of the same space."""
        rows, macs, params = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("rows_ND", "macs_N", "params_N")
        )
        training = [part.training_N for part in parts if part.training_N is not None]
        asked = bool(training) and sum(map(len, training)) == len(rows)
        return cls(rows, macs, params, np.concatenate(training) if asked else None)
