"""A report as one HTML page without scripts, network access or other files."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from piip_dashboards.report import phrases
from piip_dashboards.report.charts import charts
from piip_dashboards.report.content import SearchReport
from piip_search.plain_text import printable

TEMPLATES = Path(__file__).parent / "templates"


def html_page(report: SearchReport) -> str:
    """The page. What comes from the ledger is escaped; drawings are ours and escape what they write."""
    page = _environment().get_template("report.html")
    return page.render(
        report=report,
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        **{f"{name}_chart": Markup(drawing) for name, drawing in charts(report).items()},
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=seen,
    )
    environment.filters.update(phrases.REPORT_FILTERS, drawing=Markup, breakable=_breakable)
    environment.globals.update(phrases.REPORT_WORDS)
    return environment


def seen(value: Any) -> Any:
    """A text without effect on the page's other texts (`printable`); ready markup keeps being ready."""
    if isinstance(value, Markup):
        return Markup(printable(value, lines=True))
    return printable(value, lines=True) if isinstance(value, str) else value


def _breakable(name: str) -> Markup:
    """The short form of a design, which may wrap between its branches."""
    return Markup("+<wbr>").join(name.split("+"))
