"""Feasible designs with their costs, and the limit on costs. Legend: N designs, D dimensions of a row."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture import Architecture
from piip_search.cost import NOMINAL, CostAxis, Pricing, Step, training_bytes
from piip_search.cost.axes import SCALES

Rows = NDArray[Any]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Limit:
    """The limit on the cost of one architecture, checked before training.

    Attributes:
        tiers: Tiers of cost, rising; the last is the highest cost of a proposed design.
        axes: Names of the axes that are traded off; the tiers are on the first.
        caps: Highest cost on other axes, by name.
        pricing: How architectures are priced.
        step: Training step of a trial whose memory is limited; None for no such limit.
        step_bytes: Most memory of that step in bytes.
    """

    tiers: tuple[float, ...]
    axes: tuple[str, ...] = ("gmacs",)
    caps: tuple[tuple[str, float], ...] = ()
    pricing: Pricing = NOMINAL
    step: Step | None = None
    step_bytes: int = 0

    @property
    def cost_axis(self) -> CostAxis:
        """The axis of the tiers."""
        return self.pricing.axis(self.axes[0])

    @property
    def bounds(self) -> tuple[tuple[str, float], ...]:
        """The highest cost on each axis with a limit, the tiers' axis first."""
        return ((self.axes[0], max(self.tiers)), *self.caps)

    @property
    def needs_memory(self) -> bool:
        """Whether it limits the memory of a full-size training step."""
        return any(name == "training_gib" for name, _ in self.bounds)


@dataclass(frozen=True)
class Designs:
    """Designs of a space with their costs.

    Attributes:
        rows_ND: Rows of the designs.
        macs_N: Multiply-accumulates.
        params_N: Parameters.
        training_N: Memory of a trial's training step in bytes; None if it was not computed.
        full_training_N: Memory of a full-size training step in bytes; None if it was not computed.
        axes: Names of the axes of `costs_NC`.
    """

    rows_ND: Rows
    macs_N: Counts
    params_N: Counts
    training_N: Counts | None = None
    full_training_N: Counts | None = None
    axes: tuple[str, ...] = ("gmacs",)

    def __len__(self) -> int:
        return len(self.rows_ND)

    @property
    def costs_NC(self) -> NDArray[np.float64]:
        """Costs on the axes that are traded off, each in its unit; the tiers are on the first."""
        return np.stack([self.on(name) for name in self.axes], 1)

    def on(self, name: str) -> NDArray[np.float64]:
        """Costs on an axis, in its unit.

        Raises:
            KeyError: There is no such axis, or its costs were not computed.
        """
        costs_N: NDArray[np.float64] = self.counts(name) / SCALES[name]
        return costs_N

    def fits(self, name: str, most: float) -> NDArray[np.bool_]:
        """Whether each design costs at most so much on an axis; counts are compared, which are exact."""
        fits_N: NDArray[np.bool_] = self.counts(name) <= most * SCALES[name]
        return fits_N

    def within(self, limit: Limit) -> "Designs":
        """The designs within the limit, with costs on its axes."""
        fits_N = np.ones(len(self), dtype=bool)
        for name, most in limit.bounds:
            fits_N &= self.fits(name, most)
        if limit.step is not None and self.training_N is not None:
            fits_N &= self.training_N <= limit.step_bytes
        return replace(self[fits_N], axes=limit.axes)

    def __getitem__(self, chosen: Any) -> "Designs":
        training_N, full_N = (
            None if column_N is None else column_N[chosen] for column_N in (self.training_N, self.full_training_N)
        )
        return Designs(self.rows_ND[chosen], self.macs_N[chosen], self.params_N[chosen], training_N, full_N, self.axes)

    @classmethod
    def of(
        cls, rows_ND: Rows, architectures: Sequence[Architecture], pricing: Pricing, axes: tuple[str, ...]
    ) -> "Designs":
        """Some designs, priced one by one."""
        costs = [pricing.price(architecture) for architecture in architectures]
        full_N = None
        if "training_gib" in axes and pricing.step is not None:
            full_N = np.array([training_bytes(architecture, pricing.step) for architecture in architectures])
        macs_N, params_N = np.array([cost.macs for cost in costs]), np.array([cost.params for cost in costs])
        return cls(rows_ND, macs_N, params_N, None, full_N, axes)

    @classmethod
    def concat(cls, parts: Sequence["Designs"]) -> "Designs":
        """Concatenates one or more parts of the same space."""
        rows, macs, params = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("rows_ND", "macs_N", "params_N")
        )
        training, full = (_joined(parts, name) for name in ("training_N", "full_training_N"))
        return cls(rows, macs, params, training, full, parts[-1].axes)

    def counts(self, name: str) -> Counts:
        """Exact counts on an axis: multiply-accumulates, parameters, or bytes.

        Raises:
            KeyError: There is no such axis, or its costs were not computed.
        """
        counts = {"gmacs": self.macs_N, "mparams": self.params_N, "training_gib": self.full_training_N}[name]
        if counts is None:
            raise KeyError(f"the memory of these designs was not computed, so that {name} is not known")
        return counts


def _joined(parts: Sequence[Designs], name: str) -> Counts | None:
    """A column that only some computations have; None unless all designs have it."""
    columns = [column for part in parts if (column := getattr(part, name)) is not None]
    asked = bool(columns) and sum(map(len, columns)) == sum(map(len, parts))
    return np.concatenate(columns) if asked else None
