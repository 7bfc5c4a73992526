"""The front drawn for people: as a picture, and as a page to hover over."""

import itertools
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from matplotlib.figure import Figure

from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import Objectives, ParetoFront

BLUE = "#0072B2"
"""Colour of the front."""
GREY = "#999999"
"""Colour of the other designs."""


def draw_front(fronts: Sequence[ParetoFront], objectives: Objectives) -> Figure:
    """Metric against cost: the front of the largest tier as steps, a dashed line a tier, and the designs beside it."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    axes, beside = figure.subplots(1, 2, width_ratios=(3, 2))
    members = fronts[-1].evaluations
    costs = [objectives.cost(evaluation).gmacs for evaluation in members]
    values = [objectives.value(evaluation) or 0.0 for evaluation in members]
    axes.grid(visible=True, color="#eeeeee")
    axes.set_axisbelow(True)
    for front in fronts:
        axes.axvline(front.tier, color=GREY, linestyle="--", linewidth=1)
        axes.annotate(
            f"{front.tier:g} G",
            (front.tier, 0.02),
            xycoords=("data", "axes fraction"),
            rotation=90,
            fontsize=8,
            color="#666666",
            ha="right",
        )
    axes.step(costs, values, where="post", color=BLUE, linewidth=1.5)
    axes.scatter(costs, values, color=BLUE, zorder=3)
    lines = []
    for letter, cost, value, evaluation in zip(_letters(), costs, values, members, strict=False):
        axes.annotate(letter, (cost, value), xytext=(-3, 6), textcoords="offset points", fontsize=9, ha="right")
        first, *rest = evaluation.candidate.design.name.split("+")
        lines += [f"{letter}  {value:.3f}  {cost:.3g} G  {first}", *(f"   + {part}" for part in rest)]
    axes.set(xlabel=f"GMACs ({objectives.convention} convention)", ylabel=objectives.metric, title="Pareto front")
    axes.margins(x=0.08, y=0.12)
    beside.axis("off")
    beside.text(0, 1, "\n".join(lines[:44]), family="monospace", fontsize=7, va="top", transform=beside.transAxes)
    return figure


def _letters() -> Iterator[str]:
    for number in itertools.count():
        yield chr(ord("A") + number % 26) + (str(number // 26) if number >= 26 else "")


def front_page(fronts: Sequence[ParetoFront], evaluations: Sequence[Evaluation], objectives: Objectives) -> str:
    """Metric against cost of every design, as a page that needs no network: hover over a point to read it."""
    from plotly import graph_objects

    figure = graph_objects.Figure()
    measured = objectives.measured(evaluations)
    _points(figure, measured, objectives, "measured", GREY, "markers")
    _points(figure, fronts[-1].evaluations, objectives, f"front within {fronts[-1].tier:g} G", BLUE, "lines+markers")
    for front in fronts:
        figure.add_vline(x=front.tier, line_dash="dash", line_color=GREY, annotation_text=f"{front.tier:g} G")
    figure.update_layout(
        template="plotly_white",
        xaxis_title=f"GMACs ({objectives.convention} convention)",
        yaxis_title=objectives.metric,
        title="Pareto front",
        legend={"orientation": "h", "y": -0.2},
    )
    return str(figure.to_html(include_plotlyjs=True, full_html=True))


def _points(
    figure: Any, evaluations: Sequence[Evaluation], objectives: Objectives, name: str, color: str, mode: str
) -> None:
    designs = [evaluation.candidate.architecture for evaluation in evaluations]
    texts = [
        f"trial {evaluation.candidate.number}<br>{escape(design.name).replace('+', '<br>+ ')}"
        for evaluation, design in zip(evaluations, designs, strict=True)
    ]
    figure.add_scatter(
        x=[objectives.price(design).gmacs for design in designs],
        y=[objectives.value(evaluation) for evaluation in evaluations],
        text=texts,
        name=name,
        mode=mode,
        line={"shape": "hv", "color": color},
        marker={"color": color},
        hovertemplate="%{text}<br>%{x:.4g} G, " + escape(objectives.metric) + " %{y:.4f}<extra></extra>",
    )
