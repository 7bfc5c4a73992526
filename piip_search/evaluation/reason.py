"""Why a candidate was proposed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a candidate was proposed; what is not known is left at its default.

    Attributes:
        source: `prior` for a design that is known to be good elsewhere, `start` for the spread at the beginning,
            `gain` for the largest expected gain, `draw` where nothing promised any, `promotion` for the next rung of a
            design, `uniform`, or the name of one of Optuna's samplers.
        tier: The tier whose turn it was, in the unit of the limit.
        gain: Expected gain of that tier's front, in units of the metric.
        predicted: The metric that is expected, with a low and a high level.
        left: By how much the best metric of each tier is expected to rise if all other designs were measured.
        prior: Whether the prior was `of use` or `dropped`; empty without one.
        first: Number of the candidate that is promoted.
        rung: The rung that it is promoted to.
        rest: What a sampler of one's own says besides.
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
        """Plain data, as the ledger keeps it: without what is not known."""
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
        """The reason that `to_dict` wrote, or that a ledger of an earlier version holds."""
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
