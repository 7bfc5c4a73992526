"""The charts of reports, papers and MLflow, drawn by matplotlib.

A length is in points; a page shows a point as a pixel. Every distinction by colour is also one by shape, dash or text.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import blended_transform_factory
from numpy.typing import NDArray

from piip_dashboards.drawing.svg_element import COLOURS, INK
from piip_search.analysis.effects import Effect, Weight
from piip_search.analysis.rank_correlation import Interval
from piip_search.cost import CostLabel

CHART_SIZE = (760.0, 400.0)
"""Width and height of a front on a page."""
COLUMN_SIZE = (461.0, 274.0)
"""Width and height of a front in a column of a paper."""
LOG_AXIS_FROM = 8.0
"""Ratio of greatest and least number from which an axis is logarithmic."""
LONGEST_TITLE = 60
"""Most letters of an effect's title."""
LISTED_LINES = 44
"""Most lines of the list of designs beside a front."""
_BLUE, _ORANGE = COLOURS[:2]
_DASHES = ((0, ()), (0, (3.5, 1.5)), (0, (1, 1.5)), (0, (4.5, 1.5, 1, 1.5)))
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "text.color": INK,
    "text.parse_math": False,  # names with a dollar sign are no formulas
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": 12,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": INK,
    "grid.alpha": 0.14,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.bottom": False,
    "ytick.left": False,
    "legend.frameon": False,
    "legend.borderpad": 0,
    "legend.handletextpad": 0.4,
    "legend.borderaxespad": 0,
    "figure.dpi": 72,
}

Points = NDArray[np.float64]


@dataclass(frozen=True)
class ChartMember:
    """A member of a front in a picture.

    Attributes:
        letter: Letter of its point; empty for none.
        name: Short form of the design.
    """

    letter: str
    cost: float
    value: float
    name: str


@dataclass(frozen=True)
class FrontChart:
    """The content of a front's picture.

    Attributes:
        metric: Name of the metric.
        axis: Axis of the costs.
        tiers: Tiers of the limit.
        members: The front, cheapest first; at least one.
        others: Cost and metric of each other finished design.
        failed: Costs of failed designs.
        stepped: Whether the front is a line of steps: with further metrics or costs it is not.
        rises: Whether a higher metric is better.
        baselines: Cost and metric of each baseline.
    """

    metric: str
    axis: CostLabel
    tiers: tuple[float, ...]
    members: tuple[ChartMember, ...]
    others: tuple[tuple[float, float], ...] = ()
    failed: tuple[float, ...] = ()
    stepped: bool = True
    rises: bool = True
    baselines: tuple[tuple[float, float], ...] = ()


def front_figure(front: FrontChart, size: tuple[float, float] = CHART_SIZE, listed: bool = False) -> Figure:
    """Metric against cost: finished designs, the front as steps, baselines, the tiers, and below them the failures.

    Args:
        front: Content of the picture.
        size: Width and height.
        listed: Whether to list the members beside it.
    """
    right = 0.42 * size[0] if listed else 20
    with chart_axes(size, left=70, right=right, top=46, bottom=56) as (figure, axes):
        _set_front_axes(axes, front)
        _draw_tiers(axes, front.tiers, front.axis)
        _draw_members(axes, front)
        if front.others:
            _draw_cloud(axes, np.array(front.others))
        if front.baselines:
            _draw_baselines(axes, np.array(front.baselines))
        if front.failed:
            _draw_failed(axes, front.failed)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1 + 24 / axes.bbox.height), ncols=4)
        if listed:
            _list_members(axes, front.members, front.axis)
    return figure


@contextmanager
def chart_axes(
    size: tuple[float, float], left: float, right: float, top: float, bottom: float
) -> Iterator[tuple[Figure, Axes]]:
    """A figure with margins around its axes, in the style of the charts."""
    width, height = size
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width / 72, height / 72))
        place = (left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height)
        yield figure, figure.add_axes(place)


def _with_room(values: Sequence[float] | Points, zero: bool = False) -> tuple[float, float]:
    """Ends of an axis for all values with a margin; with `zero` at least zero, for values that are never negative."""
    low, high = float(min(values)), float(max(values))
    room = 0.06 * (high - low) or abs(high) * 0.1 or 0.5
    return (max(low - room, 0.0) if zero and low >= 0 else low - room), high + room


def _few_ticks(integer: bool = False) -> MaxNLocator:
    """About five round ticks."""
    return MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=integer)


def _set_front_axes(axes: Axes, front: FrontChart) -> None:
    measured = np.array([*((one.cost, one.value) for one in front.members), *front.others, *front.baselines])
    _set_cost_axis(axes, [*measured[:, 0], *front.tiers])
    low, high = _with_room(measured[:, 1], zero=True)
    axes.set_ylim(low, high + 0.05 * (high - low))  # for the letter of the best
    axes.yaxis.set_major_locator(_few_ticks())
    axes.set(xlabel=front.axis.title, ylabel=front.metric)


def _set_cost_axis(axes: Axes, costs: Sequence[float]) -> None:
    """Makes the axis logarithmic if costs are positive and far apart."""
    low, high = min(costs), max(costs)
    if low > 0 and high / low >= LOG_AXIS_FROM:
        room = (high / low) ** 0.05
        axes.set_xscale("log")
        axes.set_xlim(low / room, high * room)
        axes.xaxis.set_major_locator(LogLocator(subs=(1,) if high / low > 1e3 else (1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.set_xlim(_with_room(costs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _written(value)))


def _written(value: float) -> str:
    """A number as text beside an axis."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def _draw_tiers(axes: Axes, tiers: Sequence[float], label: CostLabel) -> None:
    last = -np.inf
    for tier in tiers:
        axes.axvline(tier, color=INK, alpha=0.5, linewidth=1, linestyle=(0, (5, 4)))
        x, name = axes.transData.transform((tier, 0))[0], label.format(tier)
        if x - last > 6.3 * len(name):  # names of close tiers would overlap
            _write(axes, name, (tier, 1), (0, 5), xycoords=("data", "axes fraction"), ha="center", alpha=0.8)
            last = x


def _write(axes: Axes, words: str, place: tuple[float, float], offset: tuple[float, float], **look: Any) -> None:
    """Writes a text so many points away from a place."""
    axes.annotate(words, place, offset, textcoords="offset points", **look)


def _draw_members(axes: Axes, front: FrontChart) -> None:
    members = front.members
    costs, values = [one.cost for one in members], [one.value for one in members]
    ends = axes.get_xlim()[1], axes.get_ylim()[0 if front.rises else 1]  # the line comes from the worst
    if front.stepped:
        axes.step([costs[0], *costs, ends[0]], [ends[1], *values, values[-1]], where="post", color=_BLUE, linewidth=1.6)
    axes.plot(costs, values, "o", color=_BLUE, markersize=10, markeredgewidth=0, clip_on=False, label="front")
    named: list[Points] = []
    for one, place in zip(members, axes.transData.transform(np.column_stack([costs, values])), strict=True):
        if one.letter and all(np.abs(place - other).max() > 10 for other in named):
            _write(axes, one.letter, (one.cost, one.value), (-6, 5), ha="right", weight="bold", size=12)
            named.append(place)


def _draw_cloud(axes: Axes, points: Points) -> None:
    """Draws points as one path, so that ten thousand are small; points at one place are drawn once."""
    places = np.round(axes.transData.transform(points), 1)
    points = points[np.sort(np.unique(places, axis=0, return_index=True)[1])]
    ends = points * (1 + 1e-7, 1)  # some viewers draw no line of length zero
    outline = Outline(np.stack([points, ends], 1).reshape(-1, 2), [Outline.MOVETO, Outline.LINETO] * len(points))
    faint = 0.45 if len(points) < 500 else 0.25
    dots = {"fill": False, "linewidth": 5, "capstyle": "round", "snap": False, "clip_on": False}
    axes.add_patch(PathPatch(outline, color=INK, alpha=faint, **dots))
    axes.plot([], [], "o", color=INK, alpha=faint, markersize=5, markeredgewidth=0, label="other designs")


def _draw_baselines(axes: Axes, points: Points) -> None:
    axes.plot(
        points[:, 0],
        points[:, 1],
        "s",
        color=_ORANGE,
        markersize=9,
        markeredgewidth=1.8,
        fillstyle="none",
        clip_on=False,
        label=f"baselines ({len(points)})",
    )


def _draw_failed(axes: Axes, costs: Sequence[float]) -> None:
    places = np.round(axes.transData.transform([(cost, 0) for cost in costs])[:, 0])
    shown = np.array(costs)[np.unique(places, return_index=True)[1]]
    axes.plot(
        shown,
        np.full(len(shown), 4 / axes.bbox.height),
        "x",
        color=_ORANGE,
        markersize=6,
        markeredgewidth=1.4,
        transform=axes.get_xaxis_transform(),
        clip_on=False,
        label=f"failed ({len(costs)})",
    )


def _list_members(axes: Axes, members: Sequence[ChartMember], label: CostLabel) -> None:
    lines = []
    for one in members:
        first, *rest = one.name.split("+")
        lines += [
            f"{one.letter}  {one.value:.3f}  {label.format(one.cost, 3)}  {first}",
            *(f"   + {part}" for part in rest),
        ]
    words = "\n".join(lines[:LISTED_LINES])
    axes.text(1.03, 1, words, family="DejaVu Sans Mono", size=8, va="top", transform=axes.transAxes)


def save_figure(figure: Figure, target: Path | IO[str], form: str, salt: str = "", transparent: bool = False) -> None:
    """Writes a figure; equal figures give equal files.

    Args:
        figure: Figure to write.
        target: File to write to.
        form: Format: svg or png.
        salt: Text that makes the ids of an SVG unique in a page.
        transparent: Whether the background is transparent instead of white.
    """
    with mpl.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the reader of an SVG brings fonts of its own
        metadata = {"Date": None} if form == "svg" else None
        figure.savefig(target, format=form, dpi=300, transparent=transparent, metadata=metadata)


def progress_figure(
    metric: str, progress: Sequence[tuple[float, Sequence[tuple[int, float]]]], ended: int, label: CostLabel
) -> Figure:
    """The hypervolume of each tier over evaluations.

    Args:
        metric: Title of the vertical axis.
        progress: For each tier the evaluations after which its hypervolume changed, with its new value.
        ended: Number of evaluations in all.
        label: Axis of the tiers.
    """
    with chart_axes((CHART_SIZE[0], 244), left=70, right=90, top=14, bottom=50) as (figure, axes):
        axes.set_xlim(0, max(1, ended))
        axes.set_ylim(_with_room([0.0, *(value for _, steps in progress for _, value in steps)], zero=True))
        axes.set(xlabel="evaluations", ylabel=metric)
        axes.xaxis.set_major_locator(_few_ticks(integer=True))
        axes.yaxis.set_major_locator(_few_ticks())
        ends = []
        for place, (tier, steps) in enumerate(progress):
            numbers, values = zip((0, 0.0), *steps, (ended, steps[-1][1] if steps else 0.0), strict=True)
            colour, dashes = COLOURS[place % 4], _DASHES[place % 4]
            axes.step(numbers, values, where="post", color=colour, linestyle=dashes, linewidth=2)
            ends.append((values[-1], label.format(tier)))
        _name_ends(axes, ends)
    return figure


def _name_ends(axes: Axes, ends: Sequence[tuple[float, str]]) -> None:
    """Writes names at the right ends of lines, moved apart to avoid overlaps."""
    last = np.inf
    for value, name in sorted(ends, reverse=True):
        y = axes.transData.transform((0, value))[1]
        last = min(y, last - 13)
        _write(axes, name, (1, value), (6, last - y), xycoords=("axes fraction", "data"), va="center")


def effects_figure(effects: Sequence[Effect], gained: str) -> Figure:
    """Effects with their intervals, one line each: filled as measured, hollow at equal cost.

    Args:
        effects: Effects, from the top.
        gained: What a gain counts (`MetricAxis.gained`).
    """
    size = (CHART_SIZE[0], 102.0 + 30 * len(effects))
    with chart_axes(size, left=372, right=20, top=46, bottom=56) as (figure, axes):
        axes.set_ylim(len(effects) - 0.5, -0.5)
        limit = _limit([end for one in effects for gain in (one.gain, one.equal_cost) for end in _ends(gain)])
        axes.set_xlim(_with_room(limit))
        axes.grid(visible=False, axis="y")
        axes.yaxis.set_visible(False)
        axes.axvline(0, color=INK, alpha=0.7, linewidth=1)
        axes.spines["bottom"].set_visible(False)
        axes.xaxis.set_major_locator(_few_ticks())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+.4g}" if value else "0"))
        axes.set_xlabel(f"{gained} gained, with 90 % intervals")
        _draw_gains(axes, [(row - 0.1, one.gain) for row, one in enumerate(effects)], "as measured", _BLUE, "full")
        equal = [(row + 0.2, one.equal_cost) for row, one in enumerate(effects) if one.equal_cost is not None]
        _draw_gains(axes, equal, "at equal cost", _ORANGE, "none")
        _name_effects(figure, axes, effects)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1 + 20 / (30 * len(effects))), ncols=2)
    return figure


def _ends(gain: Interval | float | None) -> list[float]:
    return [] if gain is None else [gain.low, gain.high] if isinstance(gain, Interval) else [gain]


def _limit(ends: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis without outliers from two distant pairs, which would squeeze all others."""
    sizes = sorted(abs(end) for end in (0.0, *ends))
    limit = 3 * sizes[int(0.8 * (len(sizes) - 1))] or 1.0
    kept = [max(-limit, min(limit, end)) for end in (0.0, *ends)]
    return min(kept), max(kept)


def _draw_gains(
    axes: Axes, gains: Sequence[tuple[float, Interval | float]], label: str, colour: str, fill: Literal["full", "none"]
) -> None:
    """Draws each gain at its height, at most at the end of the axis."""
    inside = axes.get_xlim()
    for y, gain in gains:
        ends = np.clip(_ends(gain), *inside)
        axes.plot(ends, [y] * len(ends), color=colour, linewidth=1.6, solid_capstyle="butt")
    values = np.clip([gain.value if isinstance(gain, Interval) else gain for _, gain in gains], *inside)
    rows, edge = [y for y, _ in gains], 1.8 if fill == "none" else 0.0
    axes.plot(values, rows, "o", label=label, color=colour, fillstyle=fill, markersize=8.4, markeredgewidth=edge)


def _name_effects(figure: Figure, axes: Axes, effects: Sequence[Effect]) -> None:
    place = blended_transform_factory(figure.transFigure, axes.transData)
    for row, effect in enumerate(effects):
        count = f"{len(effect.pairs)} pair{'s' if len(effect.pairs) > 1 else ''}, {effect.costs:.3g} × the cost"
        weight = "bold" if effect.broad else "normal"
        axes.text(0, row, _cut(effect.title), size=11, weight=weight, transform=place)
        axes.text(0, row + 0.4, count, size=10, alpha=0.75, transform=place)


def _cut(words: str) -> str:
    return words if len(words) <= LONGEST_TITLE else f"{words[: LONGEST_TITLE - 1]}…"


def weights_figure(weights: Sequence[Weight]) -> Figure:
    """Importance of each kind of choice, one bar each with its deviation between parts of the data."""
    with chart_axes((CHART_SIZE[0], 52.0 + 26 * len(weights)), left=170, right=20, top=4, bottom=48) as (figure, axes):
        rows, shares = range(len(weights)), np.array([max(one.share, 0.0) for one in weights])
        deviations = np.array([one.deviation for one in weights])
        axes.set_ylim(len(weights) - 0.5, -0.5)
        axes.set_xlim(0, max(max(one.share + one.deviation for one in weights), 1e-9) * 1.05)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(True)
        axes.barh(rows, shares, height=0.58, color=_BLUE)
        axes.hlines(rows, np.maximum(shares - deviations, 0), shares + deviations, color=INK, linewidth=1.4)
        axes.set_yticks(rows, [one.choice for one in weights])
        axes.xaxis.set_major_locator(_few_ticks())
        axes.xaxis.set_major_formatter("{x:.0%}")
        axes.set_xlabel("of the metric's variance")
    return figure
