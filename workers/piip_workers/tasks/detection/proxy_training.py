"""Trains a detector with mmengine and measures it with COCO's metric."""

import json
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from piip_search.errors import DataError
from piip_search.export.settings import Settings, render
from piip_workers.mmlab.loss_watch import LossWatch
from piip_workers.mmlab.shims import install, load_safely, unformatted
from piip_workers.networks.inheritance import weights_file
from piip_workers.networks.proxies import Measurement
from piip_workers.networks.weights import checkpoints, epoch_of
from piip_workers.tasks.detection.annotations import CocoByName
from piip_workers.tasks.detection.coco.annotation_file import annotations_of
from piip_workers.whole_files import draft_of, write_whole

install()
from mmengine.config import Config  # noqa: E402
from mmengine.hooks import Hook  # noqa: E402
from mmengine.logging import MessageHub, MMLogger  # noqa: E402
from mmengine.runner import Runner, set_random_seed  # noqa: E402
from mmengine.visualization import Visualizer  # noqa: E402


def usable_images(settings: Settings) -> int:
    """Number of training images with objects."""
    dataset = settings["train_dataloader"]["dataset"]
    read = {name: dataset[name] for name in ("ann_file", "data_prefix", "metainfo", "filter_cfg", "masks")}
    with _quiet(None):
        return len(CocoByName(**read, pipeline=[]))


def train(
    settings: Settings,
    directory: Path,
    seed: int,
    epochs: int,
    begin: Callable[[nn.Module], None] | None = None,
    kept: bool = False,
) -> Measurement:
    """Trains and measures a detector, or resumes from the last checkpoint in the folder.

    Every epoch derives its random numbers from the seed and its own number. So a training that was interrupted, or that
    ended at a lower rung of the same schedule, ends exactly as an uninterrupted one (on a CPU; a GPU's sums differ in
    their last digits from run to run).

    Args:
        settings: A configuration with a measurement after the last epoch.
        directory: Folder for checkpoints and log.
        seed: Seed of weights and image order.
        epochs: Passes over the images; 0 measures the untrained detector.
        begin: Function that changes the detector before its first epoch.
        kept: Whether to keep these weights (`weights_file`) if the training goes on later.

    Raises:
        FloatingPointError: The loss is no longer finite.
        DataError: The measured images have no object that counts.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "config.py"
    with _quiet(directory / "output.txt"), unformatted():
        last = last_whole_checkpoint(directory, epochs)
        start = {"work_dir": str(directory), "resume": last is not None, "load_from": last and str(last)}
        text = render({**settings, **start}, "what this trial trains")
        path.write_text(text, encoding="utf-8")
        try:
            runner = Runner.from_cfg(Config.fromfile(path))
            found = _run(runner, settings, directory, seed, epochs, None if last else begin)
            if kept:
                _write_weights(runner.model, weights_file(directory, epochs))
            return found
        finally:
            path.write_text(text, encoding="utf-8")  # replaces mmengine's file, which is hard to read
            forget_runners()


def _run(
    runner: Runner,
    settings: Settings,
    directory: Path,
    seed: int,
    epochs: int,
    begin: Callable[[nn.Module], None] | None,
) -> Measurement:
    observer = _Observer(directory / "history.json", seed, epochs, begin)
    runner.register_hook(observer, priority="VERY_LOW")
    if epochs:
        runner.train()
    else:
        set_random_seed(seed)
        runner.model.init_weights()
        observer.before_train(runner)
    metrics = _clean(runner.val() if observer.metrics is None else observer.metrics)
    if not metrics:
        raise DataError(_why_nothing_is_measured(settings))
    for path in [path for path in checkpoints(directory) if epoch_of(path) < epochs]:
        path.unlink()
    parameters = sum(parameter.numel() for parameter in runner.model.parameters())
    return Measurement(metrics, tuple(observer.history), parameters)


def _why_nothing_is_measured(settings: Settings) -> str:
    """The reason why no average could be computed, with a way out."""
    dataset = settings["val_dataloader"]["dataset"]
    file, some = dataset["ann_file"], dataset.get("indices")
    objects = annotations_of(Path(file), dataset["masks"], kept=dataset["masks"]).objects
    counted = len(objects) - int(objects.crowds_N.sum())
    if not len(objects):
        return f"no validation image holds an object: {file} has no annotations; label the images, or name another file"
    if not counted:
        return (
            f"all {len(objects)} objects of {file} are crowds or ignored (iscrowd, ignore), which the averages leave "
            "out; label objects one by one"
        )
    if some is not None:
        return (
            f"none of the {len(some)} validation images that are measured holds an object that counts, and others do; "
            f"raise training.val_images, or leave it out"
        )
    return f"no average could be taken of the {counted} objects of {file}; look at output.txt in the trial's folder"


def _write_weights(model: nn.Module, path: Path) -> None:
    """Writes weights atomically."""
    with draft_of(path) as draft:
        torch.save({"state_dict": {name: tensor.cpu() for name, tensor in model.state_dict().items()}}, draft)


def last_whole_checkpoint(directory: Path, epochs: int) -> Path | None:
    """The newest readable checkpoint of at most so many epochs: a process may have died while writing one."""
    for path in checkpoints(directory):
        with suppress(OSError):  # for example a link to nowhere
            state = path.stat()
            if epoch_of(path) <= epochs and _is_whole(path, state.st_mtime_ns, state.st_size):
                return path
    return None


@lru_cache(maxsize=64)
def _is_whole(path: Path, _changed: int, _size: int) -> bool:
    """Whether every part of a checkpoint has its recorded checksum, and it has nothing but data."""
    try:
        with zipfile.ZipFile(path) as parts:
            if parts.testzip() is not None:
                return False
        load_safely(path, "cpu", mmap=True)  # reads no tensor
    except Exception:  # a broken or hostile file raises anything, also a MemoryError for the sizes that it names
        return False
    return True


class _Observer(Hook):  # type: ignore[misc]
    """Records losses and metrics, stops at a loss that is not finite, and derives random numbers from the epoch."""

    def __init__(self, file: Path, seed: int, epochs: int, begin: Callable[[nn.Module], None] | None) -> None:
        earlier: list[dict[str, float]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
        self.history = [row for row in earlier if row["epoch"] <= epochs]
        self._later = [row for row in earlier if row["epoch"] > epochs]  # for a lower rung that is measured again
        self._begin = begin
        self.metrics: dict[str, Any] | None = None
        self._file = file
        self._seed = seed
        self._losses: list[float] = []
        self._rate = 0.0
        self._watch = LossWatch(file.parent, "training.learning_rate or training.clip_norm", self.history)

    def before_train(self, runner: Any) -> None:
        if self._begin is not None:
            self._begin(runner.model)
        self._watch.begin(runner.model)

    def before_train_epoch(self, runner: Any) -> None:
        set_random_seed(self._seed * 1000 + runner.epoch)
        self._losses = []

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self._rate = max(runner.optim_wrapper.get_lr()["lr"])

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        loss = float(outputs["loss"])
        self._watch.see(loss, runner, batch_idx, self._rate, data_batch)
        self._losses.append(loss)

    def after_train_epoch(self, runner: Any) -> None:
        epoch = runner.epoch + 1
        row = {"epoch": float(epoch), "loss": sum(self._losses) / len(self._losses)}
        self.history = [*(earlier for earlier in self.history if earlier["epoch"] < epoch), row]
        self._write()

    def after_val_epoch(self, runner: Any, metrics: Mapping[str, float] | None = None) -> None:
        self.metrics = dict(metrics or {})
        if self.history:
            self.history[-1] |= _clean(self.metrics)
            self._write()

    def _write(self) -> None:
        write_whole(self._file, json.dumps([*self.history, *self._later]))


def _clean(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The averages without mmdet's prefix."""
    return {key.removeprefix("coco/"): float(value) for key, value in metrics.items() if "mAP" in key}


@contextmanager
def _quiet(log: Path | None) -> Iterator[None]:
    """Redirects printed output of libraries into a file: a search shows its own progress."""
    with (
        warnings.catch_warnings(),
        Path(log or "/dev/null").open("a", encoding="utf-8") as file,
        redirect_stdout(file),
        redirect_stderr(file),
    ):
        warnings.simplefilter("ignore")
        yield


def forget_runners() -> None:
    """Drops the loggers and message hubs of all runners: mmengine keeps them for ever, and a worker trains many."""
    for kind in (MMLogger, MessageHub, Visualizer):
        for instance in kind._instance_dict.values():
            for handler in list(getattr(instance, "handlers", ())):
                handler.close()
                instance.removeHandler(handler)
        kind._instance_dict.clear()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
