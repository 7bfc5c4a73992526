"""Objectives for tests."""

from piip_search.cost import Convention, Pricing
from piip_search.evaluation.objectives import MetricAxis, Objectives


def trade(
    convention: Convention = "backbone", metrics: tuple[str, ...] = ("bbox_mAP",), costs: tuple[str, ...] = ("gmacs",)
) -> Objectives:
    """Metrics against costs of architectures."""
    pricing = Pricing(convention)
    return Objectives(
        tuple(map(MetricAxis, metrics)),
        tuple(map(pricing.axis, costs)),
        (100.0,) * (len(costs) - 1),
        pricing.axes,
        pricing,
    )
