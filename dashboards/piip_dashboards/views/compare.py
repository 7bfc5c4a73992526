"""Comparison of two to four designs."""

from dataclasses import dataclass

from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_dashboards.views.design import DesignView, design_view
from piip_search.errors import UserError

FEWEST_COMPARED = 2
"""Fewest designs that can be compared."""
MOST_COMPARED = 4
"""Most designs that can be compared."""


@dataclass(frozen=True)
class PropertyRow:
    """A property of all compared designs.

    Attributes:
        title: Name of the property.
        values: Value of each design, as text.
        differs: Whether the values differ.
        best: Index of the best value; None for equal values or a property without an order.
    """

    title: str
    values: list[str]
    differs: bool
    best: int | None = None


@dataclass(frozen=True)
class Comparison:
    """The compared designs.

    Attributes:
        run: Name of the run.
        designs: Designs in the requested order.
        rows: Properties, costs and results.
        noise: Standard deviation between seeds in this run; None if unknown.
    """

    run: str
    designs: list[DesignView]
    rows: list[PropertyRow]
    noise: float | None


def comparison(reading: RunSnapshot, fingerprints: list[str]) -> Comparison:
    """Compares designs.

    Raises:
        UserError: The number of different designs is not two to four.
        KeyError: The run lacks a design.
    """
    asked = list(dict.fromkeys(fingerprints))
    if not FEWEST_COMPARED <= len(asked) <= MOST_COMPARED:
        raise UserError(
            f"{FEWEST_COMPARED} to {MOST_COMPARED} different designs are compared, got {len(asked)}; "
            "choose them in the table"
        )
    designs = [design_view(reading, reading.designs[fingerprint]) for fingerprint in asked]
    return Comparison(reading.name, designs, _rows(designs, reading.objectives.metrics[0].rises), reading.noise)


def _rows(designs: list[DesignView], rises: bool) -> list[PropertyRow]:
    first = designs[0]
    rows = [
        _row("state", [d.state for d in designs]),
        _numbers(f"{first.metric} (mean of seeds)", [d.value for d in designs], "{:.4f}", highest=rises),
        _row("seeds", [str(d.seeds) for d in designs]),
        _row("standard deviation", ["–" if d.deviation is None else f"{d.deviation:.4f}" for d in designs]),
    ]
    for index, cost in enumerate(first.costs):
        name = cost.convention
        rows.append(_numbers(f"GMACs ({name})", [d.costs[index].gmacs for d in designs], "{:.4g}", highest=False))
    own = [d.costs[0] for d in designs]
    rows += [
        _numbers("parameters (10⁶)", [cost.mparams for cost in own], "{:.4g}", highest=False),
        _numbers("training memory (GB, one image)", [cost.training_gb for cost in own], "{:.3g}", highest=False),
        _numbers("inference memory (GB, one image)", [cost.inference_gb for cost in own], "{:.3g}", highest=False),
    ]
    for place in range(max(len(d.branches) for d in designs)):
        branches = [d.branches[place] if place < len(d.branches) else None for d in designs]
        rows.append(_row(f"branch {place + 1}: model", ["–" if b is None else b.title for b in branches]))
        rows.append(_row(f"branch {place + 1}: image", ["–" if b is None else f"{b.resolution} px" for b in branches]))
        rows.append(_row(f"branch {place + 1}: attention", ["–" if b is None else b.attention for b in branches]))
    rows.append(_row("interactions", [str(d.interactions) for d in designs]))
    rows.append(_row("merge", [d.merge for d in designs]))
    return rows


def _row(title: str, values: list[str]) -> PropertyRow:
    return PropertyRow(title, values, len(set(values)) > 1)


def _numbers(title: str, values: list[float | None], form: str, highest: bool) -> PropertyRow:
    shown = ["–" if value is None else form.format(value) for value in values]
    known = [(value if highest else -value, index) for index, value in enumerate(values) if value is not None]
    best = max(known)[1] if len(set(shown)) > 1 and known else None
    return PropertyRow(title, shown, len(set(shown)) > 1, best)
