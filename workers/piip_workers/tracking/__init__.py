"""Searches and trainings in MLflow, for people to look at."""

from piip_workers.tracking.registry import register
from piip_workers.tracking.search_run import EXPERIMENT, MlflowTracker
from piip_workers.tracking.store import reachable, set_aside
from piip_workers.tracking.training_run import TrainingRun

__all__ = ["EXPERIMENT", "MlflowTracker", "TrainingRun", "reachable", "register", "set_aside"]
