"""`piip-search run`: starts or resumes a search."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from piip_search.analysis.baselines import compare
from piip_search.api.checks import with_trials
from piip_search.api.notices import ignore
from piip_search.api.plain_data import search_content
from piip_search.api.runners import Place
from piip_search.api.search import SearchOptions, SearchRun, open_search_run
from piip_search.api.stores import ledger_url, mlflow_uri
from piip_search.cli.application import HALTED, errors, note, print_json, print_result, progress
from piip_search.cli.driving import drive_to_end, end_search
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
    TakeOver,
    Trials,
)
from piip_search.cli.terminal import tables
from piip_search.config import load_spec
from piip_search.config.shipped import find_space
from piip_search.file_paths import typed_path, typed_url
from piip_search.redact import without_secrets

if TYPE_CHECKING:  # these import the database, which a message need not wait for
    from piip_search.search.search import Search


def run(
    space: SpaceName,
    name: Name = None,
    trials: Trials = None,
    on: Annotated[Place, typer.Option(help="Place where candidates are measured.")] = Place.RAY,
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster to join: auto or HOST:PORT on one of its nodes, ray://HOST:10001 from elsewhere; by "
            "default one is started here."
        ),
    ] = None,
    resume: Resume = False,
    fresh: Fresh = False,
    take_over: TakeOver = False,
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
    mlflow: Mlflow = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search a space: start a run, or resume the one of that name.

    An interrupted run goes on where it stopped; measured designs are not trained again. The baselines of the space are
    trained after the search. With --json, progress goes to
    stderr; with --quiet, only the best of each tier is printed.

    Example: piip-search run quickstart --on local --trials 4
    """
    options = SearchOptions(name, on, address, mlflow_uri(mlflow, home), mlflow is not None, fresh, resume, take_over)
    shown_on, notify = progress(as_json, quiet), ignore if quiet else note
    with shown_on.status("checking the data") as status:
        file = find_space(space)
        spec = with_trials(load_spec(file, notify), trials)
        opened = open_search_run(spec, ledger_url(ledger, home), home, options, file, notify, note, status.update)
    drive_to_end(opened, shown_on)
    halted = ""
    if opened.baselines is not None and opened.may_compare:
        beside = opened.baselines()
        drive_to_end(beside, shown_on, examined=False)
        halted = beside.search.ending if beside.search.halted else ""
    if as_json:
        print_json(search_content(opened))
    elif quiet:
        _print_best(opened.search)
    else:
        _report(opened, home, ledger)
    end_search(opened.search, opened.trials, as_json, quiet)
    if halted:
        errors.print(f"halted: {halted}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(HALTED)


def _looked_at(store: str) -> str:
    """A store, with a command that shows it if it is a file; a server is shown in a browser."""
    from piip_search.ledger import shell_command

    look = shell_command("mlflow ui --backend-store-uri", store)
    return store if store.startswith("http") else f"{store} (view it with: {look})"


def _print_best(search: "Search") -> None:
    """Prints one line a tier: its limit, metric, architecture."""
    for front in search.fronts():
        if front.best is not None:
            name = front.best.candidate.design.name
            print_result(f"{front.tier:g} {search.objectives.value(front.best):.4f} {name}")


def _report(opened: SearchRun, home: Path, ledger: str | None) -> None:
    """Prints the result of a search: the front of each tier, where everything is, and the next commands."""
    search, book, store = opened.search, opened.ledger, opened.store
    print_result(tables.fronts_view(search.fronts(), search.objectives), Text())
    answered = f"; {search.answered} answered from other runs" if search.answered else ""
    baselines = opened.found_baselines
    if baselines:
        compared = compare(search.history, baselines)
        print_result(tables.baselines_view(baselines, compared, search.objectives), Text())
    if search.left:
        print_result(Text(f"expected remaining gain: {tables.left_to_gain(search.left, search.objectives)}"))
    done = len(search.evaluations) - len(search.failures)
    print_result(
        f"{search.ending or 'ended'}: {done} done, {len(search.failures)} failed, "
        f"{len(search.evaluations) - search.replayed} new in {tables.clock(search.elapsed)}{answered}"
    )
    lines = [f"ledger: {book.shown}"]
    if store is not None:
        lines.append(f"MLflow: {_looked_at(without_secrets(store))}")
    where = "" if home == DEFAULT_HOME else f" --home {typed_path(home)}"
    # A value from the environment is found there again, with its password.
    where += "" if ledger in (None, os.environ.get("PIIP_SEARCH_LEDGER")) else f" --ledger {typed_url(book.shown)}"
    export = (
        [f"piip-search export {search.run} best -o exported/{search.run}{where}"]
        if any(front.best for front in search.fronts())
        else []
    )
    commands = [*export, f"piip-search report {search.run} -o {search.run}.html{where}"]
    lines.append(f"next: {commands[0]}")
    lines += [f"      {command}" for command in commands[1:]]
    print_result(*lines)
