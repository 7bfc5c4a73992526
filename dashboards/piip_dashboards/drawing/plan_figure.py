"""A plan as a picture: the spread of its designs' costs."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from piip_dashboards.drawing.figures import chart_axes, save_figure
from piip_dashboards.drawing.svg_element import COLOURS, INK
from piip_search.search.plan import Plan

PLAN_SIZE = (648.0, 346.0)
"""Width and height of the picture."""


def draw_plan(plan: Plan, path: Path) -> None:
    """Writes the picture; the file's ending sets the format (png, svg, pdf).

    Raises:
        ValueError: The format is not supported.
    """
    with chart_axes(PLAN_SIZE, left=74, right=14, top=46, bottom=50) as (figure, axes):
        edges = np.array(plan.edges)
        axes.bar(
            edges[:-1], plan.counts, np.diff(edges), align="edge", color=COLOURS[0], alpha=0.6, label="legal designs"
        )
        _draw_tiers(plan, axes)
        _draw_published(plan, axes)
        axes.set(xscale="log", xlabel=plan.spec.bounds.cost_axis.label.title, ylabel="designs")
        axes.set_title(f"{plan.spec.name}: {plan.designs:,} legal designs, {plan.within:,} within the limit", pad=24)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.02), ncols=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, path, path.suffix[1:])


def _draw_tiers(plan: Plan, axes: Axes) -> None:
    axis = plan.spec.bounds.cost_axis
    for tier in plan.tiers:
        axes.axvline(tier.cost, color=INK, alpha=0.5, linestyle=(0, (5, 4)), linewidth=1)
        axes.annotate(
            f"{axis.format(tier.cost)}: {tier.designs:,}",
            (tier.cost, 0.99),
            xycoords=("data", "axes fraction"),
            rotation=90,
            va="top",
            ha="right",
            bbox={"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 1.5},
        )


def _draw_published(plan: Plan, axes: Axes) -> None:
    below = -0.03 * max(plan.counts)
    for inside, fill, where in ((True, "full", "in this space"), (False, "none", "not in this space")):
        costs = [one.cost for one in plan.published if (not one.reasons) is inside and one.cost <= plan.edges[-1]]
        if costs:
            label = f"published designs, {where}"
            axes.plot(costs, [below] * len(costs), "^", color=COLOURS[1], fillstyle=fill, label=label)
