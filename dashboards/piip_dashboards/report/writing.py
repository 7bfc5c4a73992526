"""Reports as files."""

from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

from piip_dashboards.report.content import SearchReport
from piip_dashboards.report.html import html_page
from piip_dashboards.report.markdown import markdown_page, pictures
from piip_dashboards.report.paper import find_browser, print_page


class ReportFormat(StrEnum):
    """Format of a report."""

    HTML = "html"
    MD = "md"
    PDF = "pdf"


def write_report(report: SearchReport, form: ReportFormat, path: Path, browser: str | None = None) -> list[Path]:
    """Writes a report.

    Args:
        report: Content of the report.
        form: Format.
        path: Path of the file; Markdown has its pictures in a folder beside it, named like it.
        browser: Browser that prints a PDF; by default the first one found.

    Returns:
        All written files, the report first.

    Raises:
        NoPaperError: No browser can print.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if form is ReportFormat.MD:
        return _markdown(report, path)
    if form is ReportFormat.PDF:
        path.write_bytes(print_page(html_page(report), find_browser(browser)))
    else:
        path.write_text(html_page(report), encoding="utf-8")
    return [path]


def _markdown(report: SearchReport, path: Path) -> list[Path]:
    folder = path.with_name(f"{path.stem}_files")
    drawn = pictures(report)
    if drawn:
        folder.mkdir(exist_ok=True)
    for name, drawing in drawn.items():
        (folder / name).write_text(drawing, encoding="utf-8")
    path.write_text(markdown_page(report, quote(folder.name)), encoding="utf-8")
    return [path, *(folder / name for name in drawn)]
