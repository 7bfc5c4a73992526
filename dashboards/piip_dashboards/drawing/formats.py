"""Formats of numbers, times and designs on the pages."""

from datetime import UTC, datetime

from markupsafe import Markup

from piip_dashboards.runs.run_state import silence_text

DASH = "–"


def significant(value: float | None, digits: int = 4) -> str:
    """A number with so many significant digits and thousands separators: 1,234 and 0.06421."""
    if value is None:
        return DASH
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def metric(value: float | None) -> str:
    """A metric with four decimal places, as everywhere in the project."""
    return DASH if value is None else f"{value:.4f}"


def signed(value: float | None) -> str:
    """A difference of metrics with its sign."""
    return DASH if value is None else f"{value:+.4f}"


def percent(share: float) -> str:
    return f"{share:.1%}" if 0 < share < 0.0995 else f"{share:.0%}"


def duration(seconds: float | None) -> str:
    """A duration as 40 s, 12:05 min or 3:07 h."""
    if seconds is None:
        return DASH
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


def hours(value: float) -> str:
    """Hours as text for people."""
    return duration(value * 3600) if value < 10 else f"{value:,.0f} h"


def moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def ago(at: datetime) -> str:
    return f"{silence_text(datetime.now(UTC) - at)} ago"


def breakable(name: str) -> Markup:
    """The short form of a design, which may wrap between its branches."""
    return Markup("").join(Markup("{}<wbr>").format(part) for part in _after_plus(str(name)))


def _after_plus(name: str) -> list[str]:
    parts = name.split("+")
    return [f"{part}+" for part in parts[:-1]] + parts[-1:]


def glyph(branches: list[tuple[str, int]], size: int = 44) -> Markup:
    """A small picture of a design: a square for each branch, as large as its image, darker for a larger model.

    Args:
        branches: Model and image size in pixels of each branch, the largest model first.
        size: Side of the picture in pixels.
    """
    largest = max((side for _, side in branches), default=1)
    squares = Markup("").join(
        Markup('<rect class="shade{}" x="0.5" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
            min(place, 3),
            size - 0.5 - (size - 1) * side / largest,
            (size - 1) * side / largest,
            (size - 1) * side / largest,
        )
        for place, (_, side) in sorted(enumerate(branches), key=lambda item: -item[1][1])
    )
    words = ", ".join(f"{model} at {side} px" for model, side in branches)
    start = '<svg class="glyph" role="img" aria-label="{}" width="{}" height="{}" viewBox="0 0 {} {}">'
    return Markup(start).format(words, size, size, size, size) + squares + Markup("</svg>")


PAGE_FILTERS = {
    "significant": significant,
    "metric": metric,
    "signed": signed,
    "percent": percent,
    "duration": duration,
    "hours": hours,
    "moment": moment,
    "ago": ago,
    "breakable": breakable,
    "glyph": glyph,
}
