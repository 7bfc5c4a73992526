"""Ends a training at a loss that is not finite, and reports step, learning rate and earlier losses."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

GREW = 3.0
"""Factor over the lowest loss from which a loss counts as grown: noise between batches stays below."""
MOST_RATE = 0.1
"""Rate from which the rate is at fault in any case: AdamW moves every weight by about the rate in a step."""
NOT_FINITE = "not_finite.json"
"""File in a training's folder that lists the images of the step whose loss was not finite."""


class LossWatch:
    """Records the losses of one sitting of a training."""

    def __init__(self, folder: Path, setting: str, earlier: Iterable[Mapping[str, float]] = ()) -> None:
        """Prepares the watch.

        Args:
            folder: Folder for the list of a bad step's images.
            setting: Name of the setting of the rate, for the message.
            earlier: Rows of the training's history with the mean loss of each epoch.
        """
        self._file = folder / NOT_FINITE
        self._setting = setting
        self._lowest = min((row["loss"] for row in earlier if "loss" in row), default=math.inf)
        self._last: float | None = None
        self._sound = True

    def begin(self, model: nn.Module) -> None:
        """Checks the weights before the first step."""
        self._sound = all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())

    def see(self, loss: float, runner: Any, step: int, rate: float, batch: Any) -> None:
        """Records the loss of a step.

        Args:
            loss: Loss of the step.
            runner: Runner of mmengine.
            step: Number of the step in the epoch, from 0.
            rate: The greatest learning rate of the step.
            batch: Inputs of the step, as mmdet packs them.

        Raises:
            FloatingPointError: The loss is not finite.
        """
        if math.isfinite(loss):
            self._last, self._lowest = loss, min(self._lowest, loss)
            return
        self._file.write_text(json.dumps({"images": _images(batch)}, indent=2), encoding="utf-8")
        first = " (the first of all)" if runner.iter == 0 else ""
        when = f"in epoch {runner.epoch + 1}, step {step + 1}{first}, at a learning rate of {rate:.3g}"
        raise FloatingPointError(f"the loss is {loss} {when}; {self._cause(runner, rate, batch)}")

    def _cause(self, runner: Any, rate: float, batch: Any) -> str:
        """The probable cause, with a way out."""
        images = f"{NOT_FINITE} in the training's folder lists the images of that step"
        if not self._sound:
            return "the weights that it started from are not finite; start from others"
        if _not_finite(batch):
            return f"an image or an object of that step is not finite; mend it: {images}"
        if rate > MOST_RATE and runner.iter > 0:
            return f"so large a rate moves every weight by about as much in a step; lower {self._setting}"
        if self._last is None and runner.iter == 0:
            return f"no rate has changed a weight yet, so look at the data and the design: {images}"
        last = "" if self._last is None else f"the loss before was {self._last:.4g}, the lowest {self._lowest:.4g}"
        if self._last is not None and self._last > GREW * self._lowest:
            return f"{last}: it grew; lower {self._setting}"
        return f"{last or 'no loss came before in this sitting'}, which shows no growth; look at the data: {images}"


def _images(batch: Any) -> list[str]:
    samples = batch.get("data_samples", ()) if isinstance(batch, Mapping) else ()
    return [str(getattr(sample, "img_path", "")) for sample in samples]


def _not_finite(batch: Any) -> bool:
    """Whether an image or a box of a batch has a value that is not finite."""
    if not isinstance(batch, Mapping):
        return False
    inputs = batch.get("inputs", ())
    boxes = [sample.gt_instances.bboxes for sample in batch.get("data_samples", ()) if "gt_instances" in sample]
    tensors = [*inputs, *(getattr(one, "tensor", one) for one in boxes)]
    return not all(bool(torch.isfinite(one).all()) for one in tensors if isinstance(one, torch.Tensor))
