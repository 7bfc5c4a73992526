"""Writes a run as one document, and its figures."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from piip_search.api.extras import extra
from piip_search.api.notices import Notify, ignore
from piip_search.api.runs import report_source
from piip_search.errors import NoPaperError, UserError

if TYPE_CHECKING:  # these import the database, which a message need not wait for
    from piip_dashboards.report import SearchReport
    from piip_search.ledger import Ledger

ENDINGS = {"htm": "html", "markdown": "md"}
"""Alternative file endings of formats."""


class Form(StrEnum):
    """Format of a report."""

    HTML = "html"
    MD = "md"
    PDF = "pdf"


@dataclass(frozen=True)
class RunReport:
    """The report of a run.

    Attributes:
        content: Content of the report.
        files: Files of the report and of its figures, in the order of writing.
    """

    content: "SearchReport"
    files: tuple[Path, ...]


def form_of(path: Path) -> Form:
    """The format of a file's ending.

    Raises:
        UserError: The ending is unknown.
    """
    ending = path.suffix.lower().removeprefix(".")
    ending = ENDINGS.get(ending, ending)
    if ending not in list(Form):
        raise UserError(f"a report must end in .html, .md or .pdf, got {path}; name one, or give --format")
    return Form(ending)


def report_run(
    ledger: "Ledger",
    run: str,
    out: Path | None = None,
    form: Form = Form.HTML,
    figures: Path | None = None,
    within: float = 0.01,
    browser: str | None = None,
    notify: Notify = ignore,
) -> RunReport:
    """Makes the report of a run, and writes it if a file or folder is given.

    Args:
        ledger: Ledger of the run.
        run: Name of the run.
        out: File of the report; None writes none.
        form: Format of the file.
        figures: Folder for figures of the front and of the chosen designs; None draws none.
        within: Greatest distance of a cheaper design's metric below the best for it to be shown.
        browser: Program that prints a PDF; by default the first one found.
        notify: Called with notes about the figures.

    Raises:
        LedgerError: The ledger has no such run.
        UserError: An extra is missing, or no browser can print.
    """
    source = report_source(ledger, run)
    from piip_dashboards.report import make_report

    content = make_report(source, within)
    files = [] if out is None else _write(content, out, form, browser)
    if figures is not None:
        files += _draw(content, figures, notify)
    return RunReport(content, tuple(files))


def _write(content: "SearchReport", out: Path, form: Form, browser: str | None) -> list[Path]:
    with extra("dashboard"):
        from piip_dashboards.report.writing import ReportFormat, write_report
    try:
        return write_report(content, ReportFormat(form), out, browser)
    except NoPaperError as error:
        raise UserError(str(error)) from None


def _draw(content: "SearchReport", folder: Path, notify: Notify) -> list[Path]:
    with extra("plots"):
        from piip_dashboards.report.figures import write_figures
    drawn = write_figures(content, folder)
    if not drawn:
        notify(f"note: no design of {content.run} was measured to the end, so there is no front to draw")
    return drawn
