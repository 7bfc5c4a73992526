"""The report's charts, drawn as SVG that is right on light and dark pages, on paper, and without colours.

What is told apart by colour is told apart by shape, dash or words as well.
"""

from collections.abc import Sequence

from piip_dashboards.drawing.architecture_svg import COLOURS, standalone_style
from piip_dashboards.report.axes import Axis, frame, line, picture, text
from piip_dashboards.report.content import SearchReport
from piip_search.analysis.effects import Effect, Weight
from piip_search.analysis.rank_correlation import Interval

CHART_WIDTH = 760
"""Width of a chart, in pixels."""
CHART_HEIGHT = 400
"""Height of a chart, in pixels."""
_LEFT = 70
"""Left edge of the axes."""
_RIGHT = 740
"""Right edge of the axes."""
_TOP = 46
"""Top edge of the axes."""
_BOTTOM = 344
"""Bottom edge of the axes."""
_BLUE, _ORANGE = (f"var(--branch-{place + 1}, {COLOURS[place]})" for place in (0, 1))
_FILLED = f'fill="{_BLUE}"'
"""Look of a point."""
_HOLLOW = f'fill="none" stroke="{_ORANGE}" stroke-width="1.8"'
"""Look of a point that stands out less."""
_DASHES = ("", "7 3", "2 3", "9 3 2 3")


def front_chart(report: SearchReport, standalone: bool = False) -> str:
    """Metric against cost: every finished design, the front, the tiers, and below the axis what failed."""
    measured = [(point.gmacs, point.value) for point in report.points if point.value is not None]
    if not measured:
        return ""
    tiers = [tier.gmacs for tier in report.tiers]
    across = Axis.over([gmacs for gmacs, _ in measured] + tiers, _LEFT, _RIGHT)
    up = Axis.over([value for _, value in measured], _BOTTOM, _TOP, log=False, zero=True)
    parts = frame(across, up, f"GMACs ({report.convention} convention)", report.metric)
    parts += _tiers(tiers, across)
    members = {row.trial for row in report.front}
    others = [(p.gmacs, p.value) for p in report.points if p.value is not None and p.trial not in members]
    parts.append(_dots([(across.at(gmacs), up.at(value)) for gmacs, value in others]))
    failed = [across.at(point.gmacs) for point in report.points if point.value is None]
    parts.append(_crosses(failed))
    parts += _steps(report, across, up)
    shown = [("front", f'<circle cx="{{x}}" cy="{{y}}" r="5" fill="{_BLUE}"/>')]
    shown += [("other designs", '<circle cx="{x}" cy="{y}" r="3" opacity="0.45"/>')] if others else []
    shown += (
        [
            (
                f"failed ({len(failed)})",
                f'<path d="M{{x}} {{y}}m-3.5 -3.5l7 7m0 -7l-7 7" stroke="{_ORANGE}" stroke-width="1.6" fill="none"/>',
            )
        ]
        if failed
        else []
    )
    parts += _key(shown)
    best = report.front[-1]
    told = (
        f"{len(measured)} designs; the front has {len(report.front)} members and reaches {report.metric} "
        f"{best.value:.4f} at {best.gmacs:.4g} GMACs."
    )
    return picture(
        CHART_WIDTH, CHART_HEIGHT, f"Front of {report.run}", told, parts, standalone_style() if standalone else ""
    )


def _tiers(tiers: Sequence[float], across: Axis) -> list[str]:
    parts, last = [], -100.0
    for tier in tiers:
        x = across.at(tier)
        parts.append(line(x, _TOP, x, _BOTTOM, 'stroke="currentColor" stroke-dasharray="5 4" opacity="0.5"'))
        if x - last > 38:  # labels of close tiers would lie on each other
            parts.append(text(x, _TOP - 6, f"{tier:g} G", 'text-anchor="middle" font-size="11" opacity="0.8"'))
            last = x
    return parts


def _dots(places: Sequence[tuple[float, float]]) -> str:
    """Points as one path, so that ten thousand weigh little; what lies on another one is drawn once."""
    different = sorted({(round(x, 1), round(y, 1)) for x, y in places})
    marks = "".join(f"M{x:g} {y:g}h0" for x, y in different)
    weak = 0.45 if len(different) < 500 else 0.25
    return (
        f'<path d="{marks}" stroke="currentColor" stroke-width="5" stroke-linecap="round" opacity="{weak}" '
        'fill="none"/>'
        if marks
        else ""
    )


def _crosses(places: Sequence[float]) -> str:
    marks = "".join(f"M{x:g} {_BOTTOM - 4}m-3 -3l6 6m0 -6l-6 6" for x in sorted({round(x, 1) for x in places}))
    return f'<path d="{marks}" stroke="{_ORANGE}" stroke-width="1.4" fill="none"/>' if marks else ""


def _steps(report: SearchReport, across: Axis, up: Axis) -> list[str]:
    places = [(across.at(row.gmacs), up.at(row.value), row.letter) for row in report.front]
    path = f"M{places[0][0]:.1f} {_BOTTOM}V{places[0][1]:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y, _ in places[1:])
    parts = [f'<path d="{path}H{_RIGHT}" stroke="{_BLUE}" stroke-width="1.6" fill="none"/>']
    named: list[tuple[float, float]] = []
    for x, y, letter in places:
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{_BLUE}"/>')
        if letter and all(abs(x - there[0]) > 12 or abs(y - there[1]) > 12 for there in named):
            parts.append(text(x - 7, y - 7, letter, 'text-anchor="end" font-size="12" font-weight="600"'))
            named.append((x, y))
    return parts


def _key(shown: Sequence[tuple[str, str]]) -> list[str]:
    parts, x = [], float(_LEFT)
    for words, mark in shown:
        parts += [mark.format(x=f"{x + 5:.0f}", y="10"), text(x + 15, 14, words, 'font-size="11"')]
        x += 32 + 6.4 * len(words)
    return parts


def progress_chart(report: SearchReport, standalone: bool = False) -> str:
    """The hypervolume of each tier over evaluations."""
    if not any(steps for _, steps in report.progress):
        return ""
    height, top, bottom = 244, 14, 194
    ended = max(1, report.counts["done"] + report.counts["failed"])
    across = Axis(0, ended, _LEFT, _RIGHT - 70)
    up = Axis.over([0.0, *(value for _, steps in report.progress for _, value in steps)], bottom, top, False, True)
    parts = frame(across, up, "evaluations", "hypervolume")
    ends = []
    for place, (tier, steps) in enumerate(report.progress):
        path, last = f"M{across.at(0):.1f} {up.at(0):.1f}", 0.0
        for number, value in steps:
            path, last = f"{path}H{across.at(number):.1f}V{up.at(value):.1f}", value
        colour = f"var(--branch-{place % 4 + 1}, {COLOURS[place % 4]})"
        parts.append(
            f'<path d="{path}H{across.stop:.1f}" stroke="{colour}" stroke-width="2" '
            f'stroke-dasharray="{_DASHES[place % 4]}" fill="none"/>'
        )
        ends.append((up.at(last), tier))
    y = -100.0
    for end, tier in sorted(ends):
        y = max(end, y + 13)
        parts.append(text(across.stop + 6, y + 4, f"{tier:g} G", 'font-size="11"'))
    told = "; ".join(f"{steps[-1][1]:.4f} within {tier:g} GMACs" for tier, steps in report.progress if steps)
    return picture(
        CHART_WIDTH,
        height,
        "Hypervolume of each tier over evaluations",
        told,
        parts,
        standalone_style() if standalone else "",
    )


def effects_chart(effects: Sequence[Effect], metric: str, standalone: bool = False) -> str:
    """Effects with their intervals, a line each: filled as measured, hollow at equal cost."""
    if not effects:
        return ""
    left, row = 372, 30
    ends = [0.0]
    for effect in effects:
        for gain in (effect.gain, effect.equal_cost):
            ends += [] if gain is None else [gain.low, gain.high] if isinstance(gain, Interval) else [gain]
    height = _TOP + row * len(effects) + 56
    bottom = _TOP + row * len(effects)
    across = Axis.over(_without_wild(ends), left, _RIGHT, log=False)
    parts = [
        *(
            line(across.at(tick), _TOP, across.at(tick), bottom, 'stroke="currentColor" opacity="0.14"')
            for tick in across.ticks()
        ),
        *(
            text(across.at(tick), bottom + 16, f"{tick:+.4g}" if tick else "0", 'text-anchor="middle" font-size="11"')
            for tick in across.ticks()
        ),
        line(across.at(0), _TOP - 4, across.at(0), bottom, 'stroke="currentColor" opacity="0.7"'),
        text((left + _RIGHT) / 2, bottom + 36, f"{metric} gained, with 90 % intervals", 'text-anchor="middle"'),
        *_key(
            [
                ("as measured", f'<circle cx="{{x}}" cy="{{y}}" r="4.5" {_FILLED}/>'),
                ("at equal cost", f'<circle cx="{{x}}" cy="{{y}}" r="4" {_HOLLOW}/>'),
            ]
        ),
    ]
    for place, effect in enumerate(effects):
        y = _TOP + row * place + row / 2
        weight = "600" if effect.broad else "400"
        count = f"{len(effect.pairs)} pair{'s' if len(effect.pairs) > 1 else ''}"
        parts.append(text(0, y, _cut(effect.title, 60), f'font-size="11.5" font-weight="{weight}"'))
        parts.append(text(0, y + 12, f"{count}, {effect.costs:.3g} × the cost", 'font-size="10" opacity="0.75"'))
        parts += _mark(effect.gain, across, y - 3, _BLUE, _FILLED)
        parts += [] if effect.equal_cost is None else _mark(effect.equal_cost, across, y + 6, _ORANGE, _HOLLOW)
    told = "; ".join(effect.said(metric) for effect in effects)
    return picture(
        CHART_WIDTH, height, "Effects of single choices", told, parts, standalone_style() if standalone else ""
    )


def _without_wild(ends: Sequence[float]) -> list[float]:
    """Ends of intervals without those of two pairs by chance far apart, which would squeeze all others; cut instead."""
    sizes = sorted(abs(end) for end in ends)
    limit = 3 * sizes[int(0.8 * (len(sizes) - 1))] or 1.0
    return [max(-limit, min(limit, end)) for end in ends]


def _mark(gain: Interval | float, across: Axis, y: float, colour: str, paint: str) -> list[str]:
    value = gain.value if isinstance(gain, Interval) else gain
    ends = (gain.low, gain.high) if isinstance(gain, Interval) else ()
    parts = (
        [line(across.at(ends[0]), y, across.at(ends[1]), y, f'stroke="{colour}" stroke-width="1.6"')] if ends else []
    )
    return [*parts, f'<circle cx="{across.at(value):.1f}" cy="{y:.1f}" r="4.2" {paint}/>']


def _cut(words: str, most: int) -> str:
    return words if len(words) <= most else words[: most - 1] + "…"


def weights_chart(weights: Sequence[Weight], standalone: bool = False) -> str:
    """Importance of each kind of choice, a bar each with its deviation between parts of the data."""
    if not weights:
        return ""
    left, row = 170, 26
    bottom = 8 + row * len(weights)
    most = max(weight.share + weight.deviation for weight in weights)
    across = Axis(0, max(most, 1e-9) * 1.05, left, _RIGHT)
    parts = [line(left, 4, left, bottom, 'stroke="currentColor" opacity="0.7"')]
    parts += [
        text(across.at(tick), bottom + 16, f"{tick:.0%}", 'text-anchor="middle" font-size="11"')
        for tick in across.ticks()
    ]
    for place, weight in enumerate(weights):
        y, share = 8 + row * place, max(weight.share, 0.0)
        parts.append(text(left - 8, y + 15, weight.choice, 'text-anchor="end"'))
        parts.append(
            f'<rect x="{left}" y="{y + 4:.1f}" width="{across.at(share) - left:.1f}" height="15" fill="{_BLUE}"/>'
        )
        low, high = (across.at(max(0.0, share + sign * weight.deviation)) for sign in (-1, 1))
        parts.append(line(low, y + 11.5, high, y + 11.5, 'stroke="currentColor" stroke-width="1.4"'))
    parts.append(text((left + _RIGHT) / 2, bottom + 34, "of the metric's variance", 'text-anchor="middle"'))
    told = "; ".join(f"{weight.choice} {weight.share:.1%}" for weight in weights)
    return picture(
        CHART_WIDTH, bottom + 44, "What matters beyond cost", told, parts, standalone_style() if standalone else ""
    )
