"""The core of a search: architectures, their costs, the choice of the next design, and results.

import piip_search as ps

found = ps.run(ps.load("quickstart"))
print(ps.front(found))
"""

import importlib
from typing import Any

from piip_search.former_names import import_by_former_names

__version__ = "0.1.0"

_HOMES = {
    "Architecture": "architecture",
    "Candidate": "evaluation.evaluation",
    "Evaluation": "evaluation.evaluation",
    "PiipError": "errors",
    "UserError": "errors",
    "best": "api.results",
    "export_design": "api.results",
    "front": "api.results",
    "list_backbones": "api.catalogue",
    "list_spaces": "api.catalogue",
    "list_tasks": "api.catalogue",
    "load": "api.search",
    "price": "cost.price",
    "read_run": "api.results",
    "run": "api.search",
    "write_report": "api.results",
}
"""The public names and their modules; `__init__.pyi` lists the same names for type checkers."""

__all__ = [  # noqa: F822 - they are imported when they are first used
    "Architecture",
    "Candidate",
    "Evaluation",
    "PiipError",
    "UserError",
    "__version__",
    "best",
    "export_design",
    "front",
    "list_backbones",
    "list_spaces",
    "list_tasks",
    "load",
    "price",
    "read_run",
    "run",
    "write_report",
]


FORMER_NAMES = {
    "piip_search.config.fields": "piip_search.sections.fields",
    "piip_search.config.training": "piip_search.tasks.detection.section",
    "piip_search.export.authors": "piip_search.tasks.detection.authors",
    "piip_search.export.authors.branches": "piip_search.tasks.detection.authors.branches",
    "piip_search.export.authors.config": "piip_search.tasks.detection.authors.config",
    "piip_search.export.authors.data": "piip_search.tasks.detection.authors.data",
    "piip_search.export.images": "piip_search.tasks.detection.mmdet.data",
    "piip_search.export.mmdet": "piip_search.tasks.detection.mmdet",
    "piip_search.export.mmdet.config": "piip_search.tasks.detection.mmdet.config",
    "piip_search.export.mmdet.data": "piip_search.tasks.detection.mmdet.data",
    "piip_search.export.mmdet.detectors": "piip_search.tasks.detection.mmdet.detectors",
    "piip_search.export.mmdet.recipe": "piip_search.tasks.detection.mmdet.recipe",
    "piip_search.export.mmdet_config": "piip_search.tasks.detection.mmdet.config",
    "piip_search.shipped": "piip_search.config.shipped",
    "piip_search.spec": "piip_search.config",
}
"""Former names of modules, which programs may still use, and their present names."""

import_by_former_names(FORMER_NAMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
