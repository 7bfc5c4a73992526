"""Mirrors searches and trainings in MLflow, for people; the package itself loads no MLflow."""

import importlib
from typing import Any

_HOMES = {
    "EXPERIMENT": "parents",
    "MlflowTracker": "search_run",
    "TrainingRun": "training_run",
    "reachable": "store",
    "register": "registry",
    "set_aside": "store",
}
"""Modules of the package's names."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
