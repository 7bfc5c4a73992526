"""A report as Markdown, with its pictures in a folder beside it."""

import re
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from piip_dashboards.report import phrases
from piip_dashboards.report.charts import charts
from piip_dashboards.report.content import SearchReport
from piip_dashboards.report.html import TEMPLATES
from piip_search.plain_text import printable

_SPECIAL = re.compile(r"^(\d+)([.)])(?=\s|$)|^()([-+#])(?=[\s#]|$)|()([\\`*\[\]|~$]|(?<!\w)_|_(?!\w))")
"""Starts of numbered lists; of lists and headings; marks of emphasis, code, links, cells, mathematics."""


def markdown_page(report: SearchReport, folder: str) -> str:
    """The text, in which values from the ledger are neither markup nor HTML.

    Args:
        report: Report.
        folder: Folder of its pictures, relative to the text.
    """
    return _environment().get_template("report.md").render(report=report, folder=Markup(folder))


def pictures(report: SearchReport) -> dict[str, str]:
    """The pictures of a report by their file names: SVG that suits light and dark pages."""
    drawn = {
        **{f"{name}.svg": chart for name, chart in charts(report, standalone=True).items()},
        **{f"trial-{design.trial}.svg": design.alone for design in report.chosen},
    }
    return {name: drawing for name, drawing in drawn.items() if drawing}


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=plain,
    )
    environment.filters.update(phrases.REPORT_FILTERS, code=code, block=block, ready=Markup)
    environment.globals.update(phrases.REPORT_WORDS)
    return environment


def plain(value: Any) -> str:
    """Escaped text on one line; ready markup is left unchanged."""
    if isinstance(value, Markup):
        return str(value)
    words = printable(" ".join(str(value).split()))
    words = words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(lambda found: "\\".join(part for part in found.groups() if part is not None), words)


def code(value: str) -> Markup:
    """Text in a code span, also suitable for a table."""
    words = printable(" ".join(str(value).split())).replace("|", "\\|")
    fence = _fence(words, 1)
    room = " " if words.startswith("`") or words.endswith("`") else ""
    return Markup(f"{fence}{room}{words}{room}{fence}")


def block(value: str, language: str) -> Markup:
    """Lines in a fenced block."""
    lines = printable(value, lines=True).rstrip()
    fence = _fence(lines, 3)
    return Markup(f"{fence}{language}\n{lines}\n{fence}")


def _fence(words: str, least: int) -> str:
    """A fence with more backticks than any sequence in the text."""
    longest = max((len(run) for run in re.findall("`+", words)), default=0)
    return "`" * max(least, longest + 1)
