"""Trains an exported design in full."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from piip_search.api.extras import extra, find_trainer
from piip_search.api.mlflow_store import check_store
from piip_search.api.notices import Notify, ignore
from piip_search.errors import ExportError, UserError
from piip_search.export import Provenance
from piip_search.file_paths import located
from piip_search.tasks import Task, default_task, task_named

WORK = "work"
"""Folder of checkpoints and log in the folder of the export."""


@dataclass(frozen=True)
class TrainingOptions:
    """The settings of a full training.

    Attributes:
        settings: Settings of the exported training to change, each KEY=VALUE.
        gpus: GPUs of this machine to train on, one process each.
        resume: Whether to resume from the last checkpoint.
        epochs: Epochs in place of the schedule's; its steps move in proportion.
        mlflow: MLflow store of the search, or none; by default the one that the export names.
    """

    settings: Sequence[str] = ()
    gpus: int = 1
    resume: bool = False
    epochs: int | None = None
    mlflow: str | None = None


@dataclass(frozen=True)
class FullTraining:
    """A full training that is ready to start.

    Attributes:
        provenance: Trial of the design.
        work: Folder of checkpoints and log.
        arguments: Command line of `piip_workers.train`.
        gpus: GPUs of this machine to train on, one process each.
    """

    provenance: Provenance
    work: Path
    arguments: tuple[str, ...]
    gpus: int


@dataclass(frozen=True)
class TrainingOutcome:
    """The result of a full training.

    Attributes:
        work: Folder of checkpoints and log.
        metric: Metric of the search.
        value: Last value of the metric; None if it was never measured.
        epochs: Epochs before that value; None if it was never measured.
        proxy: Value of the proxy; None if unknown.
    """

    work: Path
    metric: str
    value: float | None = None
    epochs: float | None = None
    proxy: float | None = None


def prepare_training(
    folder: Path,
    options: TrainingOptions = TrainingOptions(),
    notify: Notify = ignore,
) -> FullTraining:
    """Checks that an exported design can be trained in full with these settings.

    Args:
        folder: Folder of the export.
        options: Settings of the training.
        notify: Called with notes about MLflow.

    Raises:
        ExportError: The folder is no export with a configuration.
        UserError: The options do not fit the folder or the machine, or an extra is missing.
    """
    if options.mlflow not in (None, "", "none"):
        check_store(str(options.mlflow))
    provenance = Provenance.read(folder)
    task = task_named(provenance.task or default_task())
    file = folder / task.files[0]
    if not file.is_file():
        raise ExportError(f"{located(folder)} has no {file.name}; export the design with --format {task.formats[0]}")
    _check_settings(options.settings)
    _check_work(folder / WORK, options.resume)
    _check_gpus(task, options.gpus)
    settings = [*options.settings, *_share(task, options.gpus, options.settings)]
    store = options.mlflow or provenance.mlflow
    if store is None:
        notify("note: not mirrored into MLflow: the export names no store; --mlflow names one")
    return FullTraining(provenance, folder / WORK, _arguments(file, options, settings, store), options.gpus)


def train_in_full(training: FullTraining) -> TrainingOutcome:
    """Trains on this machine, in this process or in one for each GPU.

    Args:
        training: Result of `prepare_training`.

    Raises:
        UserError: The training ended with an error.
        KeyboardInterrupt: The user stopped it.
    """
    from piip_workers import launch

    code = launch.train(training.arguments, training.gpus)
    if code:
        raise UserError(f"the training ended with exit code {code}; its output is above and in {training.work}")
    return _outcome(training)


def _check_settings(settings: Sequence[str]) -> None:
    wrong = [setting for setting in settings if "=" not in setting]
    if wrong:
        raise UserError(f"settings must be KEY=VALUE, got {wrong[0]!r}")


def _check_work(work: Path, resume: bool) -> None:
    """Checks that the folder has a training if one is resumed, and no training otherwise."""
    begun = any(work.glob("epoch_*.pth"))
    if begun and not resume:
        raise UserError(f"{work} has a training; resume it with --resume, or move it away")
    if resume and not begun:
        raise UserError(f"{work} has no checkpoint to resume from; leave --resume out")


def _check_gpus(task: Task, gpus: int) -> None:
    """Checks that this machine can train, and has so many GPUs."""
    with extra(task.extra):
        find_trainer(task)
        from piip_workers import launch
    if gpus > 1 and launch.gpus_here() < gpus:
        raise UserError(f"this machine has {launch.gpus_here()} GPUs, got --gpus {gpus}; ask for those it has")


def _share(task: Task, gpus: int, settings: Sequence[str]) -> list[str]:
    """The setting that divides the recipe's images a step among GPUs."""
    if gpus == 1 or task.images_a_step is None:
        return []
    if any(setting.startswith(f"{task.batch_setting}=") for setting in settings):
        return []
    if task.images_a_step % gpus:
        raise UserError(
            f"{gpus} GPUs cannot share the recipe's {task.images_a_step} images a step; "
            f"set the images of each: -- {task.batch_setting}=2"
        )
    return [f"{task.batch_setting}={task.images_a_step // gpus}"]


def _arguments(file: Path, options: TrainingOptions, settings: Sequence[str], store: str | None) -> tuple[str, ...]:
    """The command line of `piip_workers.train`."""
    return (
        str(file.resolve()),
        "--work-dir",
        str((file.parent / WORK).resolve()),
        *(["--resume"] if options.resume else []),
        *(["--epochs", str(options.epochs)] if options.epochs else []),
        *(["--mlflow", store] if store not in (None, "none") else []),
        *(["--cfg-options", *settings] if settings else []),
    )


def _outcome(training: FullTraining) -> TrainingOutcome:
    """The result at the end of the training's log."""
    metric = training.provenance.metric
    history = json.loads((training.work / "history.json").read_text(encoding="utf-8"))
    measured = [row for row in history if metric in row]
    proxy = training.provenance.proxy_metrics.get(metric)
    if not measured:
        return TrainingOutcome(training.work, metric, proxy=proxy)
    return TrainingOutcome(training.work, metric, measured[-1][metric], measured[-1]["epoch"], proxy)
