"""`piip-search show` and `piip-search front`: what the ledger holds."""

import csv
import io
import json
from typing import Annotated, Any

import typer

from piip_search import terminal
from piip_search.audit import MARK
from piip_search.cli.application import DEFAULT_HOME, Home, LedgerUrl, console
from piip_search.objectives import Objectives, ParetoFront
from piip_search.wiring import UserError, existing_ledger, health_of, history_of, open_ledger


def show(
    run: Annotated[str | None, typer.Argument(help="Name of a run; without it, all runs are listed.")] = None,
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
) -> None:
    """Show what the ledger holds: all runs, or one with its fronts and failures.

    Example: piip-search show quickstart
    """
    book = open_ledger(existing_ledger(ledger, home))
    if run is None:
        for record in book.searches():
            console.print(f"{record.name}: {record.evaluations} of {record.proposals} proposals measured, "
                          f"begun {record.created_at:%Y-%m-%d %H:%M} UTC", markup=False)  # fmt: skip
        return
    history = history_of(book, run)
    failed = [e for e in history.evaluations if e.status == "failed"]
    running = book.unfinished(run)
    console.print(
        f"{run}: {len(history.evaluations) - len(failed)} done, {len(failed)} failed, {len(running)} unfinished; "
        f"{history.objectives.metric} against GMACs ({history.objectives.convention} convention)",
        markup=False,
    )
    for front in history.fronts:
        console.print(terminal.front_table(front, history.objectives))
    if MARK not in run:  # an audit's designs were not searched for
        health = health_of(history.spec, history.objectives, history.evaluations, running)
        console.print(terminal.health_view(health))
        if history.left:
            console.print(
                f"expected to be left: {terminal.left_to_gain(history.left, history.objectives)}", markup=False
            )
    for evaluation in failed:
        console.print(f"trial {evaluation.candidate.number} failed: {evaluation.error}", markup=False, soft_wrap=True)


def front(
    run: Annotated[str, typer.Argument(help="Name of a run.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
) -> None:
    """Show the Pareto front of each tier of a run.

    Example: piip-search front quickstart --csv > front.csv
    """
    if as_json and as_csv:
        raise UserError("give --json or --csv, not both")
    history = history_of(open_ledger(existing_ledger(ledger, home)), run)
    if as_json:
        tiers = [
            {"gmacs": f.budget, "hypervolume": f.hypervolume, "front": _rows(f, history.objectives)}
            for f in history.fronts
        ]
        print(json.dumps({"run": run, "metric": history.objectives.metric, "tiers": tiers}, indent=2))
    elif as_csv:
        rows = [{"tier_gmacs": f.budget, **row} for f in history.fronts for row in _rows(f, history.objectives)]
        print(_csv(rows), end="")
    else:
        for item in history.fronts:
            console.print(terminal.front_table(item, history.objectives))


def _rows(item: ParetoFront, objectives: Objectives) -> list[dict[str, Any]]:
    return [
        {
            "trial": evaluation.candidate.number,
            objectives.metric: objectives.value(evaluation),
            "gmacs": objectives.cost(evaluation).gmacs,
            "mparams": objectives.cost(evaluation).mparams,
            "architecture": evaluation.candidate.architecture.name,
            "fingerprint": evaluation.candidate.architecture.fingerprint,
        }
        for evaluation in item.evaluations
    ]


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()
