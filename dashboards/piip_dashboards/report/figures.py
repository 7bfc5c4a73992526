"""The front as figures for a paper: one drawing as SVG and PNG, on white, in the width of a column."""

from pathlib import Path

from piip_dashboards.drawing.figures import COLUMN_SIZE, front_figure, save_figure
from piip_dashboards.report.charts import front_chart
from piip_dashboards.report.content import SearchReport

FRONT_FILE = "front"


def write_figures(report: SearchReport, folder: Path) -> list[Path]:
    """Writes the front as SVG and PNG, and the drawings of the chosen designs.

    Returns:
        The written files; empty without a front.
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
