"""`piip-search train`: trains an exported design in full."""

from pathlib import Path
from typing import Annotated

import typer

from piip_search.api.train import TrainingOptions, TrainingOutcome, prepare_training, train_in_full
from piip_search.cli.application import console, note, stopped
from piip_search.cli.options import expanded_store


def train(
    folder: Annotated[Path, typer.Argument(help="Folder of an export.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[-- KEY=VALUE]...", help="Settings of config.py to change.")
    ] = None,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs of this machine to train on, one process each.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Resume from the last checkpoint.")] = False,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs instead of the schedule's; its steps move in proportion.")
    ] = None,
    mlflow: Annotated[
        str | None,
        typer.Option(
            envvar="MLFLOW_TRACKING_URI",
            callback=expanded_store,
            help="MLflow store of the search, or none; by default the one that the export names.",
        ),
    ] = None,
) -> None:
    """Train an exported design in full, on this machine's CPU or GPUs.

    Checkpoints and log go to work/ in the folder; MLflow shows the training beside its proxy.

    Example: piip-search train exported/best --gpus 8 -- train_dataloader.num_workers=4
    """
    options = TrainingOptions(settings or (), gpus, resume, epochs, mlflow)
    training = prepare_training(folder, options, note)
    try:
        outcome = train_in_full(training)
    except KeyboardInterrupt:
        stopped("stopped; run the same command with --resume to go on from the last whole epoch")
    console.print(_summary(outcome), markup=False, soft_wrap=True)


def _summary(outcome: TrainingOutcome) -> str:
    """One line about the result of the training."""
    place = f"checkpoints and log are in {outcome.work}"
    if outcome.value is None:
        return f"trained; {place}"
    beside = "" if outcome.proxy is None else f" (the proxy reached {outcome.proxy:.4f})"
    return f"{outcome.metric} {outcome.value:.4f} after {outcome.epochs:.0f} epochs{beside}; {place}"
