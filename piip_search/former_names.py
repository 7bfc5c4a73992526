"""Imports modules by their former names.

Exports and registered models name some of these modules, and older programs import others.
"""

import importlib
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _FormerNames(MetaPathFinder, Loader):
    """Finds modules by their former names."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in self._names else None

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = importlib.import_module(self._names[module.__name__])


def import_by_former_names(names: Mapping[str, str]) -> None:
    """Makes modules importable under other names.

    Args:
        names: The present name of each module by its former one.
    """
    # First, or a submodule of a renamed package would be found in its folder, and loaded twice.
    sys.meta_path.insert(0, _FormerNames(names))
