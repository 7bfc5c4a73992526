"""Makes torchvision importable beside a torch without CUDA.

timm imports torchvision. Its only wheels on PyPI are built against CUDA. Beside a CPU torch their compiled part does
not load, and the import fails because it registers fake implementations for two undeclared operators. Declaring their
schemas is enough for the import. The compiled operators stay absent: code that needs one checks `has_operators` first.
"""

import importlib
import sys
from types import ModuleType

from torch import library

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[library.Library] = []


def import_torchvision() -> ModuleType:
    """Imports torchvision; declares the two schemas only if the import fails without them.

    Raises:
        ModuleNotFoundError: torchvision is not installed.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [name for name in list(sys.modules) if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    schemas = library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        schemas.define(operator + _SCHEMA)
    _declared.append(schemas)
    return importlib.import_module("torchvision")


def has_operators() -> bool:
    """Whether torchvision's compiled operators (nms, roi_align, ...) can be called."""
    return bool(import_torchvision().extension._has_ops())
