"""Reasons of proposals."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Reason:
    """The reason of a proposal; unknown fields keep their default.

    Attributes:
        source: `prior` for a design with good published results, `start` for the spread at the beginning, `gain` for
            the largest expected gain, `draw` for a random design without expected gain, `promotion` for the next rung
            of a design, `uniform`, `matched`, or the name of one of Optuna's samplers.
        tier: Tier of this proposal, in the unit of the limit.
        gain: Expected gain of that tier's front, in units of the metric.
        predicted: Predicted metric, with a low and a high level.
        left: Expected rise of the best metric of each tier if all other designs were measured.
        prior: Whether the prior was `of use` or `dropped`; empty without one.
        first: Number of the candidate that is promoted.
        rung: The rung that it is promoted to.
        rest: Further facts of a custom sampler.
    """

    source: str = ""
    tier: float | None = None
    gain: float | None = None
    predicted: tuple[float, float, float] | None = None
    left: Mapping[float, float] = field(default_factory=dict)
    prior: str = ""
    first: int | None = None
    rung: int | None = None
    rest: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The reason as plain data for the ledger, without unknown fields."""
        known = {
            "source": self.source or None,
            "tier": self.tier,
            "gain": self.gain,
            "predicted": None if self.predicted is None else list(self.predicted),
            "left": {f"{tier:g}": gain for tier, gain in self.left.items()} or None,
            "prior": self.prior or None,
            "of": self.first,
            "rung": self.rung,
        }
        return {**self.rest, **{name: value for name, value in known.items() if value is not None}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Reason":
        """The reason from the plain data of `to_dict`, or of an earlier version's ledger."""
        rest = dict(data)
        predicted, left = rest.pop("predicted", None), rest.pop("left", None) or {}
        known = {name: rest.pop(name) for name in ("source", "tier", "gain", "prior", "rung") if name in rest}
        return cls(
            **known,
            predicted=None if predicted is None else (predicted[0], predicted[1], predicted[2]),
            left={float(tier): gain for tier, gain in left.items()},
            first=rest.pop("of", None),
            rest=rest,
        )
