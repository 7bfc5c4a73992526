"""`piip-search report`: writes a run as one document."""

from pathlib import Path
from typing import Annotated

import typer

from piip_search.api.notices import ignore
from piip_search.api.report import Form, form_of, report_run
from piip_search.api.stores import read_ledger
from piip_search.cli.application import note, note_unreadable, print_json, print_result
from piip_search.cli.options import DEFAULT_HOME, Home, Json, LedgerUrl, Quiet, RunName


def report(
    run: RunName,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; by default RUN with the format's ending.")
    ] = None,
    form: Annotated[
        Form | None, typer.Option("--format", help="Format; by default from the file's ending, else html.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for the front as SVG and PNG and the drawings of the chosen designs.")
    ] = None,
    within: Annotated[
        float, typer.Option(min=0, help="Greatest distance below the best at which a cheaper design is shown.")
    ] = 0.01,
    browser: Annotated[
        str | None,
        typer.Option(help="Program that prints a PDF; by default a Chromium, Chrome or Edge of this machine."),
    ] = None,
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a run as one document: question, front, chosen designs, ablations, proxy audit, cost, how to reproduce it.

    The HTML is one file that works offline and prints well; Markdown has its pictures in a folder beside it. With
    --json the content is printed, and a file is written only if -o names one.

    Example: piip-search report quickstart -o report.html --figures figures
    """
    chosen = form or (Form.HTML if out is None else form_of(out))
    file = out if out is not None or as_json else Path(f"{run}.{chosen}")
    notify = ignore if quiet else note
    found = report_run(read_ledger(ledger, home), run, file, chosen, figures, within, browser, notify)
    note_unreadable(found.content.unreadable)
    if as_json:
        print_json({**found.content.to_dict(), "files": [str(path) for path in found.files]})
        return
    for path in found.files:
        print_result(str(path) if quiet else f"wrote {path}")
