"""What people see in a terminal."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from piip_search.cost import Convention, Cost, Memory, Part
from piip_search.evaluation import Evaluation
from piip_search.objectives import Objectives, ParetoFront
from piip_search.plan import Plan

if TYPE_CHECKING:  # a search brings the database with it
    from piip_search.health import Finding, Health
    from piip_search.search import Search

BAR = 20
"""Characters of a full bar."""


def totals_table(costs: Mapping[Convention, Cost], memories: Mapping[Convention, Memory]) -> Table:
    """What an architecture costs, under each convention, and its memory at one image a step."""
    table = Table(box=None, pad_edge=False)
    table.add_column("convention")
    for title in ("GMACs", "M params", "training", "inference"):
        table.add_column(title, justify="right")
    table.add_column("counts")
    for convention, cost in costs.items():
        memory = memories[convention]
        table.add_row(convention, f"{cost.gmacs:.4g}", f"{cost.mparams:.4g}", gigabytes(memory.training),
                      gigabytes(memory.inference), _COUNTED[convention])  # fmt: skip
    return table


_COUNTED: dict[Convention, str] = {
    "published": "as the papers do",
    "backbone": "up to the merged map",
    "detector": "and pyramid, neck, head",
}


def gigabytes(count: float) -> str:
    """Bytes in units of 10^9."""
    return f"{count / 1e9:.3g} GB"


def parts_table(parts: Sequence[Part]) -> Table:
    """Where a cost sits, with shares and bars."""
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


def _shares(name: str, cost: Cost, total: Cost) -> tuple[str, str, str, str, str]:
    share = cost.macs / total.macs
    return name, f"{cost.gmacs:.4g}", f"{share:.1%}", bar(share), f"{cost.mparams:.4g}"


def bar(share: float, width: int = BAR) -> str:
    """A bar of up to `width` characters, in eighths of one."""
    eighths = round(share * width * 8)
    return "\u2588" * (eighths // 8) + ("" if eighths % 8 == 0 else chr(0x2590 - eighths % 8))


def plan_view(plan: Plan, width: int) -> RenderableType:
    """What a search will be like: counts, the spread of costs, published designs, effort."""
    facts = Table.grid(padding=(0, 2))
    facts.add_row("legal designs", f"{plan.designs:,}")
    for tier in plan.tiers:
        facts.add_row(f"within {tier.gmacs:g} G", f"{tier.designs:,}")
    for title, (design, gmacs) in (("cheapest", plan.cheapest), ("dearest", plan.dearest)):
        facts.add_row(title, Text(f"{gmacs:.4g} G  {design}", overflow="fold"))
    held = [one for one in plan.published if not one.reasons]
    facts.add_row("published designs", f"{len(held)} of {len(plan.published)} are in this space")
    largest = f"{gigabytes(plan.largest[1])} in training, {plan.spec.training.precision}  {plan.largest[0]}"
    facts.add_row("memory, largest", Text(largest, overflow="fold"))
    facts.add_row("trials", _trials(plan))
    if plan.effort is not None:
        effort = plan.effort
        facts.add_row("one trial", f"{_hours(effort.mean_hours)} ({_hours(effort.least_hours)} to "
                                   f"{_hours(effort.most_hours)}), {effort.train_images:,} images a pass")  # fmt: skip
        facts.add_row("whole search", f"{_hours(effort.search_hours)} of one device at a sustained "
                                      f"{effort.throughput:g} TMAC/s (--throughput)")  # fmt: skip
    else:
        facts.add_row("effort", "not known without the data; give --images TRAIN,VAL")
    return Group(facts, Text(), _histogram(plan, width))


def _trials(plan: Plan) -> str:
    trials = min(plan.spec.budget.trials, plan.within)
    return f"{trials:,}, {trials / plan.within:.2g} of the designs that may be proposed"


def _hours(hours: float) -> str:
    return f"{hours:,.3g} h" if hours >= 1 else clock(hours * 3600) + " min"


def _short(gmacs: float) -> str:
    return f"{gmacs:,.0f}" if gmacs >= 100 else f"{gmacs:.3g}"


ROWS = 18
"""Rows of a histogram."""


def _histogram(plan: Plan, width: int) -> Table:
    """Legal designs by cost: a row a stretch of costs, with the tiers that end and the published designs in it."""
    edges = 10 ** np.linspace(np.log10(plan.edges[0]), np.log10(plan.edges[-1]), min(ROWS, len(plan.counts)) + 1)
    middles = np.sqrt(np.array(plan.edges[:-1]) * np.array(plan.edges[1:]))
    counts = np.histogram(middles, edges, weights=plan.counts)[0].astype(int)
    table = Table(box=None, pad_edge=False)
    table.add_column("GMACs", justify="right")
    table.add_column("designs", justify="right")
    bars = max(10, min(40, width - 44))
    table.add_column("", width=bars)
    table.add_column("")
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        tiers = [f"<= {tier.gmacs:g} G" for tier in plan.tiers if low < tier.gmacs <= high]
        authors = sum(low <= one.gmacs < high for one in plan.published if not one.reasons)
        notes = [*tiers, *([f"{authors} published"] if authors else [])]
        table.add_row(f"{_short(low)} - {_short(high)}", f"{count:,}", bar(count / max(counts), bars), ", ".join(notes))
    return table


def front_table(front: ParetoFront, objectives: Objectives) -> Table:
    """The front of one tier, cheapest first."""
    title = f"Front within {front.budget:g} GMACs (hypervolume {front.hypervolume:.4f})"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("trial", justify="right")
    table.add_column(objectives.metric, justify="right")
    table.add_column("GMACs", justify="right")
    table.add_column("M params", justify="right")
    table.add_column("architecture", overflow="fold")
    for evaluation in front.evaluations:
        cost = objectives.cost(evaluation)
        table.add_row(
            str(evaluation.candidate.number),
            f"{objectives.value(evaluation):.4f}",
            f"{cost.gmacs:.4g}",
            f"{cost.mparams:.4g}",
            evaluation.candidate.architecture.name,
        )
    return table


def best_table(fronts: Sequence[ParetoFront], objectives: Objectives) -> Table:
    """The best design of each tier."""
    table = Table(box=None, pad_edge=False)
    table.add_column("budget", justify="right")
    table.add_column("hypervolume", justify="right")
    table.add_column(f"best {objectives.metric}", justify="right")
    table.add_column("architecture", overflow="fold")
    for front in fronts:
        best = front.best
        value = "-" if best is None else f"{objectives.value(best):.4f}"
        name = "nothing measured yet" if best is None else best.candidate.architecture.name
        table.add_row(f"{front.budget:g} G", f"{front.hypervolume:.4f}", value, name)
    return table


def health_view(health: "Health") -> RenderableType:
    """What the checks found, and the figures behind them."""
    from piip_search.health import FEWEST_LEARNT

    lines: list[RenderableType] = []
    if health.surrogate is not None:
        lines.append(Text(f"what was learnt ranks designs it did not see with tau {health.surrogate}, "
                          f"MACs alone with {health.macs}"))  # fmt: skip
    else:
        lines.append(Text(f"what was learnt is judged from {FEWEST_LEARNT} finished designs on"))
    lines += [Text(f"after {low} and {high} epochs designs are ranked alike with tau {tau}")
              for low, high, tau in health.rungs]  # fmt: skip
    lines += [Text(str(finding), style="yellow") for finding in health.findings]
    if not health.findings:
        lines.append(Text("no check found anything wrong"))
    return Group(*lines)


class _View:
    """The live view of a search; drawn anew from the search at every refresh."""

    findings: tuple["Finding", ...] = ()

    def __init__(self, search: "Search", usage: Callable[[], str], at_once: int) -> None:
        self._search = search
        self._usage = usage
        self._at_once = at_once

    def __rich__(self) -> RenderableType:
        search = self._search
        ended, failed, running = len(search.evaluations), len(search.failures), list(search.running.values())
        head = Table.grid(padding=(0, 1))
        head.add_row(
            Text(f"piip-search {search.run}", style="bold"),
            ProgressBar(total=search.expected, completed=ended, width=30),
            Text(f"{ended}/{search.expected}"),
        )
        counts = f"{ended - failed} done, {len(running)} running, {failed} failed"
        times = f"elapsed {clock(search.elapsed)}, {remaining(search, self._at_once)}"
        facts = Text("; ".join(text for text in (counts, self._usage(), times) if text))
        lines: list[RenderableType] = [head, facts, best_table(search.fronts(), search.objectives)]
        if search.left:
            lines.append(Text(f"expected to be left: {left_to_gain(search.left, search.objectives)}"))
        lines += [Text(str(finding), style="yellow") for finding in self.findings]
        lines += [Text(f"  trial {c.number}: {c.architecture}", style="dim") for c in running]
        return Group(*lines)


def ahead(search: "Search") -> str:
    """What a search is about to do."""
    designs, rungs = search.spec.budget.trials, search.spec.rungs
    if len(rungs) == 1:
        return f"{designs} trials"
    epochs = ", ".join(str(rung.epochs) for rung in rungs)
    return f"{designs} designs in rungs of {epochs} epochs, about {search.expected} evaluations"


def left_to_gain(left: Mapping[float, float], objectives: Objectives) -> str:
    """By how much the best of each tier may still rise."""
    gains = ", ".join(f"{gain:.4f} within {tier:g} G" for tier, gain in left.items())
    return f"{objectives.metric} +{gains}"


def clock(seconds: float) -> str:
    """Minutes and seconds, hours where there are any."""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def remaining(search: "Search", at_once: int) -> str:
    """Estimated time to go, from the mean time of this sitting's evaluations."""
    taken = [e.seconds for e in search.evaluations[search.replayed :] if e.seconds > 0]
    left = search.expected - len(search.evaluations)
    if not left:
        return "all done"
    if not taken:
        return "remaining time unknown yet"
    return f"about {clock(sum(taken) / len(taken) * left / max(1, at_once))} to go"


EXAMINE_EVERY = 5
"""Evaluations from one examination of a running search to the next: its surrogate takes a second."""


@contextmanager
def watch(
    console: Console,
    search: "Search",
    usage: Callable[[], str] = lambda: "",
    at_once: int = 1,
    examine: Callable[[], "Health"] | None = None,
) -> Iterator[Callable[[], None]]:
    """Shows a search while it runs; gives the function to call whenever something changed.

    On a terminal the view is redrawn in place; elsewhere a line is printed for every evaluation, and for what an
    examination finds that the last one did not.
    """
    examined = len(search.evaluations)

    def due() -> bool:
        nonlocal examined
        if examine is None or len(search.evaluations) < examined + EXAMINE_EVERY:
            return False
        examined = len(search.evaluations)
        return True

    if console.is_terminal:
        # Bound to today's stdout: a training in this process sends what it prints elsewhere.
        screen = Console(file=console.file, force_terminal=True)
        view = _View(search, usage, at_once)
        with Live(view, console=screen, refresh_per_second=2) as live:

            def refresh() -> None:
                if due() and examine is not None:
                    view.findings = examine().findings
                live.refresh()

            yield refresh
        return
    said: set[str] = set()
    shown = search.replayed
    started: set[int] = set()

    def changed() -> None:
        nonlocal shown
        for candidate in search.running.values():
            if candidate.number not in started:
                started.add(candidate.number)
                console.print(f"[{time.strftime('%H:%M:%S')}] started {candidate.number}: {candidate.architecture}",
                              markup=False, soft_wrap=True)  # fmt: skip
        for evaluation in search.evaluations[shown:]:
            console.print(_line(search, evaluation, at_once), markup=False, soft_wrap=True)
        shown = len(search.evaluations)
        if due() and examine is not None:
            if search.left:
                console.print(f"expected to be left: {left_to_gain(search.left, search.objectives)}", markup=False)
            for finding in examine().findings:
                if finding.check not in said:
                    said.add(finding.check)
                    console.print(str(finding), markup=False, soft_wrap=True)

    yield changed


def _line(search: "Search", evaluation: Evaluation, at_once: int) -> str:
    value = search.objectives.value(evaluation)
    outcome = f"failed: {evaluation.error}" if value is None else f"{search.objectives.metric} {value:.4f}"
    ended, reached = len(search.evaluations), evaluation.candidate.fidelity
    rung = f" after {reached.epochs} of {reached.schedule_epochs} epochs" if reached != search.spec.rungs[-1] else ""
    return (
        f"[{time.strftime('%H:%M:%S')}] {ended}/{search.expected} trial {evaluation.candidate.number}{rung} {outcome} "
        f"({evaluation.seconds:.0f} s); hypervolume {search.fronts()[-1].hypervolume:.4f}; {remaining(search, at_once)}"
    )
