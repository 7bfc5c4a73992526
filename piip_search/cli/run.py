"""`piip-search run`: start a search, or go on with one."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from piip_search.api.checks import checked_spec, looked_through, watched_images
from piip_search.api.extras import extra, find_trainer
from piip_search.api.runners import Drive, Place, measurement, runner
from piip_search.api.runs import health_of
from piip_search.api.stores import keep_store, ledger_url, mlflow_uri, open_ledger, open_tracker
from piip_search.cli.application import HALTED, console, errors, note, pass_over, progress, put, put_json, stopped
from piip_search.cli.options import (
    DEFAULT_HOME,
    Fresh,
    Home,
    Json,
    LedgerUrl,
    Mlflow,
    Name,
    Quiet,
    Resume,
    SpaceName,
    Trials,
)
from piip_search.cli.show import failures_of, tiers_of
from piip_search.cli.terminal import tables
from piip_search.cli.terminal.live import ahead, watch
from piip_search.config import RUN_NAME, SearchSpec
from piip_search.config.shipped import find_space
from piip_search.errors import UserError
from piip_search.evaluation.evaluation import trials_folder
from piip_search.file_paths import typed_path, typed_url
from piip_search.redact import without_secrets

if TYPE_CHECKING:  # they bring the database with them, for which a message need not wait
    from piip_search.analysis.health import Health
    from piip_search.ledger import Ledger
    from piip_search.search.search import Search


def run(
    space: SpaceName,
    name: Name = None,
    trials: Trials = None,
    on: Annotated[Place, typer.Option(help="Where candidates are measured.")] = Place.RAY,
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster to join: auto or HOST:PORT on one of its nodes, ray://HOST:10001 from elsewhere; by "
            "default one is started here."
        ),
    ] = None,
    resume: Resume = False,
    fresh: Fresh = False,
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
    mlflow: Mlflow = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search a space: start a run, or go on with the one of that name.

    A run that was cut off goes on where it stopped; nothing that is already measured is trained again.
    With --json, progress goes to stderr; with --quiet, the best of each tier is all that is printed.

    Example: piip-search run quickstart --on local --trials 4
    """
    if on is Place.LOCAL and address:
        raise UserError("--address names a Ray cluster; leave it out with --on local")
    store = mlflow_uri(mlflow, home)
    shown_on, told = progress(as_json, quiet), pass_over if quiet else note
    with shown_on.status("looking at the data") as status:
        spec = checked_spec(find_space(space), trials, status.update, told)
    run_name = checked_name(name, spec)
    from piip_search.ledger.environment import circumstances
    from piip_search.search.search import open_search
    from piip_workers.tasks.detection import data

    with extra("detection"):
        find_trainer(address)
        data.prepare(spec.data)
    with shown_on.status("looking at the images") as status:
        fingerprint = looked_through(spec, status.update, told)
    recipe = spec.recipe(fingerprint)
    book = open_ledger(ledger_url(ledger, home), note)
    if resume:
        book.search(run_name)
    with shown_on.status("starting"):
        drive, usage, at_once = runner(on, address, spec, home, told)
        tracker = open_tracker(store, home, mlflow is not None, told)
        search = open_search(run_name, spec, book, recipe, tracker, fresh, fingerprint, circumstances())
    if tracker is not None and store is not None:
        keep_store(store, home, run_name)
    with watched_images(spec, told):
        drive_to_end(search, drive, measurement(spec, home, run_name, search), usage, at_once, shown_on)
    trials_of_run = trials_folder(home, run_name, recipe)
    if as_json:
        put_json({**_content(search, book, store), "failures": failures_of(search.failures, trials_of_run)})
    elif quiet:
        _put_best(search)
    else:
        _report(search, book, store, home, ledger)
    end(search, trials_of_run, as_json, quiet)


def end(search: "Search", trials: Path | None, as_json: bool, quiet: bool) -> None:
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


def checked_name(name: str | None, spec: SearchSpec) -> str:
    """The name of a run.

    Raises:
        UserError: It is none that a folder can have.
    """
    chosen = name or spec.name
    if not re.fullmatch(RUN_NAME, chosen):
        raise UserError(f"a run's name has up to 100 letters, digits, dots, dashes and underscores, got {chosen!r}")
    return chosen


def drive_to_end(
    search: "Search",
    drive: Drive,
    measure: Any,
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
        with watch(shown_on, search, usage, at_once, examine if examined else None) as changed:
            drive(search, measure, changed)
    except KeyboardInterrupt:
        _interrupted()
    if search.running:  # Ray ends quietly when it is interrupted
        _interrupted()


def _announce(search: "Search", shown_on: Console) -> None:
    if search.replayed:
        shown_on.print(f"run {search.run} goes on: {search.replayed} evaluations are in the ledger", markup=False)
    else:
        shown_on.print(f"run {search.run} begins: {ahead(search)}", markup=False)


def _interrupted() -> NoReturn:
    stopped("stopped; what is measured is kept: the same command goes on where this stopped")


def _content(search: "Search", book: "Ledger", store: str | None) -> dict[str, Any]:
    """What a search ends with, as plain data."""
    return {
        "run": search.run,
        "ending": search.ending or "ended",
        "halted": search.halted,
        "done": len(search.evaluations) - len(search.failures),
        "failed": len(search.failures),
        "new": len(search.evaluations) - search.replayed,
        "answered": search.answered,
        "seconds": search.elapsed,
        "metric": search.objectives.metric,
        "tiers": tiers_of(search.fronts(), search.objectives),
        "left": search.left,
        "ledger": book.shown,
        "mlflow": None if store is None else without_secrets(store),
    }


def _looked_at(store: str) -> str:
    """A store, with how to look at it where it is a file; a server is looked at in a browser."""
    from piip_search.ledger import shell_command

    look = shell_command("mlflow ui --backend-store-uri", store)
    return store if store.startswith("http") else f"{store} (look at it with: {look})"


def _put_best(search: "Search") -> None:
    """A line a tier: its limit, metric, architecture."""
    for front in search.fronts():
        if front.best is not None:
            name = front.best.candidate.architecture.name
            put(f"{front.tier:g} {search.objectives.value(front.best):.4f} {name}")


def _report(search: "Search", book: "Ledger", store: str | None, home: Path, ledger: str | None) -> None:
    """What a search ends with: the front of each tier, where everything is, and what to type next."""
    put(tables.fronts_view(search.fronts(), search.objectives), Text())
    answered = f"; {search.answered} answered from other runs" if search.answered else ""
    if search.left:
        put(Text(f"expected remaining gain: {tables.left_to_gain(search.left, search.objectives)}"))
    done = len(search.evaluations) - len(search.failures)
    put(
        f"{search.ending or 'ended'}: {done} done, {len(search.failures)} failed, "
        f"{len(search.evaluations) - search.replayed} new in {tables.clock(search.elapsed)}{answered}"
    )
    lines = [f"ledger: {book.shown}"]
    if store is not None:
        lines.append(f"MLflow: {_looked_at(without_secrets(store))}")
    where = "" if home == DEFAULT_HOME else f" --home {typed_path(home)}"
    # What comes from the environment is found there again, with its password.
    where += "" if ledger in (None, os.environ.get("PIIP_SEARCH_LEDGER")) else f" --ledger {typed_url(book.shown)}"
    export = (
        [f"piip-search export {search.run} best -o exported/{search.run}{where}"]
        if any(front.best for front in search.fronts())
        else []
    )
    commands = [*export, f"piip-search report {search.run} -o {search.run}.html{where}"]
    lines.append(f"next: {commands[0]}")
    lines += [f"      {command}" for command in commands[1:]]
    put(*lines)
