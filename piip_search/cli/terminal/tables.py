"""Tables and texts for a terminal."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from piip_search.analysis.baselines import Baseline, TierComparison
from piip_search.analysis.error_kinds import kinds
from piip_search.cli.terminal.widgets import BAR, Bar, DesignName
from piip_search.cost import Convention, Cost, CostAxis, Memory, Part
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import Objectives, ParetoFront
from piip_search.search.plan import Effort, GpuPlan, Plan
from piip_search.units import gigabytes, quantity

if TYPE_CHECKING:
    from piip_search.analysis.health import Health


def totals_table(costs: Mapping[Convention, Cost], memories: Mapping[Convention, Memory]) -> Table:
    """Costs of an architecture under each convention, and its memory at one image a step."""
    table = Table(box=None, pad_edge=False)
    table.add_column("convention")
    for title in ("GMACs", "M params", "training", "inference"):
        table.add_column(title, justify="right")
    table.add_column("counts")
    for convention, cost in costs.items():
        memory = memories[convention]
        table.add_row(
            convention,
            f"{cost.gmacs:.4g}",
            f"{cost.mparams:.4g}",
            gigabytes(memory.training),
            gigabytes(memory.inference),
            _COUNTED[convention],
        )
    return table


_COUNTED: dict[Convention, str] = {
    "published": "as the papers do",
    "backbone": "up to the merged map",
    "whole": "and pyramid, neck, head",
}


def parts_table(parts: Sequence[Part]) -> Table:
    """Costs by part, with shares and bars."""
    total = Cost.total(part.cost for part in parts)
    table = Table(box=None, pad_edge=False)
    table.add_column("part", overflow="fold")
    for title in ("GMACs", "share"):
        table.add_column(title, justify="right")
    table.add_column("", width=BAR)
    table.add_column("M params", justify="right")
    for group, members in itertools.groupby(parts, key=lambda part: part.group):
        inside = list(members)
        whole = Cost.total(part.cost for part in inside)
        table.add_row(*_shares(group, whole, total), style="bold")
        for part in inside if len(inside) > 1 else ():
            table.add_row(*_shares(f"  {part.kind}", part.cost, total))
    return table


def _shares(name: str, cost: Cost, total: Cost) -> tuple[str, str, str, Bar, str]:
    share = cost.macs / total.macs
    return name, f"{cost.gmacs:.4g}", f"{share:.1%}", Bar(share), f"{cost.mparams:.4g}"


def plan_view(plan: Plan, width: int) -> RenderableType:
    """A plan: counts, the spread of costs, published designs, effort."""
    facts, axis = Table.grid(padding=(0, 2)), plan.spec.bounds.cost_axis
    facts.add_row("legal designs", f"{plan.designs:,}")
    for tier in plan.tiers:
        facts.add_row(f"within {axis.format(tier.cost)}", f"{tier.designs:,}")
    for title, (design, cost) in (("cheapest", plan.cheapest), ("dearest", plan.dearest)):
        facts.add_row(title, Text(f"{axis.format(cost, 4)}  {design}", overflow="fold"))
    held = [one for one in plan.published if not one.reasons]
    facts.add_row("published designs", f"{len(held)} of {len(plan.published)} are in this space")
    largest = f"{gigabytes(plan.largest[1])} in training, {plan.spec.training.precision}  {plan.largest[0]}"
    facts.add_row("memory, largest", Text(largest, overflow="fold"))
    if plan.placement is not None:
        facts.add_row("on a GPU", Text(_placed(plan.placement, plan.spec.resources.gpu_memory), overflow="fold"))
    facts.add_row("trials", _trials(plan))
    if plan.spec.baselines:
        facts.add_row("baselines", f"{len(plan.spec.baseline_designs)}, trained after the search")
    if plan.effort is not None:
        effort = plan.effort
        if effort.parents:
            facts.add_row("parents", f"{effort.parents}, {_hours(effort.parent_hours)}{_pays(effort, plan)}")
        facts.add_row(
            f"one trial, {plan.spec.rung_name(0)}" if effort.parents else "one trial",
            f"{_hours(effort.mean_hours)} ({_hours(effort.least_hours)} to "
            f"{_hours(effort.most_hours)}), {effort.train_images:,} images a pass",
        )
        facts.add_row(
            "whole search",
            f"{_hours(effort.search_hours)} of one device at a sustained {effort.throughput:g} TMAC/s (--throughput)",
        )
    else:
        facts.add_row("effort", "not known without the data; give --images TRAIN,VAL")
    return Group(facts, Text(), _histogram(plan, width))


def _placed(placement: GpuPlan, gpu_memory: float | None) -> str:
    if placement.least == placement.most:
        share = f"{placement.most:g} a trial"
    else:
        share = f"{placement.least:g} to {placement.most:g} a trial, {placement.mean:.2g} on average"
    refused = f"; {placement.refused:,} designs within the limit do not fit" if placement.refused else ""
    return f"{share}, of {quantity(gpu_memory or 0.0, 'GiB')}{refused}"


def _trials(plan: Plan) -> str:
    trials = min(plan.spec.budget.trials, plan.within)
    return f"{trials:,}, {trials / plan.within:.2g} of the designs that may be proposed"


def _pays(effort: Effort, plan: Plan) -> str:
    """From how many designs on parents are cheaper than trainings alone, and what to do below."""
    least, trials = effort.pays_from, min(plan.spec.budget.trials, plan.within)
    if least is None:
        return "; trainings alone are cheaper: set evaluator to stand_alone"
    way_out = "; raise budget.trials, or set evaluator to stand_alone" if least > trials else ""
    return f"; cheaper than trainings alone from {least:,} designs on{way_out}"


def _hours(hours: float) -> str:
    return f"{hours:,.3g} h" if hours >= 1 else clock(hours * 3600) + " min"


def _short(cost: float) -> str:
    return f"{cost:,.0f}" if cost >= 100 else f"{cost:.3g}"


ROWS = 18
"""Number of a histogram's rows."""


def _histogram(plan: Plan, width: int) -> Table:
    """Histogram of designs by cost: each row has the tiers that end in it, and its published designs."""
    edges = 10 ** np.linspace(np.log10(plan.edges[0]), np.log10(plan.edges[-1]), min(ROWS, len(plan.counts)) + 1)
    middles = np.sqrt(np.array(plan.edges[:-1]) * np.array(plan.edges[1:]))
    counts = np.histogram(middles, edges, weights=plan.counts)[0].astype(int)
    table = Table(box=None, pad_edge=False)
    axis = plan.spec.bounds.cost_axis
    table.add_column(axis.label.heading, justify="right")
    table.add_column("designs", justify="right")
    bars = max(10, min(40, width - 44))
    table.add_column("", width=bars)
    table.add_column("")
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        tiers = [f"<= {axis.format(tier.cost)}" for tier in plan.tiers if low < tier.cost <= high]
        authors = sum(low <= one.cost < high for one in plan.published if not one.reasons)
        notes = [*tiers, *([f"{authors} published"] if authors else [])]
        table.add_row(f"{_short(low)} - {_short(high)}", f"{count:,}", Bar(count / max(counts), bars), ", ".join(notes))
    return table


def fronts_view(fronts: Sequence[ParetoFront], objectives: Objectives) -> RenderableType:
    """The best of each tier, and the front of the largest tier, which contains the others."""
    if not fronts[-1].evaluations:
        return Text("no design has been measured to the end yet, so there is no front")
    return Group(best_table(fronts, objectives, named=False), Text(), members_table(fronts, objectives))


def members_table(fronts: Sequence[ParetoFront], objectives: Objectives) -> Table:
    """The front of the largest tier, cheapest first, with the smallest tier that each design fits."""
    metrics, axes = [metric.name for metric in objectives.metrics], _shown_axes(objectives)
    table = _table("trial", *metrics, *(axis.label.heading for axis in axes), "within")
    table.add_column("architecture", overflow="fold")
    for evaluation in fronts[-1].evaluations:
        design, cost = evaluation.candidate.design, objectives.cost(evaluation)
        tier = next(front.tier for front in fronts if cost <= front.tier)
        table.add_row(
            str(evaluation.candidate.number),
            *(f"{value:.4f}" for value in objectives.values(evaluation) or ()),
            *(f"{axis.of(design):.4g}" for axis in axes),
            objectives.axis.format(tier),
            DesignName(design.name),
        )
    return table


def baselines_view(
    baselines: Sequence[Baseline], compared: Sequence[TierComparison], objectives: Objectives
) -> RenderableType:
    """The baselines beside a front, cheapest first, and the comparison in each tier."""
    axes = [axis for axis in _shown_axes(objectives) if any(axis.name in one.costs for one in baselines)]
    table = _table(objectives.metric, *(axis.label.heading for axis in axes))
    table.add_column("baseline", overflow="fold")
    table.add_column("", overflow="fold")
    for one in baselines:
        table.add_row(
            one.state if one.value is None else f"{one.value:.4f}",
            *(f"{one.costs[axis.name]:.4g}" if axis.name in one.costs else "-" for axis in axes),
            DesignName(one.name),
            Text(one_line(f"{one.about}{f': {one.error}' if one.error else ''}")),
        )
    return Group(table, Text(), *(Text(one.said) for one in compared))


def _shown_axes(objectives: Objectives) -> list[CostAxis]:
    """The axes of the search, and the parameters where they are known."""
    searched = {axis.name for axis in objectives.costs}
    return [
        *objectives.costs,
        *(axis for axis in objectives.known if axis.name == "mparams" and axis.name not in searched),
    ]


def best_table(fronts: Sequence[ParetoFront], objectives: Objectives, named: bool = True) -> Table:
    """The best design of each tier.

    Args:
        fronts: Front of each tier.
        objectives: Objectives of the search.
        named: Whether to show its architecture.
    """
    table = _table("tier", "hypervolume", f"best {objectives.metric}", objectives.axis.label.heading, "trial")
    if named:
        table.add_column("architecture", overflow="fold")
    for front in fronts:
        best = front.best
        found = (
            ("-", "-", "-")
            if best is None
            else (f"{objectives.value(best):.4f}", f"{objectives.cost(best):.4g}", str(best.candidate.number))
        )
        name = Text("nothing measured yet") if best is None else DesignName(best.candidate.design.name)
        table.add_row(
            objectives.axis.format(front.tier), f"{front.hypervolume:.4f}", *found, *([name] if named else [])
        )
    return table


def _table(*numbers: str) -> Table:
    """A table that begins with columns of numbers, which are never wrapped."""
    table = Table(box=None, pad_edge=False)
    for title in numbers:
        table.add_column(Text(title), justify="right", no_wrap=True)
    return table


def one_line(text: str) -> str:
    """Foreign text on one line."""
    return " ".join(text.split())


def failures_view(failed: Sequence[Evaluation], trials: Path | None = None) -> RenderableType:
    """All failures: one line a kind of error, most frequent first, with its trials.

    Args:
        failed: Failed evaluations.
        trials: Folder of all trainings; with it, a line for each names the log's folder.
    """
    lines: list[RenderableType] = []
    for kind in kinds(failed):
        numbers = ", ".join(map(str, kind.trials))
        lines.append(
            Text(f"{kind.count} failed: {one_line(kind.error)} (trial{'s' if kind.count > 1 else ''} {numbers})")
        )
        folder = None if trials is None else kind.folder(trials)
        if folder is not None:
            lines.append(Text(f"  its log and traceback are in {folder}", no_wrap=True))
    return Group(*lines)


def health_view(health: "Health") -> RenderableType:
    """Findings of the health checks, and the figures behind them."""
    from piip_search.analysis.health import FEWEST_LEARNT

    learnt = health.said or (f"the surrogate is judged from {FEWEST_LEARNT} finished designs on",)
    lines: list[RenderableType] = [Text(line) for line in (*learnt, *health.rungs_said)]
    lines += [Text(str(finding), style="yellow") for finding in health.findings]
    if not health.findings:
        lines.append(Text("no check found anything wrong"))
    return Group(*lines)


def left_to_gain(left: Mapping[float, float], objectives: Objectives) -> str:
    """The remaining gain of each tier, as text."""
    gains = ", ".join(f"{gain:.4f} within {objectives.axis.format(tier)}" for tier, gain in left.items())
    return f"{objectives.metrics[0].gained} +{gains}"


def clock(seconds: float) -> str:
    """A duration as minutes and seconds, with hours if needed."""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
