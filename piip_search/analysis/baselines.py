"""A search against its baselines: the best design of each tier and the best baseline within that tier."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from piip_search.analysis.effects.matched import FEWEST_SETTINGS, mean_interval, plain_gain
from piip_search.analysis.rank_correlation import LEVEL, Interval
from piip_search.architecture import Architecture
from piip_search.architecture.design import Design
from piip_search.architecture.published import published_as
from piip_search.architecture.stock import OWN_FILE, StockNetwork
from piip_search.evaluation.objectives import Objectives
from piip_search.search.baselines import baseline_objectives
from piip_search.search.history import DesignHistory, RunHistory


@dataclass(frozen=True, slots=True)
class Baseline:
    """A baseline with its result.

    Attributes:
        name: Short form of the design, or name of the stock network with its image side.
        about: What it is: a design, a published design with its row, or a stock network and its weights.
        state: `done`, `running` or `failed`.
        cost: Cost on the axis of the tiers.
        costs: All known costs by axis.
        value: Mean of the search's first metric over seeds; None unless it is done.
        values: The metric of each seed.
        error: Error in one line; empty unless it failed.
        fingerprint: Fingerprint of the design.
    """

    name: str
    about: str
    state: Literal["done", "running", "failed"]
    cost: float
    costs: dict[str, float]
    value: float | None
    values: tuple[float, ...]
    error: str
    fingerprint: str

    def to_dict(self, objectives: Objectives) -> dict[str, Any]:
        """The baseline as plain data.

        Args:
            objectives: Objectives of the search.
        """
        return {
            "baseline": self.name,
            "about": self.about,
            "state": self.state,
            objectives.metric: self.value,
            "seeds": list(self.values),
            **self.costs,
            "error": self.error,
            "fingerprint": self.fingerprint,
        }


@dataclass(frozen=True, slots=True)
class TierComparison:
    """The best design of a tier against the best baseline within the tier.

    Attributes:
        tier: Tier on the axis of the tiers.
        said: The comparison in one sentence.
        design: Short form of the search's best design; empty for none.
        baseline: Name of the baseline; empty for none.
        lead: Lead of the design in the metric, positive if it is better. It has a 90 % interval over seeds, with fewer
            than three it is the difference of the means alone. None unless both are measured.
        seeds: Number of seeds of each.
    """

    tier: float
    said: str
    design: str = ""
    baseline: str = ""
    lead: Interval | float | None = None
    seeds: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain data."""
        return {
            "tier": self.tier,
            "design": self.design,
            "baseline": self.baseline,
            "lead": None if self.lead is None else plain_gain(self.lead),
            "seeds": self.seeds,
            "said": self.said,
        }


def baselines_of(newest: RunHistory, objectives: Objectives) -> tuple[Baseline, ...]:
    """The baselines of a search, cheapest first.

    Args:
        newest: History of the newest list of baselines; those of earlier lists alone are no baselines any more.
        objectives: Objectives of the search.
    """
    return tuple(
        sorted((_baseline(design, objectives) for design in newest.designs.values()), key=lambda one: one.cost)
    )


def _baseline(history: DesignHistory, objectives: Objectives) -> Baseline:
    design, shared = history.design, baseline_objectives(objectives)
    whole = history.representative
    measured = whole is not None and shared.value(whole) is not None
    failed = [evaluation.error for evaluation in history.evaluations if evaluation.status == "failed"]
    return Baseline(
        design.name,
        _about(design),
        "done" if measured else "failed" if failed and not history.running else "running",
        objectives.price(design),
        shared.known_costs(design),
        history.value(objectives.metric) if measured else None,
        tuple(history.values(objectives.metric)) if measured else (),
        "" if measured or not failed else failed[-1],
        design.fingerprint,
    )


def _about(design: Design) -> str:
    if isinstance(design, StockNetwork):
        own = design.config.startswith(OWN_FILE)
        digest = design.config.removeprefix(OWN_FILE)[:8]
        return f"own file ({digest}), random weights" if own else "stock network, random weights"
    rows = published_as(design) if isinstance(design, Architecture) else []
    return f"published as {rows[0].title} ({rows[0].source})" if rows else "design"


def compare(history: RunHistory, baselines: Sequence[Baseline]) -> tuple[TierComparison, ...]:
    """The comparison in each tier, cheapest first; empty without baselines.

    A baseline counts within a tier if it costs at most the tier, and no more on the other axes than the search's limit,
    as a design of the search does; a stock network has no memory in closed form. The best one counts,
    of equals the one that is nearest in cost to the search's best.

    Args:
        history: The search.
        baselines: Its baselines.
    """
    if not baselines:
        return ()
    return tuple(_in_tier(history, baselines, place) for place in range(len(history.tiers)))


def _in_tier(history: RunHistory, baselines: Sequence[Baseline], place: int) -> TierComparison:
    objectives, front = history.objectives, history.fronts[place]
    metric, tier, best = objectives.metrics[0], front.tier, front.best
    within = f"within {objectives.axis.format(tier)}"
    measured = [one for one in baselines if one.value is not None]
    caps = history.spec.bounds.caps
    fitting = [
        one for one in measured if one.cost <= tier and all(one.costs.get(name, 0.0) <= most for name, most in caps)
    ]
    if best is None:
        return TierComparison(tier, f"no design {within} was measured to the end, so no baseline is compared")
    cost, value = objectives.cost(best), objectives.value(best) or 0.0
    name = best.candidate.design.name
    said = f"{within} the best design is {name} ({value:.4f} {metric.name} at {objectives.axis.format(cost, 4)})"
    if not fitting:
        nearest = min(measured, key=lambda one: one.cost, default=None)
        rest = (
            (
                "all baselines failed"
                if all(one.state == "failed" for one in baselines)
                else "no baseline is measured yet"
            )
            if nearest is None
            else f"no measured baseline keeps the limit, the cheapest, {nearest.name}, costs "
            f"{objectives.axis.format(nearest.cost, 4)}"
        )
        return TierComparison(tier, f"{said}; {rest}", name)
    other = max(fitting, key=lambda one: (metric.merit(one.value or 0.0), -abs(one.cost - cost)))
    against = f"{other.name} ({other.value:.4f} at {objectives.axis.format(other.cost, 4)})"
    if other.fingerprint == best.candidate.design.fingerprint:
        return TierComparison(tier, f"{said}, which is the best baseline too", name, other.name, 0.0, len(other.values))
    own = history.designs[best.candidate.design].values(metric.name)
    merits = [[metric.merit(one) for one in values] for values in (own, other.values)]
    lead, seeds = _lead(*merits), min(map(len, merits))
    said += f", {_ahead(lead)} the best baseline, {against}; {_certainty(lead, seeds)}"
    return TierComparison(tier, said, name, other.name, lead, seeds)


def _lead(own: Sequence[float], other: Sequence[float]) -> Interval | float:
    """The lead over shared seeds: equal seeds are pairs, as they share the order of the images."""
    if len(own) != len(other):
        return statistics.fmean(own) - statistics.fmean(other)
    return mean_interval([first - second for first, second in zip(own, other, strict=True)])


def _ahead(lead: Interval | float) -> str:
    mean = lead.value if isinstance(lead, Interval) else lead
    half = f" ± {(lead.high - lead.low) / 2:.4f}" if isinstance(lead, Interval) else ""
    if not mean and not half:
        return "as good as"
    return f"{abs(mean):.4f}{half} {'worse' if mean < 0 else 'better'} than"


def _certainty(lead: Interval | float, seeds: int) -> str:
    """The source of the interval, or the reason why there is none."""
    if not isinstance(lead, Interval):
        return "one seed each, so no interval" if seeds == 1 else f"an interval needs {FEWEST_SETTINGS} equal seeds"
    level = f"{LEVEL:.0%}".replace("%", " %")
    open_end = lead.low <= 0 <= lead.high
    return f"{level} interval over {seeds} seeds{', which does not exclude chance' if open_end else ''}"
