"""What the parents of a search learnt: losses by image size, and batches and gates of their parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from piip_search.ledger import PreparationRecord

MOST_PARTS = 40
"""Most parts of a parent that are listed, those of the fewest batches first."""
PART_NAMES = {
    "B": "backbone",
    "I": "interactions",
    "M": "projection of the merge",
    "A": "placement of the merge",
    "W": "weights of the merge",
    "P": "pyramid",
    "N": "first layers of the neck",
    "D": "rest of the network",
}
"""Words for the kinds of keys of `piip_search.models.weights.shared_keys`, and of those behind the network."""


@dataclass(frozen=True)
class LossCurve:
    """The training loss of the designs of one largest image.

    Attributes:
        resolution: Largest image in pixels.
        losses: Mean loss in equal parts of the training; None for a part without such a design.
        parts: Numbers of these parts.
    """

    resolution: int
    losses: list[float | None]
    parts: list[int]

    @property
    def known(self) -> list[float]:
        """The losses of the parts that have one."""
        return [loss for loss in self.losses if loss is not None]

    def points(self, width: float, height: float) -> str:
        """Points of an SVG polyline."""
        low, high = min(self.known), max(self.known)
        span, last = (high - low) or 1.0, max(1, *self.parts)
        return " ".join(
            f"{part / last * width:.1f},{(high - loss) / span * height:.1f}"
            for part, loss in zip(self.parts, self.losses, strict=True)
            if loss is not None
        )


@dataclass(frozen=True)
class PartView:
    """A part of a parent.

    Attributes:
        name: What it is, and whose.
        batches: Fewest batches of one of its tensors.
        gate: Mean size of its weights that began at zero; None without such weights.
    """

    name: str
    batches: int
    gate: float | None


@dataclass(frozen=True)
class ParentView:
    """A trained parent.

    Attributes:
        name: Its backbones, or its tier.
        steps: Number of updates.
        curves: Losses, the smallest image first.
        parts: Parts, that of the fewest batches first, at most `MOST_PARTS`.
        more: Number of further parts.
        skipped: Number of batches without a step.
    """

    name: str
    steps: int
    curves: list[LossCurve]
    parts: list[PartView]
    more: int
    skipped: int


@dataclass(frozen=True)
class _Facts:
    """The facts of a parent as the ledger has them."""

    steps: int
    losses: Mapping[int, Mapping[int, float]]
    passes: Mapping[str, int]
    gates: Mapping[str, float]
    skipped: Mapping[str, int]


_FACTS = TypeAdapter(dict[str, _Facts])


def parent_views(steps: Sequence[PreparationRecord]) -> list[ParentView]:
    """The parents of a search's finished preparation; none for other evaluators, or if their facts cannot be read."""
    content: Any = steps[-1].facts.get("parents") if steps and steps[-1].state == "done" else None
    try:
        return [_view(name, facts) for name, facts in _FACTS.validate_python(content or {}).items()]
    except ValidationError:
        return []


def _view(name: str, facts: _Facts) -> ParentView:
    times = sorted(facts.losses)
    sides = sorted({side for rows in facts.losses.values() for side in rows})
    curves = [LossCurve(side, [facts.losses[time].get(side) for time in times], times) for side in sides]
    rows = sorted(facts.passes.items(), key=lambda row: (row[1], row[0]))
    parts = [PartView(_named(key), count, facts.gates.get(key)) for key, count in rows]
    return ParentView(
        name, facts.steps, curves, parts[:MOST_PARTS], len(parts[MOST_PARTS:]), sum(facts.skipped.values())
    )


def _named(key: str) -> str:
    kind, _, owner = key.partition("/")
    return f"{PART_NAMES.get(kind, kind)}{'' if kind == 'D' else f' {owner}'}"
