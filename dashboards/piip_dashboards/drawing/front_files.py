"""The front of a running search for MLflow: as a picture, and as an interactive page."""

import itertools
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from matplotlib.figure import Figure

from piip_dashboards.drawing.figures import ChartMember, FrontChart, front_figure
from piip_dashboards.drawing.svg_element import COLOURS
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import Objectives, ParetoFront

PICTURE_SIZE = (900.0, 420.0)
"""Width and height of the picture."""
GREY = "#999999"
"""Colour of the other designs."""


def picture(
    fronts: Sequence[ParetoFront],
    evaluations: Sequence[Evaluation],
    objectives: Objectives,
    baselines: Sequence[Evaluation] = (),
) -> Figure:
    """Metric against cost of every design, with a list of the largest tier's front beside it.

    Args:
        fronts: Front of each tier, cheapest tier first; the last has a member.
        evaluations: All evaluations.
        objectives: Objectives of the search.
        baselines: Evaluations of baselines.
    """
    return front_figure(_chart(fronts, evaluations, objectives, baselines), PICTURE_SIZE, listed=True)


def _chart(
    fronts: Sequence[ParetoFront],
    evaluations: Sequence[Evaluation],
    objectives: Objectives,
    baselines: Sequence[Evaluation],
) -> FrontChart:
    front = fronts[-1].evaluations
    members = {evaluation.candidate.design.fingerprint for evaluation in front}
    whole = front[-1].candidate.fidelity  # a lower rung is not final
    ended = [e for e in evaluations if e.status == "failed" or e.candidate.fidelity == whole]
    points = [(objectives.cost(e), objectives.value(e), e.candidate.design.fingerprint) for e in ended]
    return FrontChart(
        objectives.metric,
        objectives.axis.label,
        tuple(one.tier for one in fronts),
        tuple(_member(letter, e, objectives) for letter, e in zip(_letters(), front, strict=False)),
        tuple((cost, value) for cost, value, design in points if value is not None and design not in members),
        tuple(cost for cost, value, _ in points if value is None),
        objectives.is_pair,
        objectives.metrics[0].rises,
        tuple((objectives.cost(e), value) for e in baselines if (value := objectives.value(e)) is not None),
    )


def _member(letter: str, evaluation: Evaluation, objectives: Objectives) -> ChartMember:
    name, value = evaluation.candidate.design.name, objectives.value(evaluation) or 0.0
    return ChartMember(letter, objectives.cost(evaluation), value, name)


def _letters() -> Iterator[str]:
    for number in itertools.count():
        yield chr(ord("A") + number % 26) + (str(number // 26) if number >= 26 else "")


def page(
    fronts: Sequence[ParetoFront],
    evaluations: Sequence[Evaluation],
    objectives: Objectives,
    baselines: Sequence[Evaluation] = (),
) -> str:
    """Metric against cost of every design as an offline page; hovering over a point shows its data."""
    from plotly import graph_objects

    figure = graph_objects.Figure()
    measured = objectives.measured(evaluations)
    _points(figure, measured, objectives, "measured", GREY, "markers")
    widest = f"front within {objectives.axis.format(fronts[-1].tier)}"
    _points(
        figure,
        fronts[-1].evaluations,
        objectives,
        widest,
        COLOURS[0],
        "lines+markers" if objectives.is_pair else "markers",
    )
    if baselines:
        _points(figure, objectives.measured(baselines), objectives, "baselines", COLOURS[1], "markers")
    for front in fronts:
        tier = objectives.axis.format(front.tier)
        figure.add_vline(x=front.tier, line_dash="dash", line_color=GREY, annotation_text=tier)
    figure.update_layout(
        template="plotly_white",
        xaxis_title=objectives.axis.label.title,
        yaxis_title=objectives.metric,
        title="Pareto front",
        legend={"orientation": "h", "y": -0.2},
    )
    return str(figure.to_html(include_plotlyjs=True, full_html=True))


def _points(
    figure: Any, evaluations: Sequence[Evaluation], objectives: Objectives, name: str, color: str, mode: str
) -> None:
    designs, unit = [evaluation.candidate.design for evaluation in evaluations], escape(objectives.axis.label.unit)
    texts = [
        f"trial {evaluation.candidate.number}<br>{escape(design.name).replace('+', '<br>+ ')}"
        for evaluation, design in zip(evaluations, designs, strict=True)
    ]
    figure.add_scatter(
        x=[objectives.price(design) for design in designs],
        y=[objectives.value(evaluation) for evaluation in evaluations],
        text=texts,
        name=name,
        mode=mode,
        line={"shape": "hv", "color": color},
        marker={"color": color},
        hovertemplate=f"%{{text}}<br>%{{x:.4g}} {unit}, {escape(objectives.metric)} %{{y:.4f}}<extra></extra>",
    )
