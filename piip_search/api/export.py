"""Exports designs of a run: a training configuration, a torch network, an ONNX file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from piip_search.api.checks import image_counts
from piip_search.api.extras import extra, find_trainer
from piip_search.api.ledgers import log_action
from piip_search.api.notices import Notify, ignore
from piip_search.api.programs import with_trusted_programs
from piip_search.api.runners import absolute
from piip_search.api.runs import history_of
from piip_search.api.stores import kept_store, mlflow_uri, register_model, shown_store
from piip_search.architecture.segments import PYRAMID_LEVELS
from piip_search.architecture.stock import StockNetwork
from piip_search.config import SearchSpec
from piip_search.config.evaluator import SharedSection
from piip_search.errors import DataError, ExportError, UserError, WeightsError
from piip_search.evaluation.evaluation import Evaluation, trials_folder
from piip_search.export import (
    NETWORK_FORMATS,
    RANDOM,
    Export,
    Provenance,
    TrainingPlan,
    WeightsKind,
    prepared_folder,
    write_export,
)
from piip_search.export.folder import PROOF, PROOF_LOG
from piip_search.file_paths import located
from piip_search.search.history import RunHistory
from piip_search.tasks import Task
from piip_workers.tasks import worker_of

if TYPE_CHECKING:  # these import the database and torch, which a message need not wait for
    from piip_search.ledger import Ledger
    from piip_workers.networks.proof import Proof
    from piip_workers.networks.weights import StartingWeights

ALL_FORMATS = "all"
"""Word for all formats of a task."""


@dataclass(frozen=True)
class ExportOptions:
    """The settings of an export.

    Attributes:
        formats: Formats to write; the first one of the run's task by default.
        schedule: Schedule of the full training; the usual one of the task by default.
        weights: Starting weights of the full training; by default pretrained if the search used them, else proxy. After
            a training that designs share the default is proxy.
        proof: Whether the export tests the written files.
        register: Whether to add the torch or ONNX network to MLflow's model registry.
        mlflow: MLflow store of the search, or none; by default the store of the home folder.
        trust: Whether programs that the run names may be run, whoever wrote them.
        token: Name of the dashboard's token of whoever asked for it, for the log; empty for a user of this machine.
    """

    formats: tuple[str, ...] = ()
    schedule: str | None = None
    weights: WeightsKind | None = None
    proof: bool = True
    register: bool = True
    mlflow: str | None = None
    trust: bool = False
    token: str = ""


@dataclass(frozen=True)
class DesignExport:
    """An exported design.

    Attributes:
        evaluation: Evaluation of the design.
        folder: Folder of the design.
        proof: Checks of the folder; empty without a proof.
    """

    evaluation: Evaluation
    folder: Path
    proof: "Proof"

    @property
    def summary(self) -> str:
        """One line about the written files."""
        folder, checks, failures = self.folder, self.proof.checks, self.proof.failures
        proved = "; not proved"
        if checks:
            seconds = sum(check.seconds for check in checks)
            proved = f"; proof: {len(checks) - len(failures)} of {len(checks)} checks passed in {seconds:.0f} s"
        return f"wrote {folder}{proved}; {folder / 'README.md'} says how to train it"

    def to_dict(self) -> dict[str, Any]:
        """The export as plain data."""
        design = self.evaluation.candidate.architecture
        return {
            "folder": str(self.folder),
            "trial": self.evaluation.candidate.number,
            "architecture": design.name,
            "fingerprint": design.fingerprint,
            "checks": len(self.proof.checks),
            "failures": list(self.proof.failures),
            "skipped": list(self.proof.skipped),
        }


@dataclass(frozen=True)
class _Origin:
    """The run of the exported designs."""

    run: str
    uid: str
    spec: SearchSpec
    history: RunHistory
    home: Path
    trials: Path
    store: str | None


def export_designs(
    ledger: "Ledger",
    run: str,
    choice: str,
    out: Path,
    home: Path,
    options: ExportOptions = ExportOptions(),
    notify: Notify = ignore,
    progress: Notify = ignore,
    done: Callable[[DesignExport], None] = lambda design: None,
) -> tuple[DesignExport, ...]:
    """Writes the designs of a user's choice, and tests the written files; a failed check raises no error.

    Args:
        ledger: Ledger of the run.
        run: Name of the run.
        choice: `best`, `best<=250G`, `knee`, a trial's number, a fingerprint's beginning, or `all`.
        out: Folder of the design; with `all`, the folder above the folders of the designs.
        home: Home folder with the checkpoints of the run.
        options: Settings of the export.
        notify: Called with notes about a design.
        progress: Called with the current step.
        done: Called with each design once its folder is complete.

    Raises:
        LedgerError: The ledger has no such run.
        ChoiceError: No design, or more than one, fits the choice.
        ExportError: The folder cannot take the design.
        DataError: The data of the run is not on this machine.
        WeightsError: The weights are missing or do not fit.
        UserError: An extra is missing, MLflow cannot use the store, or the run names a program that is not trusted.
    """
    history = history_of(ledger, run)
    trials = trials_folder(home, run, ledger.search(run).recipe)
    evaluations = history.choose(choice)
    if stock := [e.candidate.design.name for e in evaluations if isinstance(e.candidate.design, StockNetwork)]:
        raise UserError(f"{stock[0]} is a stock network, which no export writes; use its own configuration")
    options = _of_the_task(options, history.spec.known_task)
    if options.weights is None and isinstance(history.spec.evaluator, SharedSection):
        options = replace(options, weights="proxy")  # a tuned design has more than its branches' pre-training
    _check_formats(options.formats)
    if options.weights == "pretrained" and history.spec.training.pretrained is None:
        raise WeightsError(f"run {run} trained from random weights; leave --weights out, or name proxy or random")
    if choice == "all":
        _check_front_folder(out)
    spec = with_trusted_programs(ledger, run, history.spec, home, options.trust)
    uid, store = ledger.search(run).uid, _store(home, run, options.mlflow)
    origin = _Origin(run, uid, spec, history, home, trials, store)
    requests = [_request(origin, evaluation, options) for evaluation in evaluations]
    exports = []
    for evaluation, request in zip(evaluations, requests, strict=True):
        folder = out / _folder_name(evaluation) if choice == "all" else out
        progress(f"exporting trial {evaluation.candidate.number}")
        exports.append(_export(origin, evaluation, request, folder, options, notify))
        name = evaluation.candidate.design.name
        log_action(ledger, "exported", run, options.token, design=name, folder=str(folder.resolve()))
        done(exports[-1])
    return tuple(exports)


class Proved(Protocol):
    """A written folder with its checks."""

    @property
    def folder(self) -> Path: ...

    @property
    def proof(self) -> "Proof": ...


def check_proofs(exports: Sequence[Proved]) -> None:
    """Checks that all checks of some exports passed.

    Args:
        exports: Exports to check.

    Raises:
        ExportError: A check failed; the message lists all failures.
    """
    failures = [f"{one.folder}: {line}" for one in exports for line in one.proof.failures]
    if failures:
        raise ExportError("\n".join(["the proof failed; the files are kept:", *failures]))


def _of_the_task(options: ExportOptions, task: Task) -> ExportOptions:
    """The options with the task's defaults, checked."""
    unknown = [name for name in options.formats if name not in (*task.formats, ALL_FORMATS)]
    if unknown:
        raise UserError(f"the task {task.name} has no format {unknown[0]}; choose {', '.join(task.formats)}")
    named = tuple(name for name in task.formats if name in options.formats)
    chosen = task.formats if ALL_FORMATS in options.formats else named or task.formats[:1]
    return replace(options, formats=chosen, schedule=options.schedule or task.schedules[0])


def _check_formats(formats: tuple[str, ...]) -> None:
    """Checks that the libraries of a format are installed, before anything is written."""
    if "onnx" in formats:
        with extra("onnx"):
            import piip_workers.networks.onnx_export  # noqa: F401


def _check_front_folder(out: Path) -> None:
    """Checks that a folder can take a whole front."""
    if out.is_dir() and any(path.is_file() for path in out.iterdir()):
        raise ExportError(
            f"{located(out)} has files in it; a whole front needs a folder of its own, with a folder for each design"
        )


def _folder_name(evaluation: Evaluation) -> str:
    return f"{evaluation.candidate.number:04d}-{evaluation.candidate.design.fingerprint}"


def _store(home: Path, run: str, mlflow: str | None) -> str | None:
    """The MLflow store of a run; None without one."""
    return (kept_store(home, run) if mlflow is None else mlflow_uri(mlflow, home)) or None


def _export(
    origin: _Origin, evaluation: Evaluation, request: Export, folder: Path, options: ExportOptions, notify: Notify
) -> DesignExport:
    """Writes and tests one design, and registers it unless a check failed."""
    with prepared_folder(folder, origin.spec.known_task.files):
        weights = _weights(origin, evaluation, request, options, notify)
        request = _with_start(request, weights, options.proof)
        proof = _write(origin, request, folder, weights, notify)
    if options.register and origin.store is not None and not proof.failures:
        _register(origin.store, request, folder, weights, notify)
    return DesignExport(evaluation, folder, proof)


def _request(origin: _Origin, evaluation: Evaluation, options: ExportOptions) -> Export:
    """The request of a design's export, without its weights."""
    candidate, spec, objectives = evaluation.candidate, origin.spec, origin.history.objectives
    schedule = str(options.schedule)
    return Export(
        candidate.architecture,
        _plan(origin, schedule).starting(absolute(spec.training.pretrained)),
        options.formats,
        images=image_counts(spec),
        seed=spec.seed,
        provenance=_provenance(origin, evaluation, schedule),
        notes={
            "run": f"{origin.run}, trial {candidate.number}",
            f"proxy {objectives.metric}": f"{objectives.value(evaluation):.4f}",
        },
    )


def _plan(origin: _Origin, schedule: str) -> TrainingPlan:
    """The full training of a design of the run."""
    spec = origin.spec
    try:
        with extra(spec.known_task.extra):
            return worker_of(spec.task).plan(spec, schedule)
    except DataError as error:
        raise DataError(f"{error}\nthe data is looked for from here: export where {origin.run} ran") from None


def _provenance(origin: _Origin, evaluation: Evaluation, schedule: str) -> Provenance:
    """The provenance of a design, without the kind of its weights."""
    candidate = evaluation.candidate
    return Provenance(
        run=origin.run,
        trial=candidate.number,
        architecture=candidate.design.name,
        fingerprint=candidate.design.fingerprint,
        metric=origin.history.objectives.metric,
        proxy_metrics=dict(evaluation.metrics),
        fidelity={name: getattr(candidate.fidelity, name) for name in ("epochs", "data_fraction", "image_scale")},
        schedule=schedule,
        weights="",
        task=origin.spec.task,
        search=origin.uid,
        mlflow=None if origin.store is None else shown_store(origin.store),
    )


def _weights(
    origin: _Origin, evaluation: Evaluation, request: Export, options: ExportOptions, notify: Notify
) -> "StartingWeights | None":
    """The weights of a design; None for random ones that no format needs."""
    kind = options.weights
    place = request.plan.training.pretrained
    if kind == "random" and not set(request.formats) & set(NETWORK_FORMATS):
        return None
    worker = worker_of(origin.spec.task)
    with extra("models"):
        if kind == "random":
            return worker.at_random(request.architecture, RANDOM, request.plan)
        if place is not None and kind != "proxy":
            return worker.from_pretrained(request.architecture, place, request.plan)
    return _proxy_weights(origin, evaluation, request, options, notify)


def _proxy_weights(
    origin: _Origin, evaluation: Evaluation, request: Export, options: ExportOptions, notify: Notify
) -> "StartingWeights":
    """The weights of the proxy, or random ones if it has no checkpoint and the user did not ask for the proxy's."""
    with extra("models"):
        from piip_workers.networks.weights import proxy_checkpoint, recorded_folder, trial_folder

    spec, number = origin.spec, evaluation.candidate.number
    worker, folder = worker_of(spec.task), trial_folder(origin.trials, evaluation, options.trust)
    checkpoint = proxy_checkpoint(folder)
    if checkpoint is not None:
        with extra(spec.known_task.extra):
            return worker.from_proxy(request.architecture, evaluation, checkpoint)
    elsewhere = recorded_folder(evaluation)
    if elsewhere is not None and elsewhere != folder and proxy_checkpoint(elsewhere) is not None:
        missing = f"trial {number} left its checkpoint in {elsewhere}, which is not yours; add --trust to take it"
    else:
        missing = f"trial {number} left no checkpoint in {folder}"
    if options.weights == "proxy":
        raise WeightsError(f"{missing}; leave --weights out, or name random")
    notify(f"note: {missing}, so that training starts from random weights")
    return worker.at_random(request.architecture, RANDOM, request.plan)


def _with_start(request: Export, weights: "StartingWeights | None", proof: bool) -> Export:
    """The request with the starting weights of the full training."""
    assert request.provenance is not None, "the design comes from a trial"
    start = RANDOM if weights is None else weights.start
    origin = replace(request.provenance, weights=start.kind)
    request = replace(request, start=start, proved=proof, provenance=origin)
    if start.kind != "random":
        return request
    # Without pre-trained weights the learning rate does not decay from block to block.
    return replace(request, plan=request.plan.starting(None))


def _write(
    origin: _Origin, request: Export, folder: Path, weights: "StartingWeights | None", notify: Notify
) -> "Proof":
    """Writes every format, and tests each if requested."""
    from piip_workers.networks.proof import Proof

    proof, task = Proof(), origin.spec.known_task
    trained = task.formats[0] in request.formats
    if weights is not None and request.start.file is not None and trained:
        weights.write(folder / request.start.file)
    write_export(request, folder)
    if trained and request.proved:
        _prove_training(task, request, folder, proof, notify)
    if "torch" in request.formats and weights is not None:
        _write_torch(request, folder, weights, proof)
    if "onnx" in request.formats and weights is not None:
        _write_onnx(request, folder, weights, proof)
    if request.proved:
        proof.write(folder / PROOF)
    return proof


def _prove_training(task: Task, request: Export, folder: Path, proof: "Proof", notify: Notify) -> None:
    """Tests the files of the task's own format if its packages are installed."""
    try:
        with extra(task.extra):
            find_trainer(task)
    except UserError as error:
        notify(f"note: {task.files[0]} is not proved: {error}")
        proof.skipped.append(f"{task.formats[0]}: {error}")
        return
    worker_of(task.name).prove(request, folder, proof)


def _write_torch(request: Export, folder: Path, weights: "StartingWeights", proof: "Proof") -> None:
    from piip_workers.networks.torch_export import prove_torch, write_torch

    write_torch(request.architecture, weights.network, folder / "torch", request.plan.norm)
    if request.proved:
        prove_torch(request.architecture, weights.network, folder / "torch", proof)


def _write_onnx(request: Export, folder: Path, weights: "StartingWeights", proof: "Proof") -> None:
    from piip_workers.networks.onnx_export import prove_onnx, write_onnx

    write_onnx(request.architecture, weights.network, folder / "onnx", folder / PROOF_LOG)
    if request.proved:
        prove_onnx(request.architecture, weights.network, folder / "onnx", proof, folder / PROOF_LOG)


def _register(store: str, request: Export, folder: Path, weights: "StartingWeights | None", notify: Notify) -> None:
    """Adds the network to MLflow's registry; an unreachable store is only a note."""
    network = next((folder / name for name in ("torch", "onnx") if name in request.formats), None)
    if network is None or request.provenance is None or weights is None:
        return
    from piip_workers.networks.torch_export import classes_of

    widths = [width for width, _ in request.architecture.merged]
    channels, classes = tuple(widths * (PYRAMID_LEVELS // len(widths))), classes_of(weights.network)
    try:
        model = register_model(store, request.provenance, network, channels, classes)
    except Exception as error:  # every store has errors of its own
        notify(f"note: not registered in MLflow: {' '.join(str(error).split())[:300]}")
    else:
        notify(f"registered in MLflow: {model}")
