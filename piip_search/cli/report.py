"""`piip-search report`: a run as one document."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from piip_search.api.extras import extra
from piip_search.api.runs import report_source
from piip_search.api.stores import read_ledger
from piip_search.cli.application import note, put, put_json
from piip_search.cli.options import DEFAULT_HOME, Home, Json, LedgerUrl, Quiet, RunName
from piip_search.errors import UserError


class Form(StrEnum):
    """Of a report."""

    HTML = "html"
    MD = "md"
    PDF = "pdf"


def report(
    run: RunName,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; RUN.html and the like by default.")
    ] = None,
    form: Annotated[
        Form | None, typer.Option("--format", help="By default as the file's name ends, else html.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for the front as SVG and PNG and the drawings of the chosen designs.")
    ] = None,
    within: Annotated[
        float, typer.Option(min=0, help="How far below the best the metric of a cheaper design may lie to be shown.")
    ] = 0.01,
    browser: Annotated[
        str | None, typer.Option(help="What prints a PDF; a Chromium, Chrome or Edge of this machine by default.")
    ] = None,
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a run as one document: question, front, chosen designs, ablations, proxy audit, cost, how to reproduce it.

    The HTML is one file that works offline and prints well; Markdown has its pictures in a folder beside it. With
    --json the content is printed, and a file is written where -o names one.

    Example: piip-search report quickstart -o report.html --figures figures
    """
    chosen = form or _form_of(out)
    source = report_source(read_ledger(ledger, home), run)
    from piip_dashboards.report import make_report

    content = make_report(source, within)
    written: list[Path] = []
    if out is not None or not as_json:
        with extra("dashboard"):
            from piip_dashboards.report.writing import ReportFormat, write_report
            from piip_search.errors import NoPaperError
        try:
            written += write_report(content, ReportFormat(chosen), out or Path(f"{run}.{chosen}"), browser)
        except NoPaperError as error:
            raise UserError(str(error)) from None
    if figures is not None:
        with extra("plots"):
            from piip_dashboards.report.figures import write_figures
        drawn = write_figures(content, figures)
        written += drawn
        if not drawn and not quiet:
            note(f"note: no design of {run} was measured to the end, so there is no front to draw")
    if as_json:
        put_json({**content.to_dict(), "files": [str(path) for path in written]})
        return
    for path in written:
        put(str(path) if quiet else f"wrote {path}")


def _form_of(out: Path | None) -> Form:
    ending = "html" if out is None else out.suffix.lower().removeprefix(".")
    ending = {"htm": "html", "markdown": "md"}.get(ending, ending)
    if ending not in list(Form):
        raise UserError(f"a report ends in .html, .md or .pdf, got {out}; name one, or give --format")
    return Form(ending)
