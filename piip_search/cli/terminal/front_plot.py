"""The front as a small plot of characters, without colours, and in ASCII if necessary."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from piip_search.cost import CostAxis
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import Objectives, ParetoFront

LOG_COST_FROM = 8.0
"""Ratio of greatest and least cost from which the cost axis is logarithmic."""
LABEL = 9
"""Width of the numbers on the left, in characters."""


@dataclass(frozen=True)
class Marks:
    """Characters of a plot."""

    member: str
    other: str
    baseline: str
    across: str
    up: str
    corner: str
    down: str
    tier: str
    left: str
    bottom: str


UNICODE = Marks("●", "·", "×", "─", "│", "┘", "┐", "┊", "┤", "─")
ASCII = Marks("#", ".", "x", "-", "|", "+", "+", ":", "|", "-")


def plot_front(
    fronts: Sequence[ParetoFront],
    evaluations: Sequence[Evaluation],
    objectives: Objectives,
    width: int = 72,
    height: int = 10,
    ascii_only: bool = False,
    baselines: Sequence[tuple[float, float]] = (),
) -> list[str]:
    """Lines of equal length with metric against cost: the front as steps, other designs, baselines, the ends of tiers.

    Args:
        fronts: Front of each tier, cheapest first.
        evaluations: Full trainings; failed ones are left out.
        objectives: Objectives of the search.
        width: Characters of a line.
        height: Lines of the plot itself; the cost axis and the title take three more.
        ascii_only: Whether only ASCII can be shown.
        baselines: Cost and metric of each measured baseline.

    Returns:
        The lines; empty before the first measurement.
    """
    measured = objectives.measured(evaluations)
    if not measured or not fronts:
        return []
    marks = ASCII if ascii_only else UNICODE
    points = [(objectives.cost(e), objectives.value(e) or 0.0) for e in measured]
    members = [(objectives.cost(e), objectives.value(e) or 0.0) for e in fronts[-1].evaluations]
    tiers = [front.tier for front in fronts]
    shown = [*points, *baselines]
    across = _Scale.over([cost for cost, _ in shown] + tiers, width - LABEL - 2)
    up = _Scale.over([value for _, value in shown], height, log=False)
    cells = [[" "] * across.cells for _ in range(height)]
    for tier in tiers:
        for row in cells:
            row[across.at(tier)] = marks.tier
    for cost, value in points:
        cells[up.at(value)][across.at(cost)] = marks.other
    places = [(across.at(cost), up.at(value)) for cost, value in members]
    if objectives.is_pair:
        _steps(cells, places, marks)
    for cost, value in baselines:
        cells[up.at(value)][across.at(cost)] = marks.baseline
    for column, line in places:
        cells[line][column] = marks.member
    values = {value for _, value in shown}
    labels = {line: up.value(line) for line in (0, height // 2, height - 1)}
    if len(values) == 1:
        labels = {up.at(value): value for value in values}
    title = f"{objectives.metric} against {objectives.axis.label.heading}"
    key = f"{marks.member} front, {marks.other} other designs" + (f", {marks.baseline} baselines" if baselines else "")
    lines = [f"{title}: {key}".ljust(width)]
    for line in reversed(range(height)):
        label = f"{labels[line]:.4f}" if line in labels else ""
        lines.append(f"{label:>{LABEL}} {marks.left}{''.join(cells[line])}")
    return [
        *lines,
        " " * (LABEL + 1) + marks.corner.replace("┘", "└") + marks.bottom * across.cells,
        _costs(across, tiers, objectives.axis),
    ]


@dataclass(frozen=True)
class _Scale:
    """Maps numbers to cells of characters."""

    low: float
    high: float
    cells: int
    log: bool

    @classmethod
    def over(cls, values: Sequence[float], cells: int, log: bool | None = None) -> "_Scale":
        low, high = min(values), max(values)
        log = low > 0 and high / low >= LOG_COST_FROM if log is None else log
        if low == high:
            low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
        return cls(low, high, cells, log)

    def at(self, value: float) -> int:
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return round((value - low) / (high - low) * (self.cells - 1))

    def value(self, cell: int) -> float:
        """The number at the middle of a cell, on a linear scale."""
        return self.low + (self.high - self.low) * cell / (self.cells - 1)


def _steps(cells: list[list[str]], places: Sequence[tuple[int, int]], marks: Marks) -> None:
    """Draws each member's step: right to the next one's cost, then to its metric; the last one's to the end."""
    for (column, row), (next_column, next_row) in itertools.pairwise(places):
        for place in range(column, next_column):
            cells[row][place] = marks.across
        if next_row != row:
            cells[row][next_column] = marks.corner if next_row > row else marks.down
            for place in range(min(row, next_row) + 1, max(row, next_row)):
                cells[place][next_column] = marks.up
    if places:
        column, row = places[-1]
        cells[row][column:] = [marks.across] * (len(cells[row]) - column)


def _costs(across: _Scale, tiers: Sequence[float], axis: CostAxis) -> str:
    """The numbers below the plot: the least cost, and as many tiers as fit."""
    line = list(" " * (LABEL + 2 + across.cells))

    def write(text: str, middle: int) -> None:
        start = min(max(middle - len(text) // 2, 0), len(line) - len(text))
        wanted = range(max(start - 1, 0), min(start + len(text) + 1, len(line)))
        if all(line[place] == " " for place in wanted):
            line[start : start + len(text)] = text

    for tier in reversed(tiers):
        write(axis.format(tier), LABEL + 2 + across.at(tier))
    write(f"{across.low:.3g}", LABEL + 2)
    return "".join(line)
