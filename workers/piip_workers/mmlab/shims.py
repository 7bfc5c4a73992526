"""Makes mmengine, mmcv-lite and mmdet work without compiled code.

mmdet needs operators that mmcv compiles against one exact torch; mmcv-lite lacks them. `install` provides those that
detectors call, from torchvision's compiled operators where they are loaded and in plain torch elsewhere
(`piip_workers.mmlab.operators`). A compiled mmcv is left alone. Call `install` before importing mmcv, mmdet or timm.
"""

import importlib
import importlib.util
import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from piip_search.models._torchvision import has_operators, import_torchvision
from piip_workers.mmlab import operators

_INSTALL = 'pip install "piip-search[detection]"'


def install() -> None:
    """Prepares this process for mmdet; a second call does nothing.

    Raises:
        ModuleNotFoundError: A package is missing; the message has the command that installs it.
        ImportError: OpenCV lacks a system library.
    """
    for name in ("mmengine", "mmcv", "mmdet"):
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"{name} is not installed: {_INSTALL}", name=name)
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        raise ImportError(f"OpenCV cannot be loaded ({error}): pip install opencv-python-headless") from None
    import_torchvision()
    _import_yapf()
    if "mmcv._ext" not in sys.modules and importlib.util.find_spec("mmcv._ext") is None:
        sys.modules["mmcv._ext"] = _Operators()
    _load_checkpoints_safely()
    _format_once()
    _look_up_once()


def _look_up_once() -> None:
    """Lets mmengine read mmdet's index of configurations, and search for compilers, once a process.

    mmengine reads a hundred files to find one configuration, and searches for compilers for the head of every log. Both
        take up to a second of every training.
    """
    from mmengine.config import utils
    from mmengine.runner import runner

    if not hasattr(utils.load, "cache_info"):
        utils.load = lru_cache(maxsize=1000)(utils.load)
        runner.collect_env = lru_cache(maxsize=1)(runner.collect_env)


def _format_once() -> None:
    """Lets mmengine format a configuration once a process instead of once a checkpoint."""
    from mmengine.config import config

    plain = config.FormatCode
    if getattr(plain, "_piip_once", False):
        return
    known: dict[str, Any] = {}

    def format_code(text: str, **style: Any) -> Any:
        if text not in known:
            known.clear()  # a training has one text, for its folder and its checkpoints
            known[text] = plain(text, **style)
        return known[text]

    format_code._piip_once = True  # type: ignore[attr-defined]
    config.FormatCode = format_code


@contextmanager
def unformatted() -> Iterator[None]:
    """Lets mmengine write configurations unformatted.

    mmengine formats them for the log, for the folder and for every checkpoint. Each takes a second or two, more than
        many a proxy needs for an epoch.
    """
    from mmengine.config import config

    before = config.FormatCode
    config.FormatCode = lambda text, **_: (text, True)
    try:
        yield
    finally:
        config.FormatCode = before


def _import_yapf() -> None:
    """Imports mmengine's formatter, whose cache may be half-written.

    mmengine's first import on a machine renames its pickled grammar into the user's cache folder before it is flushed:
    another process that starts at that moment reads a part of it and fails.
    """
    try:
        importlib.import_module("yapf")
    except (EOFError, pickle.UnpicklingError):
        before = os.environ.get("XDG_CACHE_HOME")
        with tempfile.TemporaryDirectory() as folder:
            os.environ["XDG_CACHE_HOME"] = folder
            try:
                importlib.import_module("yapf")
            finally:
                os.environ.pop("XDG_CACHE_HOME")
                if before is not None:
                    os.environ["XDG_CACHE_HOME"] = before


class _Operators(ModuleType):
    """Stands in for mmcv's compiled operators, with their signatures."""

    def __init__(self) -> None:
        super().__init__("mmcv._ext")
        self.__spec__ = ModuleSpec("mmcv._ext", None)
        for function in (
            _nms,
            _roi_align_forward,
            _roi_align_backward,
            _sigmoid_focal_loss_forward,
            _sigmoid_focal_loss_backward,
        ):
            setattr(self, function.__name__.removeprefix("_"), function)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_: Any, **__: Any) -> Any:
            raise NotImplementedError(f"mmcv's operator {name} needs a compiled mmcv; choose a detector without it")

        return missing


def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    if has_operators() and not offset:
        kept: Tensor = torch.ops.torchvision.nms(boxes.float(), scores.float(), iou_threshold)
        return kept
    return operators.nms(boxes, scores, iou_threshold, offset)


def _roi_align(maps: Tensor, rois: Tensor, height: int, width: int, scale: float, ratio: int, aligned: bool) -> Tensor:
    if has_operators():
        found: Tensor = torch.ops.torchvision.roi_align(
            maps.contiguous(), rois.to(maps.dtype), scale, height, width, ratio, aligned
        )
        return found
    return operators.roi_align(maps, rois, (height, width), scale, ratio, aligned)


# The compiled operators write into tensors of the caller; their argument names are mmcv's.
def _roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    if pool_mode != 1:
        raise NotImplementedError("RoIAlign by maximum needs a compiled mmcv; set pool_mode='avg'")
    with torch.no_grad():
        output.copy_(_roi_align(input, rois, aligned_height, aligned_width, spatial_scale, sampling_ratio, aligned))


def _roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    with torch.enable_grad():
        # The operator is linear in the maps, so their values do not matter for the gradient.
        maps = torch.zeros_like(grad_input).requires_grad_()
        output = _roi_align(maps, rois, aligned_height, aligned_width, spatial_scale, sampling_ratio, aligned)
        grad_input.copy_(torch.autograd.grad(output, maps, grad_output)[0])


def _sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, *, gamma: float, alpha: float
) -> None:
    with torch.no_grad():
        output.copy_(operators.sigmoid_focal_loss(input, target, gamma, alpha, weight))


def _sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, *, gamma: float, alpha: float
) -> None:
    with torch.enable_grad():
        logits = input.detach().requires_grad_()
        loss = operators.sigmoid_focal_loss(logits, target, gamma, alpha, weight).sum()
        grad_input.copy_(torch.autograd.grad(loss, logits)[0])


def _load_checkpoints_safely() -> None:
    """Makes mmengine load checkpoints with `load_safely`."""
    from mmengine.runner import CheckpointLoader

    if getattr(CheckpointLoader, "_piip_safe", False):
        return

    @CheckpointLoader.register_scheme(prefixes="", force=True)
    def _load(filename: str, map_location: Any = None) -> Any:
        path = Path(filename).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"no checkpoint {path}")
        return load_safely(path, map_location)

    CheckpointLoader._piip_safe = True


@contextmanager
def losses_of_one_process() -> Iterator[None]:
    """Lets mmdet's heads count the objects of this process alone, also where several processes have joined.

    They divide a loss by the mean number of objects over all processes, which here read different designs.
    """
    from mmdet.utils import dist_utils

    joined, dist_utils.dist = dist_utils.dist, _Unjoined
    try:
        yield
    finally:
        dist_utils.dist = joined


class _Unjoined:
    """Stands in for torch.distributed in a process that has not joined others."""

    @staticmethod
    def is_available() -> bool:
        return False


def load_safely(path: Path, map_location: Any = None, mmap: bool = False) -> Any:
    """Loads a checkpoint of mmengine's with a few types besides tensors, and no others.

    Args:
        path: The file.
        map_location: As in `torch.load`.
        mmap: Whether tensors are read only when they are used.

    Raises:
        pickle.UnpicklingError: The checkpoint holds another type.
    """
    import numpy as np
    from mmengine.logging import HistoryBuffer

    reconstruct = np.empty(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.uint8, np.int32)]

    def history_method(owner: Any, name: str) -> Any:
        """Replaces getattr, which would give a checkpoint access to anything."""
        if owner is not HistoryBuffer or name.startswith("_"):
            raise pickle.UnpicklingError(f"a checkpoint may not name {name} of {owner}")
        return getattr(owner, name)

    getter = (history_method, "builtins.getattr")
    allowed = [HistoryBuffer, reconstruct, scalar, np.ndarray, np.dtype, *dtypes, getter]
    with torch.serialization.safe_globals(allowed):
        return torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
