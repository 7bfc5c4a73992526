"""Axes of the report's charts: where a number lies, and which numbers are written beside it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

LOG_AXIS_FROM = 8.0
"""Greatest over least number from which an axis is logarithmic."""


@dataclass(frozen=True)
class Axis:
    """Numbers along a line of the picture.

    Attributes:
        low, high: Numbers at its ends.
        start, stop: Where these lie, in pixels.
        log: Whether equal steps are equal ratios.
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    @classmethod
    def over(
        cls, values: Sequence[float], start: float, stop: float, log: bool | None = None, zero: bool = False
    ) -> "Axis":
        """An axis that holds all values with some room at its ends.

        Args:
            values: What is to be shown.
            start: Pixel of the lowest.
            stop: Pixel of the highest.
            log: Whether it is logarithmic; by default where the values are positive and far apart.
            zero: Whether it never ends below zero, since no value can.
        """
        low, high = min(values, default=0.0), max(values, default=1.0)
        log = (low > 0 and high / low >= LOG_AXIS_FROM) if log is None else log
        if log:
            room = (high / low) ** 0.05 if high > low else 2.0
            return cls(low / room, high * room, start, stop, True)
        room = 0.06 * (high - low) or abs(high) * 0.1 or 0.5
        least = low - room
        return cls(max(least, 0.0) if zero and low >= 0 else least, high + room, start, stop)

    def at(self, value: float) -> float:
        """Where a number lies; beyond the ends, at the end."""
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, self._inside(value)))
        return self.start + (self.stop - self.start) * (value - low) / (high - low)

    def _inside(self, value: float) -> float:
        return min(max(value, self.low), self.high)

    def ticks(self) -> list[float]:
        """Round numbers that lie on it, about five."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            few = len(decades) > 4
            steps = [digit * 10.0**decade for decade in decades for digit in ((1,) if few else (1, 2, 5))]
            found = [step for step in steps if self.low <= step <= self.high]
            if len(found) > 1:
                return found
        rough = (self.high - self.low) / 5
        size = 10 ** math.floor(math.log10(rough))
        step = next(size * digit for digit in (1, 2, 2.5, 5, 10) if size * digit >= rough)
        first = math.ceil(self.low / step)
        return [number * step for number in range(first, math.floor(self.high / step) + 1)]


def written(value: float) -> str:
    """A number beside an axis."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def text(x: float, y: float, words: str, more: str = "") -> str:
    """Words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, more: str = "") -> str:
    """A line between two places."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {more}/>'


def frame(across: Axis, up: Axis, below: str, beside: str) -> list[str]:
    """Grid, numbers and names of two axes."""
    left, right, top, bottom = across.start, across.stop, up.stop, up.start
    parts = []
    for tick in up.ticks():
        parts.append(line(left, up.at(tick), right, up.at(tick), 'stroke="currentColor" opacity="0.14"'))
        parts.append(text(left - 8, up.at(tick) + 4, written(tick), 'text-anchor="end" font-size="11"'))
    for tick in across.ticks():
        parts.append(line(across.at(tick), bottom, across.at(tick), bottom + 4, 'stroke="currentColor" opacity="0.6"'))
        parts.append(text(across.at(tick), bottom + 17, written(tick), 'text-anchor="middle" font-size="11"'))
    parts.append(line(left, bottom, right, bottom, 'stroke="currentColor" opacity="0.6"'))
    parts.append(text((left + right) / 2, bottom + 36, below, 'text-anchor="middle"'))
    middle = (top + bottom) / 2
    parts.append(text(14, middle, beside, f'text-anchor="middle" transform="rotate(-90 14 {middle:.1f})"'))
    return parts


def picture(width: float, height: float, title: str, told: str, parts: Sequence[str], style: str = "") -> str:
    """One SVG element, with what it shows in words for who does not see it."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(title)}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" fill="currentColor" '
        "font-family=\"system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif\" font-size=\"12\">"
        f"<title>{escape(title)}</title><desc>{escape(told)}</desc>{style}{''.join(parts)}</svg>"
    )
