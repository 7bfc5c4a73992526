"""What commands that drive a search print while it runs, and how they end."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console, RenderableType

from piip_search.api.runners import Place, ReadySearch
from piip_search.api.runs import health_of
from piip_search.cli.application import HALTED, errors, put, stopped
from piip_search.cli.terminal import tables
from piip_search.cli.terminal.live import ahead, watch
from piip_search.errors import UserError

if TYPE_CHECKING:  # they bring the database with them, for which a message need not wait
    from piip_search.analysis.health import Health
    from piip_search.search.search import Search


def check_place(on: Place, address: str | None) -> None:
    """Looks whether the options that say where candidates are measured fit together.

    Raises:
        UserError: They do not.
    """
    if on is Place.LOCAL and address:
        raise UserError("--address names a Ray cluster; leave it out with --on local")


def drive_to_end(opened: ReadySearch, shown_on: Console, examined: bool = True) -> None:
    """Runs a search, shows and examines it; ends the program where the user interrupted it.

    Args:
        opened: The search.
        shown_on: Where it is shown.
        examined: Whether its health is examined while it runs.
    """
    search = opened.search
    _announce(search, shown_on)

    def examine() -> "Health":
        return health_of(search.spec, search.objectives, search.evaluations, search.running_seconds)

    try:
        with watch(shown_on, search, opened.usage, opened.at_once, examine if examined else None) as changed:
            opened.drive(changed)
    except KeyboardInterrupt:
        _interrupted()
    if search.running:  # Ray ends quietly when it is interrupted
        _interrupted()


def end_search(search: "Search", trials: Path | None, as_json: bool, quiet: bool) -> None:
    """Ends the program where a search did not do what it was started for; says why where every trial failed.

    Args:
        search: What was driven.
        trials: The folder of all its trainings; None for a simulation, which has none.
        as_json: Whether the result was one JSON document.
        quiet: Whether the bare result is all that is printed to stdout.
    """
    if search.measured_nothing and not as_json:
        said: list[RenderableType] = ["every trial failed", tables.failures_view(search.failures, trials)]
        if quiet:
            errors.print(*said, sep="\n", markup=False, highlight=False)
        else:
            put(*said)
    if search.halted or search.measured_nothing:
        sys.exit(HALTED)


def _announce(search: "Search", shown_on: Console) -> None:
    if search.replayed:
        shown_on.print(f"run {search.run} goes on: {search.replayed} evaluations are in the ledger", markup=False)
    else:
        shown_on.print(f"run {search.run} begins: {ahead(search)}", markup=False)


def _interrupted() -> NoReturn:
    stopped("stopped; what is measured is kept: the same command goes on where this stopped")
