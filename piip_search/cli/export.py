"""`piip-search export`: a chosen design leaves."""

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from piip_search.api.checks import image_counts
from piip_search.api.extras import extra, find_trainer
from piip_search.api.runners import absolute
from piip_search.api.runs import History, history_of
from piip_search.api.stores import kept_store, mlflow_uri, read_ledger, register_model, shown_store
from piip_search.architecture.segments import PYRAMID_LEVELS
from piip_search.cli.application import note, pass_over, progress, put, put_json
from piip_search.cli.options import DEFAULT_HOME, Home, Json, LedgerUrl, Quiet, RunName, expanded_store
from piip_search.errors import UserError
from piip_search.evaluation.evaluation import Evaluation, trials_folder
from piip_search.evaluation.selection import chosen
from piip_search.export import (
    FORMATS,
    RANDOM,
    SCHEDULES,
    Export,
    Format,
    Provenance,
    ScheduleName,
    WeightsKind,
    prepare_folder,
    write_export,
)
from piip_search.export.folder import PROOF, PROOF_LOG
from piip_search.file_paths import located

if TYPE_CHECKING:
    from piip_workers.networks.checks import Proof
    from piip_workers.tasks.detection.starting_weights import Weights


class FormatChoice(StrEnum):
    """What may be asked for: a format, or all of them."""

    MMDET = "mmdet"
    TORCH = "torch"
    ONNX = "onnx"
    ALL = "all"


def export(
    run: RunName,
    choice: Annotated[
        str,
        typer.Argument(
            help="best, best<=250G, knee, a trial number, a fingerprint's beginning, or all for the whole front."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder to write: new, or an earlier export. With all, one a design in it."),
    ],
    formats: Annotated[
        list[FormatChoice],
        typer.Option("--format", help="What to write; may be given more than once."),
    ] = [FormatChoice.MMDET],  # noqa: B006  typer copies it
    schedule: Annotated[ScheduleName, typer.Option(help="Of the full training: 12 or 36 epochs.")] = "1x",
    weights: Annotated[
        WeightsKind | None,
        typer.Option(
            help="What the training starts from; by default pretrained where the search used that, else the proxy's."
        ),
    ] = None,
    proof: Annotated[bool, typer.Option(help="Rebuild, count, train and run what was written.")] = True,
    register: Annotated[
        bool,
        typer.Option(help="Put a torch or ONNX network into MLflow's model registry, where MLflow has the search."),
    ] = True,
    mlflow: Annotated[
        str | None,
        typer.Option(
            envvar="MLFLOW_TRACKING_URI",
            callback=expanded_store,
            help="MLflow store of the search, or none; by default mlflow.db in the home, if it is there.",
        ),
    ] = None,
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a chosen design: an mmdet config with the full schedule, a torch network, an ONNX file.

    What is written is tried, and the outcome is in proof.json; where it fails, the exit code is 2. With --quiet, the
    folders are all that is printed.

    Example: piip-search export quickstart best -o exported/best
    """
    wanted: tuple[Format, ...] = FORMATS if FormatChoice.ALL in formats else tuple(f for f in FORMATS if f in formats)
    book = read_ledger(ledger, home)
    history, trials = history_of(book, run), trials_folder(home, run, book.search(run).recipe)
    evaluations = chosen(history.finished, history.objectives, choice)
    if "onnx" in wanted:
        with extra("onnx"):
            import piip_workers.networks.onnx_export  # noqa: F401
    if choice == "all" and out.is_dir() and any(path.is_file() for path in out.iterdir()):
        raise UserError(
            f"{located(out)} holds files; a whole front goes into a folder of its own, a folder for each design"
        )
    store = (kept_store(home, run) if mlflow is None else mlflow_uri(mlflow, home)) or None
    requests = [_request(run, history, evaluation, wanted, schedule, home, store) for evaluation in evaluations]
    failures, exported = [], []
    tell = pass_over if quiet else note
    for evaluation, request in zip(evaluations, requests, strict=True):
        name = f"{evaluation.candidate.number:04d}-{evaluation.candidate.architecture.fingerprint}"
        folder = out / name if choice == "all" else out
        prepare_folder(folder)
        with progress(as_json, quiet).status(f"exporting trial {evaluation.candidate.number}"):
            start = _start(request, weights, history, evaluation, trials, tell)
            outcome = _export(request, folder, start, proof, tell)
        if register and store is not None and not outcome.failures:
            _register(store, request, folder, tell)
        failures += [f"{folder}: {line}" for line in outcome.failures]
        exported.append(_content(evaluation, folder, outcome))
        if not as_json:
            put(str(folder) if quiet else _told(folder, outcome))
    if as_json:
        put_json({"run": run, "choice": choice, "exports": exported})
    if failures:
        raise UserError("\n".join(["the proof failed; the files are kept:", *failures]))


def _request(
    run: str,
    history: History,
    evaluation: Evaluation,
    formats: tuple[Format, ...],
    schedule: ScheduleName,
    home: Path,
    store: str | None,
) -> Export:
    """What leaves, but for its weights."""
    from piip_workers.tasks.detection import data

    candidate, spec, objectives = evaluation.candidate, history.spec, history.objectives
    design = candidate.architecture
    with extra("detection"):
        from piip_workers.tasks.detection.detectors import reader_of

        reader = reader_of(spec.training)
        try:
            paths = data.prepare(spec.data, reader.masks)
        except OSError:
            problems = "\n".join(data.check(spec.data, reader.masks))
            raise UserError(f"{problems}\nthe data is looked for from here: export where {run} ran") from None
    notes = {
        "run": f"{run}, trial {candidate.number}",
        f"proxy {objectives.metric}": f"{objectives.value(evaluation):.4f}",
    }
    fidelity = candidate.fidelity
    provenance = Provenance(
        run=run,
        trial=candidate.number,
        architecture=design.name,
        fingerprint=design.fingerprint,
        metric=objectives.metric,
        proxy_metrics=dict(evaluation.metrics),
        fidelity={name: getattr(fidelity, name) for name in ("epochs", "data_fraction", "image_scale")},
        schedule=schedule,
        weights="",
        mlflow=None if store is None else shown_store(store),
    )
    training = spec.training.model_copy(update={"pretrained": absolute(spec.training.pretrained)})
    return Export(
        design,
        paths,
        training,
        SCHEDULES[schedule],
        formats,
        reader=reader,
        images=image_counts(spec),
        seed=spec.seed,
        provenance=provenance,
        notes=notes,
    )


def _start(
    request: Export,
    asked: WeightsKind | None,
    history: History,
    evaluation: Evaluation,
    trials: Path,
    tell: Callable[[str], None],
) -> "Weights | None":
    """The weights that the design leaves with; None for random ones that nothing needs."""
    place = request.training.pretrained
    number = evaluation.candidate.number
    if asked == "pretrained" and place is None:
        raise UserError(
            f"run {history.spec.name} trained from random weights; leave --weights out, or name proxy or random"
        )
    if asked == "random" and set(request.formats) == {"mmdet"}:
        return None
    with extra("models"):
        from piip_workers.tasks.detection import starting_weights
    if asked == "random":
        return starting_weights.at_random(request.architecture, RANDOM)
    if place is not None and asked != "proxy":
        return starting_weights.from_pretrained(request.architecture, place)
    folder = starting_weights.trial_folder(trials, evaluation)
    checkpoint = starting_weights.proxy_checkpoint(folder)
    if checkpoint is not None:
        with extra("detection"):
            return starting_weights.from_proxy(request.architecture, evaluation, checkpoint)
    if asked == "proxy":
        raise UserError(f"trial {number} left no checkpoint in {folder}; leave --weights out, or name random")
    tell(f"note: trial {number} left no checkpoint in {folder}, so that training starts from random weights")
    return starting_weights.at_random(request.architecture, RANDOM)


def _export(
    request: Export, folder: Path, weights: "Weights | None", proved: bool, tell: Callable[[str], None]
) -> "Proof":
    """Writes every format, and tries what was written."""
    from piip_workers.networks.checks import Proof

    outcome = Proof()
    start = RANDOM if weights is None else weights.start
    assert request.provenance is not None, "it comes from a trial"
    origin = replace(request.provenance, weights=start.kind)
    request = replace(request, start=start, proved=proved, provenance=origin)
    if start.kind == "random":  # so that the learning rate does not decay from block to block either
        request = replace(request, training=request.training.model_copy(update={"pretrained": None}))
    if weights is not None and start.file is not None and "mmdet" in request.formats:
        weights.write(folder / start.file)
    write_export(request, folder)
    if "mmdet" in request.formats and proved:
        _prove_mmdet(request, folder, outcome, tell)
    if "torch" in request.formats and weights is not None:
        from piip_workers.networks.torch_export import prove_torch, write_torch

        write_torch(request.architecture, weights.network, folder / "torch")
        if proved:
            prove_torch(request.architecture, weights.network, folder / "torch", outcome)
    if "onnx" in request.formats and weights is not None:
        from piip_workers.networks.onnx_export import prove_onnx, write_onnx

        write_onnx(request.architecture, weights.network, folder / "onnx", folder / PROOF_LOG)
        if proved:
            prove_onnx(request.architecture, weights.network, folder / "onnx", outcome, folder / PROOF_LOG)
    if proved:
        outcome.write(folder / PROOF)
    return outcome


def _register(store: str, request: Export, folder: Path, tell: Callable[[str], None]) -> None:
    """Puts the network into MLflow's registry. A store that cannot be reached is said, and ends nothing."""
    network = next((folder / name for name in ("torch", "onnx") if name in request.formats), None)
    if network is None or request.provenance is None:
        return
    widths = [width for width, _ in request.architecture.merged]
    try:
        model = register_model(store, request.provenance, network, tuple(widths * (PYRAMID_LEVELS // len(widths))))
    except Exception as error:  # a store has as many ways to fail as there are stores
        tell(f"note: not registered in MLflow: {' '.join(str(error).split())[:300]}")
    else:
        tell(f"registered in MLflow: {model}")


def _prove_mmdet(request: Export, folder: Path, outcome: "Proof", tell: Callable[[str], None]) -> None:
    """Tries the configuration where mmdet is installed."""
    try:
        with extra("detection"):
            find_trainer(None)
            from piip_workers.tasks.detection.proof import prove_mmdet
    except UserError as error:
        tell(f"note: config.py is not proved: {error}")
        outcome.skipped.append(f"mmdet: {error}")
        return
    prove_mmdet(request, folder, outcome)


def _told(folder: Path, outcome: "Proof") -> str:
    checks = outcome.checks
    proved = "; not proved"
    if checks:
        seconds = sum(check.seconds for check in checks)
        proved = f"; proof: {len(checks) - len(outcome.failures)} of {len(checks)} checks passed in {seconds:.0f} s"
    return f"wrote {folder}{proved}; {folder / 'README.md'} says how to train it"


def _content(evaluation: Evaluation, folder: Path, outcome: "Proof") -> dict[str, Any]:
    """What was written, as plain data."""
    design = evaluation.candidate.architecture
    return {
        "folder": str(folder),
        "trial": evaluation.candidate.number,
        "architecture": design.name,
        "fingerprint": design.fingerprint,
        "checks": len(outcome.checks),
        "failures": list(outcome.failures),
        "skipped": list(outcome.skipped),
    }
