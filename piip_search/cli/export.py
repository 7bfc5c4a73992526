"""`piip-search export`: exports a chosen design."""

from pathlib import Path
from typing import Annotated

import typer

from piip_search.api.elastic import ELASTIC, export_elastic
from piip_search.api.export import ALL_FORMATS, DesignExport, ExportOptions, check_proofs, export_designs
from piip_search.api.notices import ignore
from piip_search.api.stores import read_ledger
from piip_search.cli.application import note, print_json, print_result, progress
from piip_search.cli.options import DEFAULT_HOME, Home, Json, LedgerUrl, Quiet, RunName, Trust, expanded_store
from piip_search.export import WeightsKind
from piip_search.tasks import TASKS

FORMATS = tuple(dict.fromkeys(name for task in TASKS.values() for name in task.formats))
"""Formats of all tasks."""
SCHEDULE_NAMES = tuple(dict.fromkeys(name for task in TASKS.values() for name in task.schedules))
"""Schedules of the full trainings of all tasks."""


def export(
    run: RunName,
    choice: Annotated[
        str,
        typer.Argument(
            help="best, best<=250G, knee, a trial number, a fingerprint's beginning, all for the whole front, or "
            "elastic for one set of weights with many operating points (evaluator shared)."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder to write: new, or an earlier export; with all, one a design."),
    ],
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help=f"Format to write: {', '.join(FORMATS)} or all; may be given more than once. "
            "By default that of the task's own training.",
            autocompletion=lambda: [*FORMATS, ALL_FORMATS],
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help=f"Schedule of the full training: {', '.join(SCHEDULE_NAMES)}; by default the task's usual one."
        ),
    ] = None,
    weights: Annotated[
        WeightsKind | None,
        typer.Option(
            help="Starting weights of the training; by default pretrained if the search used them, else proxy."
        ),
    ] = None,
    proof: Annotated[bool, typer.Option(help="Rebuild, count, train and run the written network.")] = True,
    register: Annotated[
        bool,
        typer.Option(help="Add a torch or ONNX network to MLflow's model registry, if MLflow has the search."),
    ] = True,
    mlflow: Annotated[
        str | None,
        typer.Option(
            envvar="MLFLOW_TRACKING_URI",
            callback=expanded_store,
            help="MLflow store of the search, or none; by default mlflow.db in the home, if it exists.",
        ),
    ] = None,
    trust: Trust = False,
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a chosen design: a training with the full schedule, a torch network, an ONNX file.

    The written files are tested, with the results in proof.json; after a failed test the exit code is 2. With --quiet,
    only the folders are printed.

    Example: piip-search export quickstart best -o exported/best
    """
    options = ExportOptions(
        tuple(formats or ()),
        schedule,
        weights,
        proof,
        register,
        mlflow,
        trust,
    )

    def done(design: DesignExport) -> None:
        if not as_json:
            print_result(str(design.folder) if quiet else design.summary)

    book, notify = read_ledger(ledger, home), ignore if quiet else note
    if choice == ELASTIC:
        with progress(as_json, quiet).status("exporting") as status:
            networks = export_elastic(book, run, out, home, options, status.update)
        if as_json:
            print_json({"run": run, "choice": choice, "exports": [network.to_dict() for network in networks]})
        else:
            print_result(*(str(network.folder) if quiet else network.summary for network in networks))
        check_proofs(networks)
        return
    with progress(as_json, quiet).status("exporting") as status:
        exports = export_designs(book, run, choice, out, home, options, notify, status.update, done)
    if as_json:
        print_json({"run": run, "choice": choice, "exports": [design.to_dict() for design in exports]})
    check_proofs(exports)
