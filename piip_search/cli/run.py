"""`piip-search run`: start a search, or go on with one."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from piip_search import terminal
from piip_search.cli.application import DEFAULT_HOME, INTERRUPTED, Home, LedgerUrl, console, errors, note
from piip_search.shipped import find_space
from piip_search.spec import NAME
from piip_search.wiring import (
    Drive,
    Place,
    UserError,
    checked_spec,
    extra,
    find_trainer,
    health_of,
    ledger_url,
    measurement,
    mlflow_uri,
    open_ledger,
    open_tracker,
    runner,
)

if TYPE_CHECKING:  # they bring the database with them, for which a message need not wait
    from piip_search.health import Health
    from piip_search.ledger import Ledger
    from piip_search.search import Search


def run(
    space: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped space such as quickstart.")],
    name: Annotated[str | None, typer.Option(help="Name of the run; the space's name by default.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials to measure, in place of the space's.")] = None,
    on: Annotated[Place, typer.Option(help="Where candidates are measured.")] = Place.RAY,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to join: auto or ray://HOST:10001; none starts one here.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Fail unless there is a run of that name to go on with.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure everything anew, whatever other runs of the ledger measured.")
    ] = False,
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
    mlflow: Annotated[
        str | None,
        typer.Option(
            envvar="MLFLOW_TRACKING_URI", help="MLflow store or server, or none; by default mlflow.db in the home."
        ),
    ] = None,
) -> None:
    """Search a space: start a run, or go on with the one of that name.

    A run that was cut off goes on where it stopped; nothing that is already measured is trained again.

    Example: piip-search run quickstart --on local --trials 4
    """
    if on is Place.LOCAL and address:
        raise UserError("--address names a Ray cluster; leave it out with --on local")
    spec = checked_spec(find_space(space), trials)
    run_name = name or spec.name
    if not re.fullmatch(NAME, run_name):
        raise UserError(f"a run's name has up to 100 letters, digits, dots, dashes and underscores, got {run_name!r}")
    from piip_search.search import open_search
    from piip_workers import data

    with extra("detection"):
        find_trainer(address)
        data.prepare(spec.data)
    recipe = spec.recipe(data.fingerprint(spec.data))
    book = open_ledger(ledger_url(ledger, home))
    if resume:
        book.search(run_name)
    measure = measurement(spec, home, run_name)
    store = mlflow_uri(mlflow, home)
    with console.status("starting"):
        drive, usage, at_once = runner(on, address, spec, measure, home)
        tracker = open_tracker(store, home, mlflow is not None, note)
        search = open_search(run_name, spec, book, recipe, tracker, fresh)
    drive_to_end(search, drive, usage, at_once)
    _report(search, book, store, home, ledger)


def drive_to_end(
    search: "Search",
    drive: Drive,
    usage: Callable[[], str],
    at_once: int,
    shown_on: Console = console,
    examined: bool = True,
) -> None:
    """Runs a search, shows and examines it; ends the program where the user interrupted it."""
    _announce(search, shown_on)

    def examine() -> "Health":
        return health_of(search.spec, search.objectives, search.evaluations, search.running_seconds)

    try:
        with terminal.watch(shown_on, search, usage, at_once, examine if examined else None) as changed:
            drive(search, changed)
    except KeyboardInterrupt:
        _interrupted()
    if search.running:  # Ray ends quietly when it is interrupted
        _interrupted()


def _announce(search: "Search", shown_on: Console) -> None:
    if search.replayed:
        shown_on.print(f"run {search.run} goes on: {search.replayed} evaluations are in the ledger", markup=False)
    else:
        shown_on.print(f"run {search.run} begins: {terminal.ahead(search)}", markup=False)


def _interrupted() -> NoReturn:
    errors.print("stopped; what is measured is kept: the same command goes on where this stopped", markup=False)
    sys.exit(INTERRUPTED)


def _report(search: "Search", book: "Ledger", store: str | None, home: Path, ledger: str | None) -> None:
    """What a search ends with: the front of each tier, where everything is, and what to type next."""
    for item in search.fronts():
        console.print(terminal.front_table(item, search.objectives))
    answered = f"; {search.answered} answered from other runs" if search.answered else ""
    if search.left:
        console.print(f"expected to be left: {terminal.left_to_gain(search.left, search.objectives)}", markup=False)
    done = len(search.evaluations) - len(search.failures)
    console.print(
        f"{search.ending or 'ended'}: {done} done, {len(search.failures)} failed, "
        f"{len(search.evaluations) - search.replayed} new in {terminal.clock(search.elapsed)}{answered}",
        markup=False,
    )
    lines = [f"ledger: {book.url}"]
    if store is not None:
        lines.append(f"MLflow: {store} (look at it with: mlflow ui --backend-store-uri {store})")
    where = (
        ""
        if home == DEFAULT_HOME and ledger is None
        else f" --home {home}"
        if ledger is None
        else f" --ledger {ledger}"
    )
    lines.append(f"next: piip-search export {search.run} best -o exported/{search.run}{where}")
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
