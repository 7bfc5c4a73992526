"""Shows a running search: a view that is redrawn in place, or a line for every event."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from piip_search.cli.plain_console import PlainConsole
from piip_search.cli.terminal.tables import best_table, clock, left_to_gain, one_line
from piip_search.cli.terminal.widgets import FrontPlot
from piip_search.evaluation.evaluation import Evaluation

if TYPE_CHECKING:  # a search imports the database
    from piip_search.analysis.health import Finding, Health
    from piip_search.search.search import Search

RUNNING = 6
"""Most running trials that are named."""
PLOT_FROM = 30
"""Fewest lines of a terminal with the plot."""
PLOT = 8
"""Height of the plot in lines."""


class _View:
    """The live view of a search, drawn again at every refresh."""

    findings: tuple["Finding", ...] = ()

    def __init__(self, search: "Search", usage: Callable[[], str], at_once: int) -> None:
        self._search = search
        self._usage = usage
        self._at_once = at_once
        self._drawn: tuple[tuple[int, int], list[RenderableType]] = ((-1, -1), [])

    def _plot(self, options: ConsoleOptions) -> list[RenderableType]:
        """The front, cached until another evaluation: ten thousand designs take a tenth of a second."""
        state = (len(self._search.evaluations), options.max_width)
        if state != self._drawn[0]:
            search = self._search
            plot = FrontPlot(search.fronts(), search.finished, search.objectives, PLOT)
            self._drawn = (state, list(plot.lines(options)))
        return self._drawn[1]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        search = self._search
        ended, failed, running = len(search.evaluations), len(search.failures), list(search.running.values())
        head = Table.grid(padding=(0, 1))
        head.add_row(
            Text(f"piip-search {search.run}", style="bold"),
            ProgressBar(total=search.expected, completed=ended, width=30),
            Text(f"{ended}/{search.expected}"),
        )
        yield head
        counts = f"{ended - failed} done, {len(running)} running, {failed} failed"
        times = f"elapsed {clock(search.elapsed)}, {remaining(search, self._at_once)}"
        yield Text("; ".join(text for text in (counts, self._usage(), times) if text))
        yield best_table(search.fronts(), search.objectives)
        if console.height >= PLOT_FROM:
            yield from self._plot(options)
        if search.left:
            yield Text(f"expected remaining gain: {left_to_gain(search.left, search.objectives)}")
        yield from (Text(str(finding), style="yellow") for finding in self.findings)
        for candidate, seconds in itertools.islice(search.running_seconds.items(), RUNNING):
            yield Text(f"  trial {candidate.number} ({clock(seconds)}): {candidate.design}", style="dim")
        if len(running) > RUNNING:
            yield Text(f"  and {len(running) - RUNNING} more", style="dim")


def ahead(search: "Search") -> str:
    """One line about the work of a search that is starting."""
    designs, rungs = search.spec.budget.trials, search.spec.rungs
    if len(rungs) == 1:
        return f"{designs} trials"
    names = "; ".join(search.spec.rung_name(rung.epochs) for rung in rungs)
    return f"{designs} designs in {len(rungs)} rungs ({names}), about {search.expected} evaluations"


def remaining(search: "Search", at_once: int) -> str:
    """Estimated remaining time, from the mean time of this sitting's evaluations."""
    taken = [e.seconds for e in search.evaluations[search.replayed :] if e.seconds > 0]
    left = search.expected - len(search.evaluations)
    if not left:
        return "all done"
    if not taken:
        return "remaining time unknown yet"
    return f"about {clock(sum(taken) / len(taken) * left / max(1, at_once))} to go"


EXAMINE_EVERY = 5
"""Evaluations between two health checks of a running search: its surrogate takes a second."""


@contextmanager
def watch(
    console: Console,
    search: "Search",
    usage: Callable[[], str] = lambda: "",
    at_once: int = 1,
    examine: Callable[[], "Health"] | None = None,
) -> Iterator[Callable[[], None]]:
    """Shows a search while it runs; yields the function to call after every change.

    On a terminal the view is redrawn in place; elsewhere a line is printed for every evaluation, and for new findings
    of a health check.
    """
    examined = len(search.evaluations)

    def due() -> bool:
        nonlocal examined
        if examine is None or len(search.evaluations) < examined + EXAMINE_EVERY:
            return False
        examined = len(search.evaluations)
        return True

    if console.is_terminal and not console.is_dumb_terminal:
        # Bound to today's stdout: a training in this process redirects its output.
        screen = PlainConsole(file=console.file, force_terminal=True)
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

    def on_change() -> None:
        nonlocal shown
        for candidate in search.running.values():
            if candidate.number not in started:
                started.add(candidate.number)
                console.print(
                    f"[{time.strftime('%H:%M:%S')}] started {candidate.number}: {candidate.design}",
                    markup=False,
                    soft_wrap=True,
                )
        for evaluation in search.evaluations[shown:]:
            console.print(_line(search, evaluation, at_once), markup=False, soft_wrap=True)
        shown = len(search.evaluations)
        if due() and examine is not None:
            if search.left:
                console.print(f"expected remaining gain: {left_to_gain(search.left, search.objectives)}", markup=False)
            for finding in examine().findings:
                if finding.check not in said:
                    said.add(finding.check)
                    console.print(str(finding), markup=False, soft_wrap=True)

    yield on_change


def _line(search: "Search", evaluation: Evaluation, at_once: int) -> str:
    value = search.objectives.value(evaluation)
    outcome = f"failed: {one_line(evaluation.error)}" if value is None else f"{search.objectives.metric} {value:.4f}"
    ended, reached = len(search.evaluations), evaluation.candidate.fidelity
    rung = ""
    if reached != search.spec.rungs[-1]:
        of = f"after {reached.epochs} of {reached.schedule_epochs} epochs"
        rung = f" {of}" if search.spec.schedule else f" ({search.spec.rung_name(reached.epochs)})"
    return (
        f"[{time.strftime('%H:%M:%S')}] {ended}/{search.expected} trial {evaluation.candidate.number}{rung} {outcome} "
        f"({evaluation.seconds:.0f} s); hypervolume {search.fronts()[-1].hypervolume:.4f}; {remaining(search, at_once)}"
    )
