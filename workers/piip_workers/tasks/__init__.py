"""The workers of the tasks: a folder each with data, training, metric and proof, and one line here."""

from piip_workers.tasks.classification.worker import ClassificationWorker
from piip_workers.tasks.detection.worker import DetectionWorker
from piip_workers.tasks.task import TaskWorker as TaskWorker

WORKERS: dict[str, TaskWorker] = {
    "detection": DetectionWorker(),
    "classification": ClassificationWorker(),
}
"""The worker of every task, by its name in `piip_search.tasks.TASKS`."""


def worker_of(task: str) -> TaskWorker:
    """The worker of a task."""
    return WORKERS[task]
