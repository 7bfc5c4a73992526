"""Measures what `piip_search` proposes: trains proxies, proves exports, trains chosen designs in full."""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

FORMER = {
    "piip_workers.annotations": "piip_workers.tasks.detection.annotations",
    "piip_workers.backbone": "piip_workers.tasks.detection.backbone",
    "piip_workers.layer_decay": "piip_workers.tasks.detection.layer_decay",
    "piip_workers.metric": "piip_workers.tasks.detection.metric",
    "piip_workers.reading": "piip_workers.tasks.detection.images",
    "piip_workers.served": "piip_workers.networks.mlflow_model",
}
"""Modules that exports and registered models of earlier versions name, and where they are now."""


class _FormerNames(MetaPathFinder, Loader):
    """Imports a module under a name that it had."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in FORMER else None

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = importlib.import_module(FORMER[module.__name__])


sys.meta_path.append(_FormerNames())
