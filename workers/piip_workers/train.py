"""Trains an exported configuration in full: `python -m piip_workers.train config.py --work-dir work`.

The same as mmdet's own tools/train.py, for installations with nothing compiled; several processes under torchrun train
together. `piip-search train` starts it.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from piip_search.export import Provenance
from piip_workers.openmmlab import install


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the training; 2 where the configuration cannot be used."""
    install()
    from mmengine.config import Config, DictAction
    from mmengine.runner import Runner

    parser = argparse.ArgumentParser(
        prog="python -m piip_workers.train", description="Train an exported configuration."
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
    config = Config.fromfile(options.config)
    if options.epochs is not None:
        lasting(config, options.epochs)
    config.merge_from_dict(options.cfg_options or {})
    config.work_dir, config.resume, config.launcher = options.work_dir, options.resume, options.launcher
    if options.resume:
        config.load_from = None  # else mmengine would go on from the weights that the training began with
    if options.launcher == "pytorch" and not torch.cuda.is_available():
        _join_without_gpus(config)
    _train(Runner.from_cfg(config), config, options)
    return 0


def lasting(config: Any, epochs: int) -> None:
    """Gives a configuration another length, in place; the steps of its learning rate move in proportion."""
    before, config.train_cfg.max_epochs = config.train_cfg.max_epochs, epochs
    for part in config.param_scheduler:
        if part.type == "MultiStepLR":
            part.end = epochs
            part.milestones = sorted({max(1, step * epochs // before) for step in part.milestones})
        else:  # the warm-up, which gets no longer
            part.end = max(1, min(part.end, part.end * epochs // before))


def _train(runner: Any, config: Any, options: argparse.Namespace) -> None:
    from piip_workers.training_log import TrainingLog

    folder = Path(options.config).resolve().parent
    provenance = Provenance.read(folder) if (folder / "provenance.json").is_file() else None

    def open_mirror() -> Any:
        if options.mlflow is None or provenance is None:
            return None
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")  # a server that is down is soon given up
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        from piip_workers.tracking import TrainingRun

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
    log = TrainingLog(Path(options.work_dir), open_mirror)
    runner.register_hook(log, priority="VERY_LOW")
    try:
        runner.train()
    except KeyboardInterrupt:
        log.end("KILLED")
        raise
    except BaseException:
        log.end("FAILED")
        raise


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line belongs on a screen: mmengine also lists every parameter, which its file keeps."""
    text = record.getMessage()
    return "paramwise_options" not in text and "init_weights" not in text


def _join_without_gpus(config: Any) -> None:
    """Joins processes on CPUs: mmengine alone would ask for GPUs."""
    torch.distributed.init_process_group("gloo")
    config.model_wrapper_cfg = {
        "type": "MMDistributedDataParallel",
        "device_ids": None,
        "broadcast_buffers": False,
        "find_unused_parameters": config.find_unused_parameters,
    }


if __name__ == "__main__":
    sys.exit(main())
