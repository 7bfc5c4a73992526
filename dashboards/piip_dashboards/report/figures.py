"""The front as figures for a paper: SVG and PNG of one drawing, on white, in the size of a column."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from piip_dashboards.drawing.architecture_svg import COLOURS
from piip_dashboards.report.axes import LOG_AXIS_FROM
from piip_dashboards.report.content import SearchReport

FRONT_FILE = "front"
MUTED = "#8a8f98"


def draw_front(report: SearchReport) -> Figure:
    """Metric against cost: every finished design, the front as steps, the tiers."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    members = {row.trial for row in report.front}
    others = [(p.gmacs, p.value) for p in report.points if p.value is not None and p.trial not in members]
    costs, values = [row.gmacs for row in report.front], [row.value for row in report.front]
    if others:
        x, y = zip(*others, strict=True)
        axes.scatter(x, y, s=9, color=MUTED, alpha=0.5, linewidths=0, label="other designs")
    right = max([tier.gmacs for tier in report.tiers] + costs)
    axes.step([*costs, right], [*values, values[-1]], where="post", color=COLOURS[0], linewidth=1.4)
    axes.scatter(costs, values, s=26, color=COLOURS[0], zorder=3, label="front")
    if right >= LOG_AXIS_FROM * min(p.gmacs for p in report.points if p.value is not None):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    for tier in report.tiers:
        axes.axvline(tier.gmacs, color=MUTED, linestyle="--", linewidth=0.8)
        axes.annotate(
            f"{tier.gmacs:g} G",
            (tier.gmacs, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            fontsize=7,
            ha="center",
            color="#555555",
        )
    _letter(report, axes)
    axes.set(xlabel=f"GMACs ({report.convention} convention)", ylabel=report.metric)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, axis="y", color="#eeeeee")
    axes.set_axisbelow(True)
    axes.legend(fontsize=8, loc="lower right", edgecolor="none", framealpha=0.85)
    return figure


def _letter(report: SearchReport, axes: Axes) -> None:
    """A letter at each member of the front, but where it would lie on another one."""
    low, high = (sorted(axes.get_xlim())[end] for end in (0, 1))
    wide = np.log(high / low) if axes.get_xscale() == "log" else high - low
    tall = abs(np.subtract(*axes.get_ylim()))
    named: list[tuple[float, float]] = []
    for row in report.front:
        x, y = (np.log(row.gmacs) if axes.get_xscale() == "log" else row.gmacs) / wide, row.value / tall
        if row.letter and all(abs(x - there[0]) > 0.025 or abs(y - there[1]) > 0.04 for there in named):
            axes.annotate(
                row.letter, (row.gmacs, row.value), xytext=(-3, 4), textcoords="offset points", fontsize=8, ha="right"
            )
            named.append((x, y))


def write_figures(report: SearchReport, folder: Path) -> list[Path]:
    """Writes the front as SVG and PNG, and the drawings of the chosen designs.

    Returns:
        What was written; nothing where there is no front.
    """
    if not report.front:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    figure, written = draw_front(report), []
    with mpl.rc_context({"svg.hashsalt": report.run, "svg.fonttype": "none"}):  # equal reports give equal files
        for ending in ("svg", "png"):
            written.append(folder / f"{FRONT_FILE}.{ending}")
            figure.savefig(written[-1], dpi=300, metadata={"Date": None} if ending == "svg" else None)
    for design in report.chosen:
        if design.alone:
            written.append(folder / f"trial-{design.trial}.svg")
            written[-1].write_text(design.alone, encoding="utf-8")
    return written
