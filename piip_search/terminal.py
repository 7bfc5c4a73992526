"""What people see in a terminal."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from piip_search.cost import Convention, Cost, Memory, Part
from piip_search.evaluation import Evaluation
from piip_search.objectives import Objectives, ParetoFront
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
    total = sum((part.cost for part in parts), Cost())
    table = Table(box=None, pad_edge=False)
    table.add_column("part", overflow="fold")
    for title in ("GMACs", "share"):
        table.add_column(title, justify="right")
    table.add_column("", width=BAR)
    table.add_column("M params", justify="right")
    for group, members in itertools.groupby(parts, key=lambda part: part.group):
        inside = list(members)
        whole = sum((part.cost for part in inside), Cost())
        table.add_row(*_shares(group, whole, total), style="bold")
        for part in inside if len(inside) > 1 else ():
            table.add_row(*_shares(f"  {part.kind}", part.cost, total))
    return table


def _shares(name: str, cost: Cost, total: Cost) -> tuple[str, str, str, str, str]:
    share = cost.macs / total.macs
    return name, f"{cost.gmacs:.4g}", f"{share:.1%}", bar(share), f"{cost.mparams:.4g}"


def bar(share: float) -> str:
    """A bar of up to `BAR` characters, in eighths of one."""
    eighths = round(share * BAR * 8)
    return "\u2588" * (eighths // 8) + ("" if eighths % 8 == 0 else chr(0x2590 - eighths % 8))


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


class _View:
    """The live view of a search; drawn anew from the search at every refresh."""

    def __init__(self, search: Search, usage: Callable[[], str], at_once: int) -> None:
        self._search = search
        self._usage = usage
        self._at_once = at_once

    def __rich__(self) -> RenderableType:
        search = self._search
        ended, failed, running = len(search.evaluations), len(search.failures), list(search.running.values())
        head = Table.grid(padding=(0, 1))
        head.add_row(
            Text(f"piip-search {search.run}", style="bold"),
            ProgressBar(total=search.trials, completed=ended, width=30),
            Text(f"{ended}/{search.trials}"),
        )
        counts = f"{ended - failed} done, {len(running)} running, {failed} failed"
        times = f"elapsed {clock(search.elapsed)}, {remaining(search, self._at_once)}"
        facts = Text("; ".join(text for text in (counts, self._usage(), times) if text))
        lines: list[RenderableType] = [head, facts, best_table(search.fronts(), search.objectives)]
        lines += [Text(f"  trial {c.number}: {c.architecture}", style="dim") for c in running]
        return Group(*lines)


def clock(seconds: float) -> str:
    """Minutes and seconds, hours where there are any."""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def remaining(search: Search, at_once: int) -> str:
    """Estimated time to go, from the mean time of this sitting's evaluations."""
    taken = [e.seconds for e in search.evaluations[search.replayed :] if e.seconds > 0]
    left = search.trials - len(search.evaluations)
    if not left:
        return "all done"
    if not taken:
        return "remaining time unknown yet"
    return f"about {clock(sum(taken) / len(taken) * left / max(1, at_once))} to go"


@contextmanager
def watch(
    console: Console, search: Search, usage: Callable[[], str] = lambda: "", at_once: int = 1
) -> Iterator[Callable[[], None]]:
    """Shows a search while it runs; gives the function to call whenever something changed.

    On a terminal the view is redrawn in place; elsewhere a line is printed for every evaluation.
    """
    if console.is_terminal:
        # Bound to today's stdout: a training in this process sends what it prints elsewhere.
        screen = Console(file=console.file, force_terminal=True)
        with Live(_View(search, usage, at_once), console=screen, refresh_per_second=2) as live:
            yield live.refresh
        return
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

    yield changed


def _line(search: Search, evaluation: Evaluation, at_once: int) -> str:
    value = search.objectives.value(evaluation)
    outcome = f"failed: {evaluation.error}" if value is None else f"{search.objectives.metric} {value:.4f}"
    ended = len(search.evaluations)
    return (
        f"[{time.strftime('%H:%M:%S')}] {ended}/{search.trials} trial {evaluation.candidate.number} {outcome} "
        f"({evaluation.seconds:.0f} s); hypervolume {search.fronts()[-1].hypervolume:.4f}; {remaining(search, at_once)}"
    )
