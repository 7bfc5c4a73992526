"""A plan as a picture: how the costs of a space's designs are spread."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from piip_search.search.plan import Plan

_BARS = "#56B4E9"
"""Colour of the bars."""
_LINES = "#555555"
"""Colour of the tiers."""
_POINTS = "#D55E00"
"""Colour of the published designs."""


def draw_plan(plan: Plan, path: Path) -> None:
    """Writes the picture; the ending of the name says in which format (png, svg, pdf).

    Raises:
        ValueError: No picture can be written in that format.
    """
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    axes = figure.subplots()
    edges = np.array(plan.edges)
    axes.bar(edges[:-1], plan.counts, np.diff(edges), align="edge", color=_BARS, label="legal designs")
    top = max(plan.counts)
    for tier in plan.tiers:
        axes.axvline(tier.gmacs, color=_LINES, linestyle="--", linewidth=1)
        axes.annotate(
            f"{tier.gmacs:g} G: {tier.designs:,}",
            (tier.gmacs, 0.99),
            xycoords=("data", "axes fraction"),
            rotation=90,
            va="top",
            ha="right",
            fontsize=8,
            color=_LINES,
            bbox={"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 1.5},
        )
    for inside, fill, where in ((True, "full", "in this space"), (False, "none", "not in this space")):
        costs = [one.gmacs for one in plan.published if (not one.reasons) is inside and one.gmacs <= plan.edges[-1]]
        if costs:
            axes.plot(
                costs,
                [-0.03 * top] * len(costs),
                "^",
                color=_POINTS,
                fillstyle=fill,
                label=f"published designs, {where}",
            )
    axes.set(
        xscale="log",
        xlabel=f"GMACs ({plan.spec.limit.convention} convention)",
        ylabel="designs",
        title=f"{plan.spec.name}: {plan.designs:,} legal designs, {plan.within:,} within the limit",
    )
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
