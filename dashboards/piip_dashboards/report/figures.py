"""The front as figures for a paper: SVG and PNG of one drawing, on white, in the size of a column."""

from pathlib import Path

from piip_dashboards.drawing.figures import COLUMN_SIZE, front_figure, save_figure
from piip_dashboards.report.charts import front_chart
from piip_dashboards.report.content import SearchReport

FRONT_FILE = "front"


def write_figures(report: SearchReport, folder: Path) -> list[Path]:
    """Writes the front as SVG and PNG, and the drawings of the chosen designs.

    Returns:
        What was written; nothing where there is no front.
    """
    if not report.front:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    figure, written = front_figure(front_chart(report), COLUMN_SIZE), []
    for ending in ("svg", "png"):
        written.append(folder / f"{FRONT_FILE}.{ending}")
        save_figure(figure, written[-1], ending)
    for design in report.chosen:
        if design.alone:
            written.append(folder / f"trial-{design.trial}.svg")
            written[-1].write_text(design.alone, encoding="utf-8")
    return written
