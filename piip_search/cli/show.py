"""`piip-search show` and `piip-search front`: show results in the ledger."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from piip_search.analysis.baselines import Baseline, compare
from piip_search.api.plain_data import baselines_content, members_of, runs_content, status_content, tiers_of
from piip_search.api.runs import baselines_of_run, history_of
from piip_search.api.status import RunStatus, status_of
from piip_search.api.stores import read_ledger
from piip_search.cli.application import console, note_unreadable, print_json, print_result
from piip_search.cli.options import DEFAULT_HOME, Home, Json, LedgerUrl, Quiet, RunName, run_names
from piip_search.cli.terminal import tables
from piip_search.cli.terminal.widgets import FrontPlot
from piip_search.errors import UserError
from piip_search.evaluation.objectives import Objectives
from piip_search.plain_text import csv_text, printable
from piip_search.search.history import FrontsView, RunHistory

if TYPE_CHECKING:  # these import the database, which a message need not wait for
    from piip_search.ledger import Ledger


def show(
    run: Annotated[
        str | None,
        typer.Argument(help="Name of a run; without it, all runs are listed.", autocompletion=run_names),
    ] = None,
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show the runs in the ledger, or one run with its fronts, health and failures.

    With --quiet, only the names of the runs, or the progress of one.

    Example: piip-search show quickstart
    """
    book = read_ledger(ledger, home)
    if run is None:
        _list(book, as_json, quiet)
        return
    found = status_of(book, run, home, examine=as_json or not quiet)
    note_unreadable(found.history.unreadable)
    if as_json:
        print_json(status_content(found))
    else:
        _show(found, quiet)


def _list(book: "Ledger", as_json: bool, quiet: bool) -> None:
    note_unreadable(book.unreadable_searches())
    if as_json:
        print_json(runs_content(book))
        return
    records = book.searches()
    for record in records:
        print_result(
            printable(record.name)
            if quiet
            else f"{printable(record.name)}: {record.evaluations} of {record.proposals} proposals measured, "
            f"begun {record.created_at:%Y-%m-%d %H:%M} UTC"
        )
    if not records and not quiet:
        print_result(f"no run in ledger {book.shown} yet; start one with piip-search run")


def _show(found: RunStatus, quiet: bool) -> None:
    """Prints the progress of a run, and unless only the bare result is wanted its fronts, health and failures."""
    history, failed = found.history, found.history.failed
    print_result(
        f"{printable(found.run)}: {len(history.evaluations) - len(failed)} done, {len(failed)} failed, "
        f"{len(found.unfinished)} unfinished; "
        f"{_axes(history.objectives)}"
    )
    if quiet:
        return
    _print_owner(found)
    _print_preparation(found)
    _print_fronts(history.view(), found.baselines)
    _print_baselines(history, found.baselines)
    if found.health is not None:
        print_result(Text(), tables.health_view(found.health))
    if history.left and found.is_search:
        print_result(Text(f"expected remaining gain: {tables.left_to_gain(history.left, history.objectives)}"))
    if failed:
        print_result(Text(), tables.failures_view(failed, found.trials))


def _print_owner(found: RunStatus) -> None:
    """Prints whose run it is, and the process that drives it, as far as they are known."""
    parts = [f"owner {found.owner}"] if found.owner.known else []
    parts += [f"driven by {found.claim}"] if found.claim is not None else []
    if parts:
        print_result("; ".join(parts))


def _axes(objectives: Objectives) -> str:
    """What is traded off."""
    metrics, costs = [one.name for one in objectives.metrics], [axis.label.title for axis in objectives.costs]
    return f"{' and '.join(metrics)} against {' and '.join(costs)}"


def _print_preparation(found: RunStatus) -> None:
    """Prints the state of the evaluator's preparation, if there is one."""
    one = found.preparation
    if one is None:
        return
    spent = f" in {tables.clock(one.seconds)}" if one.seconds else ""
    spent += f", {tables.clock(one.gpu_seconds)} of GPU time" if one.gpu_seconds else ""
    print_result(f"evaluator {one.kind}: {one.state}{spent}{f': {one.error}' if one.error else ''}")
    print_result(*(printable(f"  {line}") for line in one.said))


def _print_fronts(view: FrontsView, baselines: Sequence[Baseline]) -> None:
    """Prints the front as a plot on a terminal, and as tables everywhere."""
    if console.is_terminal:
        points = [(one.cost, one.value) for one in baselines if one.value is not None]
        print_result(FrontPlot(view.fronts, view.evaluations, view.objectives, baselines=points))
    print_result(Text(), tables.fronts_view(view.fronts, view.objectives))


def _print_baselines(history: RunHistory, baselines: Sequence[Baseline]) -> None:
    """Prints the baselines of a run beside its front, if there are any."""
    if baselines:
        print_result(Text(), tables.baselines_view(baselines, compare(history, baselines), history.objectives))


def front(
    run: RunName,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    metric: Annotated[
        list[str] | None, typer.Option(help="Metric in place of the search's own; give it again for several.")
    ] = None,
    cost: Annotated[
        list[str] | None, typer.Option(help="Axis of cost in place of the search's own: gmacs, mparams, training_gib.")
    ] = None,
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
    quiet: Quiet = False,
) -> None:
    """Show the Pareto front of each tier of a run, also on axes that were not searched.

    Tiers belong to the search's own axis of cost. Another axis has one front of all designs. Baselines are shown beside
    the fronts of the search's own axes.

    With --quiet, only the architectures of the largest tier's front, cheapest first.

    Example: piip-search front quickstart --csv > front.csv
    """
    if as_json and as_csv:
        raise UserError("give --json or --csv, not both")
    book = read_ledger(ledger, home)
    history = history_of(book, run)
    baselines = () if metric or cost else baselines_of_run(book, run, history)
    note_unreadable(history.unreadable)
    view = history.view(metric or (), cost or ())
    objectives = view.objectives
    if as_json:
        content = {"run": run, "metric": objectives.metric, "tiers": tiers_of(view.fronts, objectives)}
        print_json({**content, **baselines_content(history, baselines)})
    elif as_csv:
        axis = objectives.axis.name
        rows = [{f"tier_{axis}": f.tier, **row} for f in view.fronts for row in members_of(f, objectives)]
        print(csv_text(rows), end="")
    elif quiet:
        for member in view.fronts[-1].evaluations:
            print_result(member.candidate.design.name)
    else:
        print_result(f"{printable(run)}: {len(view.evaluations)} designs measured; {_axes(objectives)}")
        _print_fronts(view, baselines)
        _print_baselines(history, baselines)
