"""`piip-search train`: the full training of an exported design."""

import json
from pathlib import Path
from typing import Annotated

import typer

from piip_search.api.extras import extra, find_trainer
from piip_search.api.mlflow_store import check_store
from piip_search.cli.application import console, note, stopped
from piip_search.cli.options import expanded_store
from piip_search.errors import UserError
from piip_search.export import Provenance
from piip_search.export.folder import CONFIG
from piip_search.export.mmdet.recipe import IMAGES_A_STEP
from piip_search.file_paths import located

WORK = "work"


def train(
    folder: Annotated[Path, typer.Argument(help="Folder that piip-search export wrote.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[-- KEY=VALUE]...", help="Settings of config.py to change.")
    ] = None,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs of this machine to train on, a process each.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="In place of the schedule's; its steps move in proportion.")
    ] = None,
    mlflow: Annotated[
        str | None,
        typer.Option(
            envvar="MLFLOW_TRACKING_URI",
            callback=expanded_store,
            help="MLflow store of the search, or none; by default what the export names.",
        ),
    ] = None,
) -> None:
    """Train an exported design in full, on this machine's CPU or GPUs.

    Checkpoints and log go to work/ in the folder; MLflow shows the training beside its proxy.

    Example: piip-search train exported/best --gpus 8 -- train_dataloader.num_workers=4
    """
    if mlflow not in (None, "", "none"):
        check_store(str(mlflow))
    provenance = Provenance.read(folder)
    if not (folder / CONFIG).is_file():
        raise UserError(f"{located(folder)} holds no {CONFIG}; export the design with --format mmdet")
    wrong = [setting for setting in settings or [] if "=" not in setting]
    if wrong:
        raise UserError(f"settings are written KEY=VALUE, got {wrong[0]!r}")
    work = folder / WORK
    begun = any(work.glob("epoch_*.pth"))
    if begun and not resume:
        raise UserError(f"{work} holds a training; go on with it by --resume, or move it away")
    if resume and not begun:
        raise UserError(f"{work} holds no checkpoint to go on from; leave --resume out")
    with extra("detection"):
        find_trainer(None)
        from piip_workers.tasks.detection import launch
    if gpus > 1 and launch.gpus_here() < gpus:
        raise UserError(f"this machine has {launch.gpus_here()} GPUs, got --gpus {gpus}; ask for those it has")
    options = [*(settings or []), *_share(gpus, settings or [])]
    store = mlflow or provenance.mlflow
    if store is None:
        note("note: not mirrored into MLflow: the export names no store; --mlflow names one")
    arguments = [
        str((folder / CONFIG).resolve()),
        "--work-dir",
        str(work.resolve()),
        *(["--resume"] if resume else []),
        *(["--epochs", str(epochs)] if epochs else []),
        *(["--mlflow", store] if store not in (None, "none") else []),
        *(["--cfg-options", *options] if options else []),
    ]
    try:
        code = launch.train(arguments, gpus)
    except KeyboardInterrupt:
        stopped("stopped; the same command with --resume goes on from the last whole epoch")
    if code:
        raise UserError(f"the training ended with exit code {code}; what it said is above and in {work}")
    _tell(work, provenance)


def _share(gpus: int, settings: list[str]) -> list[str]:
    """The recipe's images a step, shared by the GPUs."""
    key = "train_dataloader.batch_size"
    if gpus == 1 or any(setting.startswith(f"{key}=") for setting in settings):
        return []
    if IMAGES_A_STEP % gpus:
        raise UserError(
            f"{gpus} GPUs cannot share the recipe's {IMAGES_A_STEP} images a step; say how many each takes: -- {key}=2"
        )
    return [f"{key}={IMAGES_A_STEP // gpus}"]


def _tell(work: Path, provenance: Provenance) -> None:
    history = json.loads((work / "history.json").read_text(encoding="utf-8"))
    metric = provenance.metric
    measured = [row for row in history if metric in row]
    if not measured:
        console.print(f"trained; checkpoints and log are in {work}", markup=False, soft_wrap=True)
        return
    last, proxy = measured[-1], provenance.proxy_metrics.get(metric)
    beside = "" if proxy is None else f" (the proxy reached {proxy:.4f})"
    console.print(
        f"{metric} {last[metric]:.4f} after {last['epoch']:.0f} epochs{beside}; checkpoints and log are in {work}",
        markup=False,
        soft_wrap=True,
    )
