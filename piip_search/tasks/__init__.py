"""The tasks that designs are trained for: a folder each, and one line here."""

from piip_search.errors import UserError
from piip_search.sections import closest
from piip_search.tasks.classification.task import CLASSIFICATION
from piip_search.tasks.detection.task import DETECTION
from piip_search.tasks.task import Head as Head
from piip_search.tasks.task import Metric as Metric
from piip_search.tasks.task import Task as Task

TASKS: dict[str, Task] = {
    "detection": DETECTION,
    "classification": CLASSIFICATION,
}
"""All tasks by name; the first one is that of a file which names none."""


def default_task() -> str:
    """The task of a file that names none."""
    return next(iter(TASKS))


def task_named(name: str) -> Task:
    """The task of that name.

    Raises:
        UserError: There is none.
    """
    if name not in TASKS:
        raise UserError(f"unknown task {name!r}{closest(name, TASKS)}")
    return TASKS[name]
