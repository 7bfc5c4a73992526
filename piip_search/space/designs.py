"""Legal designs with their costs, and what they may cost. Legend: N designs, D dimensions of a row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from piip_search.cost import COCO_MASK_RCNN, Convention, Detector

Rows = NDArray[Any]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Limit:
    """What one architecture may cost: checked before anything is trained.

    Attributes:
        gmacs: Tiers of cost in 10^9 multiply-accumulates, rising; nothing dearer than the last is proposed.
        convention: How the cost is counted.
        mparams: Most parameters, in 10^6; None for no limit.
        detector: What reads the merged maps, under the convention `detector`.
    """

    gmacs: tuple[float, ...]
    convention: Convention = "published"
    mparams: float | None = None
    detector: Detector = COCO_MASK_RCNN


@dataclass(frozen=True)
class Designs:
    """Legal designs with their costs.

    Attributes:
        rows_ND: One design a row.
        macs_N: Multiply-accumulates.
        params_N: Parameters.
    """

    rows_ND: Rows
    macs_N: Counts
    params_N: Counts

    def __len__(self) -> int:
        return len(self.rows_ND)

    def within(self, limit: Limit) -> "Designs":
        """Those that the limit allows."""
        fits_N = self.macs_N <= max(limit.gmacs) * 1e9
        if limit.mparams is not None:
            fits_N &= self.params_N <= limit.mparams * 1e6
        return self[fits_N]

    def __getitem__(self, chosen: Any) -> "Designs":
        return Designs(self.rows_ND[chosen], self.macs_N[chosen], self.params_N[chosen])

    @classmethod
    def joined(cls, parts: Sequence["Designs"]) -> "Designs":
        """All designs of the parts, which are of one space; there is at least one part."""
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("rows_ND", "macs_N", "params_N")))
