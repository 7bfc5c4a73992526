"""The charts of a report, as SVG elements for its pages."""

from piip_dashboards.drawing.figures import (
    ChartMember,
    FrontChart,
    effects_figure,
    front_figure,
    progress_figure,
    weights_figure,
)
from piip_dashboards.drawing.page_svg import Chart, page_svg
from piip_dashboards.report.content import SearchReport


def charts(report: SearchReport, standalone: bool = False) -> dict[str, str]:
    """The charts by their names, `front`, `progress`, `effects` and `weights`; without data a chart is empty.

    Args:
        report: Content of the report.
        standalone: Whether they are separate files, with the colours of light and dark pages.
    """
    drawn = {"front": _front, "progress": _progress, "effects": _effects, "weights": _weights}
    found = {name: draw(report) for name, draw in drawn.items()}
    return {name: page_svg(chart, standalone) if chart else "" for name, chart in found.items()}


def _front(report: SearchReport) -> Chart | None:
    if not report.front:
        return None
    best, count = report.best, sum(point.value is not None for point in report.points)
    described = (
        f"{count} designs; the front has {len(report.front)} members and reaches {report.metric} "
        f"{best.value:.4f} at {report.axis.format(best.cost, 4)}."
    )
    return Chart(front_figure(front_chart(report)), f"Front of {report.run}", described)


def front_chart(report: SearchReport) -> FrontChart:
    """The content of the picture of a report's front."""
    members = {row.trial for row in report.front}
    return FrontChart(
        report.metric,
        report.axis,
        tuple(tier.tier for tier in report.tiers),
        tuple(ChartMember(row.letter, row.cost, row.value, row.architecture) for row in report.front),
        tuple((p.cost, p.value) for p in report.points if p.value is not None and p.trial not in members),
        tuple(point.cost for point in report.points if point.value is None),
        report.is_pair,
        report.rises,
        tuple((one.cost, one.value) for one in report.baselines if one.value is not None),
    )


def _progress(report: SearchReport) -> Chart | None:
    if not any(steps for _, steps in report.progress):
        return None
    ended = report.counts["done"] + report.counts["failed"]
    described = "; ".join(
        f"{steps[-1][1]:.4f} within {report.axis.format(tier)}" for tier, steps in report.progress if steps
    )
    figure = progress_figure("hypervolume", report.progress, ended, report.axis)
    return Chart(figure, "Hypervolume of each tier over evaluations", described)


def _effects(report: SearchReport) -> Chart | None:
    effects = report.listed_effects
    if not effects:
        return None
    described = "; ".join(effect.said(report.gained) for effect in effects)
    return Chart(effects_figure(effects, report.gained), "Effects of single choices", described)


def _weights(report: SearchReport) -> Chart | None:
    weights = report.importance.weights
    if not weights:
        return None
    described = "; ".join(f"{weight.choice} {weight.share:.1%}" for weight in weights)
    return Chart(weights_figure(weights), "What matters beyond cost", described)
