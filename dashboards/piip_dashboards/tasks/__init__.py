"""The drawings of the tasks: a module and a template each, and one line here."""

from piip_dashboards.tasks.classification import ClassificationDrawing
from piip_dashboards.tasks.detection import DetectionDrawing
from piip_dashboards.tasks.task import Examples as Examples
from piip_dashboards.tasks.task import TaskDrawing as TaskDrawing

DRAWINGS: dict[str, TaskDrawing] = {
    "detection": DetectionDrawing(),
    "classification": ClassificationDrawing(),
}
"""The drawing of every task, by its name in `piip_search.tasks.TASKS`."""
