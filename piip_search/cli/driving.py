"""The output of commands that run a search, and the end of these commands."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console, RenderableType

from piip_search.api.runners import ReadySearch
from piip_search.api.runs import health_of
from piip_search.cli.application import HALTED, errors, print_result, stopped
from piip_search.cli.terminal import tables
from piip_search.cli.terminal.live import ahead, watch

if TYPE_CHECKING:  # these import the database, which a message need not wait for
    from piip_search.analysis.health import Health
    from piip_search.search.search import Search


def drive_to_end(opened: ReadySearch, shown_on: Console, examined: bool = True) -> None:
    """Runs, shows and checks a search; ends the program if the user interrupts it.

    Args:
        opened: Search.
        shown_on: Console that shows it.
        examined: Whether to check its health while it runs.
    """
    search = opened.search
    _announce(search, shown_on)

    def examine() -> "Health":
        return health_of(search.spec, search.objectives, search.evaluations, search.running_seconds)

    try:
        with watch(shown_on, search, opened.usage, opened.at_once, examine if examined else None) as on_change:
            opened.drive(on_change)
    except KeyboardInterrupt:
        _interrupted(search)
    if search.running:  # Ray ends silently after an interruption
        _interrupted(search)


def end_search(search: "Search", trials: Path | None, as_json: bool, quiet: bool) -> None:
    """Ends the program if a search failed; shows the errors if every trial failed.

    Args:
        search: Search that has run.
        trials: Folder of all its trainings; None for a simulation.
        as_json: Whether the result is one JSON document.
        quiet: Whether stdout has only the bare result.
    """
    if search.measured_nothing and not as_json:
        said: list[RenderableType] = ["every trial failed", tables.failures_view(search.failures, trials)]
        if quiet:
            errors.print(*said, sep="\n", markup=False, highlight=False)
        else:
            print_result(*said)
    if search.halted or search.measured_nothing:
        sys.exit(HALTED)


def _announce(search: "Search", shown_on: Console) -> None:
    if search.replayed:
        shown_on.print(f"run {search.run} goes on: {search.replayed} evaluations are in the ledger", markup=False)
    else:
        shown_on.print(f"run {search.run} begins: {ahead(search)}", markup=False)


def _interrupted(search: "Search") -> NoReturn:
    search.note_stop()
    stopped("stopped; what is measured is kept: run the same command again to go on")
