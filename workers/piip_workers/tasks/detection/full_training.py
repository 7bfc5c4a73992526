"""Trains an exported configuration in full: `python -m piip_workers.train config.py --work-dir work`.

Works like mmdet's own tools/train.py, for installations without compiled code; several processes under torchrun train
together. `piip-search train` starts it.
"""

import argparse
import copy
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from piip_search.errors import MachineError
from piip_search.export import Provenance
from piip_search.tasks.detection.facts import DETECTION_METRICS
from piip_search.tasks.detection.mmdet.config import FEWEST_WARMUP
from piip_search.tasks.detection.plan import UNREADABLE
from piip_workers.jobs.job import reason_of
from piip_workers.mmlab.shims import install
from piip_workers.whole_files import write_whole

install()
from mmengine.hooks import Hook  # noqa: E402

EPOCHS = "epochs.txt"
"""File in the work folder with the planned number of epochs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the training; returns 2 for errors that a user can fix."""
    from mmengine.config import Config, DictAction
    from mmengine.runner import Runner

    parser = argparse.ArgumentParser(
        prog="python -m piip_workers.tasks.detection.full_training", description="Train an exported configuration."
    )
    parser.add_argument("config", help="configuration that piip-search exported")
    parser.add_argument("--work-dir", default="work", help="folder of checkpoints and logs")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the work folder")
    parser.add_argument("--epochs", type=int, help="in place of the schedule's; its steps move in proportion")
    parser.add_argument("--mlflow", help="store that holds the search; by default none is written to")
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm", "mpi"), default="none")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE", help="settings to change")
    options = parser.parse_args(arguments)
    if not Path(options.config).is_file():
        print(f"error: no configuration {options.config}; piip-search export writes one", file=sys.stderr)
        return 2
    from piip_search.errors import ImageError
    from piip_workers.tasks.detection.images import unreadable_images
    from piip_workers.tasks.detection.proxy_training import forget_runners

    config = Config.fromfile(options.config)
    work = Path(options.work_dir)
    epochs = options.epochs or (_begun_for(work) if options.resume else None)
    if epochs is not None:
        lasting(config, epochs)
    _note_epochs(work, config.train_cfg.max_epochs)
    config.merge_from_dict(options.cfg_options or {})
    config.work_dir, config.resume, config.launcher = options.work_dir, options.resume, options.launcher
    if options.resume:
        config.load_from = None  # else mmengine would resume from the starting weights
    if options.launcher == "pytorch" and not torch.cuda.is_available():
        _join_without_gpus(config)
    _read_images(config, work)
    try:
        _train(Runner.from_cfg(config), config, options)
    except (FloatingPointError, ImageError, MachineError) as error:
        print(f"error: {reason_of(error).removeprefix(f'{type(error).__name__}: ')}", file=sys.stderr)
        return 2
    finally:
        forget_runners()  # a calling program continues with its own loggers
        if torch.distributed.is_initialized():  # else its threads may still run at the end of the process, and abort it
            torch.distributed.destroy_process_group()
    skipped = unreadable_images(work / UNREADABLE)
    if skipped:
        print(
            f"note: {len(skipped)} training images cannot be decoded; {work / UNREADABLE} lists them", file=sys.stderr
        )
    return 0


def _begun_for(work: Path) -> int | None:
    """The last planned number of epochs of the training in a folder; None without a record."""
    file = work / EPOCHS
    return int(file.read_text(encoding="utf-8")) if file.is_file() else None


def _note_epochs(work: Path, epochs: int) -> None:
    """Writes the planned number of epochs atomically: processes of one training read and write the same file."""
    write_whole(work / EPOCHS, f"{epochs}\n")


def _read_images(config: Any, work: Path) -> None:
    """Lists undecodable images beside the checkpoints, and pins batches in memory for a GPU."""
    first = config.train_dataloader.dataset.pipeline[0]
    if first.type == "ReadImage":
        first.unreadable = str(work / UNREADABLE)
    for part in ("train", "val", "test"):
        config[f"{part}_dataloader"].setdefault("pin_memory", torch.cuda.is_available())


def lasting(config: Any, epochs: int) -> None:
    """Changes the length of a configuration in place; the steps of its learning rate move in proportion."""
    before, config.train_cfg.max_epochs = config.train_cfg.max_epochs, epochs
    parts = []
    for part in config.param_scheduler:
        if part.type == "MultiStepLR":
            part.end = epochs
            part.milestones = sorted({max(1, step * epochs // before) for step in part.milestones})
        else:  # the warm-up keeps its length
            part.end = min(part.end, part.end * epochs // before)
        if part.type == "MultiStepLR" or part.end >= FEWEST_WARMUP:
            parts.append(part)
    config.param_scheduler = parts


class Rescheduled(Hook):  # type: ignore[misc]
    """Applies the learning rates of the configuration to a resumed training.

    mmengine restores the schedule of the training's start, including its steps, whatever the length is now.
    """

    def __init__(self, schedule: Sequence[dict[str, Any]]) -> None:
        """Stores the configuration's schedule.

        Args:
            schedule: Its `param_scheduler`.
        """
        self._schedule = [copy.deepcopy(part) for part in schedule]

    def before_train(self, runner: Any) -> None:
        if not runner.iter:
            return
        for group in runner.optim_wrapper.param_groups:
            group["lr"] = group["initial_lr"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a warning that the optimiser has not stepped yet
            runner.param_schedulers = runner.build_param_scheduler(self._schedule)
            for scheduler in runner.param_schedulers:
                for _ in range(runner.epoch if scheduler.by_epoch else runner.iter):
                    scheduler.step()


def _train(runner: Any, config: Any, options: argparse.Namespace) -> None:
    from piip_workers.mmlab.training_log import TrainingLog

    folder = Path(options.config).resolve().parent
    provenance = Provenance.read(folder) if (folder / "provenance.json").is_file() else None

    def open_mirror() -> Any:
        if options.mlflow is None or provenance is None:
            return None
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")  # an unreachable server is given up soon
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        from piip_workers.tracking.training_run import TrainingRun

        params = {
            "architecture": provenance.architecture,
            "fingerprint": provenance.fingerprint,
            "schedule": provenance.schedule,
            "weights": provenance.weights,
            "epochs": config.train_cfg.max_epochs,
            "batch_size": config.train_dataloader.batch_size * runner.world_size,
        }
        return TrainingRun(options.mlflow, provenance, params, options.resume)

    for handler in runner.logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.addFilter(_is_news)
    metrics = [metric.name for metric in DETECTION_METRICS]
    log = TrainingLog(Path(options.work_dir), metrics, open_mirror)
    runner.register_hook(log, priority="VERY_LOW")
    runner.register_hook(Rescheduled(config.param_scheduler), priority="VERY_LOW")
    try:
        runner.train()
    except KeyboardInterrupt:
        log.end("KILLED")
        raise
    except BaseException:
        log.end("FAILED")
        raise


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a log record belongs on the screen: mmengine also lists every parameter, for its log file."""
    text = record.getMessage()
    return "paramwise_options" not in text and "init_weights" not in text


def _join_without_gpus(config: Any) -> None:
    """Initialises distributed training on CPUs: mmengine alone would ask for GPUs."""
    torch.distributed.init_process_group("gloo")
    config.model_wrapper_cfg = {
        "type": "MMDistributedDataParallel",
        "device_ids": None,
        "broadcast_buffers": False,
        "find_unused_parameters": config.find_unused_parameters,
    }


if __name__ == "__main__":
    sys.exit(main())
