"""Trains an exported classifier in full: `python -m piip_workers.train classifier.yaml --work-dir work`.

Several processes under torchrun train together: each reads a part of every step's images. `piip-search train` starts
them.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from piip_search.architecture import Architecture
from piip_search.errors import PiipError, UserError, WeightsError
from piip_search.export import Provenance
from piip_search.export.provenance import PROVENANCE
from piip_search.sections import closest
from piip_search.tasks.classification.section import ClassificationData, ClassificationTraining
from piip_workers.jobs.job import reason_of
from piip_workers.networks.proxies import out_of_memory
from piip_workers.shared.group import Group, group_of
from piip_workers.tasks.classification import data as data_sets
from piip_workers.tasks.classification.classifier_training import (
    ClassifierRun,
    EndOfEpoch,
    last_whole_classifier,
    train_classifier,
)
from piip_workers.tasks.classification.evaluate import UNDECODABLE_LIST, class_images

LONGEST_TRAINING = 10**6
"""More epochs than any training has."""


@dataclass(frozen=True)
class FullClassifier:
    """The content of an exported file.

    Attributes:
        architecture: Design.
        epochs: Passes over the images.
        seed: Seed.
        weights: File of the starting weights beside it; None for random ones.
        data: Data set.
        training: Recipe.
    """

    architecture: Architecture
    epochs: int
    seed: int
    weights: str | None
    data: ClassificationData
    training: ClassificationTraining


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the training; returns 2 for errors that a user can fix."""
    parser = argparse.ArgumentParser(prog="python -m piip_workers.train", description="Train an exported classifier.")
    parser.add_argument("config", type=Path, help="file that piip-search exported")
    parser.add_argument("--work-dir", type=Path, default=Path("work"), help="folder of checkpoints and log")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the work folder")
    parser.add_argument("--epochs", type=int, help="in place of the schedule's")
    parser.add_argument("--mlflow", help="store that holds the search; by default none is written to")
    parser.add_argument("--launcher", choices=("none", "pytorch"), default="none")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="settings to change")
    options = parser.parse_args(arguments)
    joined = options.launcher == "pytorch"
    try:
        full = read_full_classifier(options.config, options.cfg_options)
        if joined:
            _join()
        _train(full, options)
    except (PiipError, FloatingPointError, OSError) as error:
        print(f"error: {reason_of(error).removeprefix(f'{type(error).__name__}: ')}", file=sys.stderr)
        return 2
    finally:
        if joined and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


def read_full_classifier(file: Path, changes: Sequence[str] = ()) -> FullClassifier:
    """Reads an exported file.

    Args:
        file: The file.
        changes: Settings in place of the file's, such as `training.learning_rate=1e-4`.

    Raises:
        UserError: The file is missing or damaged, or a setting is unknown.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read ({error}); piip-search export writes it") from None
    for change in changes:
        _set(content, change)
    try:
        return FullClassifier(
            Architecture.parse(content["architecture"]),
            int(content["epochs"]),
            int(content["seed"]),
            content["weights"],
            ClassificationData.model_validate(content["data"]),
            ClassificationTraining.model_validate(content["training"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} is no classifier's training: {' '.join(str(error).split())[:500]}") from None


def _set(content: Any, change: str) -> None:
    key, _, value = change.partition("=")
    *parts, last = key.split(".")
    place = content
    for part in parts:
        place = place.get(part) if isinstance(place, dict) else None
    known = place if isinstance(place, dict) else content
    if last not in known or place is None:
        raise UserError(f"unknown setting {key!r}{closest(last, map(str, known))}")
    place[last] = _value(value)


def _value(text: str) -> Any:
    """A setting's value; YAML itself reads 1e-4 as a text."""
    with suppress(ValueError):
        return int(text)
    with suppress(ValueError):
        return float(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"a setting's value must be YAML, got {text!r}") from None


def _join() -> None:
    """Joins the processes that torchrun started."""
    on_gpus = torch.cuda.is_available()
    if on_gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if on_gpus else "gloo")


def _train(full: FullClassifier, options: argparse.Namespace) -> None:
    work, first = options.work_dir, not int(os.environ.get("RANK", "0"))
    work.mkdir(parents=True, exist_ok=True)
    if not options.resume and last_whole_classifier(work, LONGEST_TRAINING) is not None:
        raise UserError(f"{work} has a training; resume it with --resume, or move it away")
    torch.set_num_threads(full.training.threads)
    data_sets.prepare(full.data)
    images = class_images(full.data, full.training, 1.0, full.seed, work / UNDECODABLE_LIST)
    epochs = options.epochs or full.epochs
    run = ClassifierRun(full.architecture, images, full.training, full.seed, epochs, epochs, drops=True)
    mirror = _mirror(options, full, epochs) if first else None

    def told(row: Mapping[str, float]) -> None:
        if not first:
            return
        numbers = ", ".join(f"{name} {value:.4f}" for name, value in row.items() if name != "epoch")
        print(f"epoch {row['epoch']:.0f} of {epochs}: {numbers}", flush=True)
        if mirror is not None:
            mirror.log({name: value for name, value in row.items() if name != "epoch"}, int(row["epoch"]))

    state = "FAILED"
    try:
        group = group_of(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        _in_parts(run, work, _begin(full, options.config.parent), EndOfEpoch(told, every=1), group)
        state = "FINISHED"
    except KeyboardInterrupt:
        state = "KILLED"
        raise
    finally:
        if mirror is not None:
            mirror.end(state)
    listed = work / UNDECODABLE_LIST
    if first and listed.is_file():
        count = len(set(listed.read_text(encoding="utf-8").splitlines()))
        print(f"note: {count} training images cannot be decoded; {listed} lists them", file=sys.stderr)


def _in_parts(
    run: ClassifierRun, work: Path, begin: Callable[[nn.Module], None] | None, ends: EndOfEpoch, group: Group
) -> None:
    """Trains with whole steps, or in parts that fit the memory; of several processes the others would wait for one."""
    accumulated = 1
    while True:
        try:
            train_classifier(replace(run, accumulated=accumulated), work, begin, ends=ends, group=group)
            return
        except Exception as error:
            if not out_of_memory(error):
                raise
            said = " ".join(str(error).split())[:200]
        if group.size > 1 or 2 * accumulated > run.training.batch_size:
            raise UserError(f"a step does not fit the memory ({said}); lower training.batch_size")
        accumulated *= 2
        print(f"note: a step does not fit the memory; it is computed in {accumulated} parts", file=sys.stderr)


def _begin(full: FullClassifier, folder: Path) -> Callable[[nn.Module], None] | None:
    """Loads the starting weights of the export into a network."""
    if full.weights is None:
        return None
    file = folder / full.weights

    def begin(network: nn.Module) -> None:
        try:
            network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True)["state_dict"])
        except Exception as error:  # a broken file raises anything
            reason = " ".join(str(error).split())[:300]
            raise WeightsError(f"{file} cannot be loaded ({reason}); export the design again") from None

    return begin


def _mirror(options: argparse.Namespace, full: FullClassifier, epochs: int) -> Any:
    """The training's run in MLflow; None without a store, or if it cannot be reached."""
    folder = options.config.resolve().parent
    if options.mlflow is None or not (folder / PROVENANCE).is_file():
        return None
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")  # an unreachable server is given up soon
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    from piip_workers.tracking.training_run import TrainingRun

    provenance = Provenance.read(folder)
    params = {
        "architecture": full.architecture.name,
        "fingerprint": provenance.fingerprint,
        "schedule": provenance.schedule,
        "weights": provenance.weights,
        "epochs": epochs,
        "batch_size": full.training.batch_size,
    }
    try:
        return TrainingRun(options.mlflow, provenance, params, options.resume)
    except Exception as error:  # every store has errors of its own
        print(f"warning: not mirrored into MLflow: {reason_of(error)[:300]}", file=sys.stderr)
        return None


if __name__ == "__main__":
    sys.exit(main())
