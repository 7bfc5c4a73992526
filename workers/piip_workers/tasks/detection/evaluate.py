"""Measures a candidate of the detection task: builds it, trains the proxy, and returns the evaluation."""

import gc
import resource
import socket
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from piip_search.analysis.error_kinds import TRACEBACK
from piip_search.architecture import Architecture
from piip_search.architecture.stock import StockNetwork
from piip_search.errors import DataError, MachineError, WeightsError
from piip_search.evaluation.evaluation import HALVED_FOLDER, Candidate, Evaluation, folder_facts
from piip_search.evaluation.facts import Facts
from piip_search.tasks.detection.mmdet.config import proxy_config
from piip_search.tasks.detection.mmdet.data import CocoPaths, ProxyImages
from piip_search.tasks.detection.mmdet.stock import stock_config, stock_side
from piip_search.tasks.detection.section import DetectionData, DetectionTraining
from piip_workers.jobs.job import alone, reason_of, stop_where_full
from piip_workers.tasks.detection import data as data_sets

if TYPE_CHECKING:
    from piip_workers.tasks.detection.proxy_training import Measurement

MOST_UNREADABLE = 20
"""Most undecodable images that are listed."""
TRAINED = "architecture.txt"
"""File with the short form of the trained design."""
INHERITED = "inherited.txt"
"""File with the names of the inherited tensors."""
Begin = Callable[[nn.Module], None]
"""Changes a detector before its first epoch."""
NO_FILES: Mapping[str, str] = MappingProxyType({})
"""No own files."""
MEMORY_TEXTS = (
    "can't allocate memory",
    "Cannot allocate memory",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "Failed to allocate",
    "Unable to allocate",
    "out of shared memory",
    "is killed by signal: Killed",
    "is killed by signal: Bus error",
    "exited unexpectedly",
)
"""Texts by which torch, NumPy, OpenCV and the system report exhausted memory; the system kills loader processes."""


@dataclass(frozen=True, slots=True)
class TrainingStart:
    """What a training starts from, besides its candidate.

    Attributes:
        files: Users' own files that stock detectors are read from, by their configurations.
        begin: Function that changes the detector before its first epoch; None for its own first weights.
    """

    files: Mapping[str, str]
    begin: Begin | None


def measure(
    candidate: Candidate,
    data: Mapping[str, Any],
    training: Mapping[str, Any],
    directory: str,
    files: Mapping[str, str] = NO_FILES,
    begin: Begin | None = None,
) -> Evaluation:
    """Trains a candidate's proxy and measures COCO's averages, once for each of its seeds.

    Args:
        candidate: Candidate to measure.
        data: `DetectionData` as plain data.
        training: `DetectionTraining` as plain data.
        directory: Folder of all trainings; each has a subfolder, where a later attempt resumes.
        files: Users' own files that stock detectors are read from, by their configurations.
        begin: Function that changes the detector before its first epoch, for weights of another training.

    Returns:
        The evaluation; a failed one has the error, and its folder has the traceback.

    Raises:
        MachineError: The machine is at fault.
    """
    found: list[Evaluation] = []
    for single in candidate.per_seed:
        found.append(_measured_once(single, data, training, Path(directory), TrainingStart(files, begin)))
        if found[-1].status == "failed":
            break
    return _averaged(candidate, found)


def _averaged(candidate: Candidate, found: Sequence[Evaluation]) -> Evaluation:
    """Joins the evaluations of a candidate's seeds: means, and the values of each seed."""
    last, several = found[-1], candidate.fidelity.seeds > 1
    seconds = sum(one.seconds for one in found)
    if last.status == "failed":
        error = f"seed {last.candidate.seed}: {last.error}" if several else last.error
        return replace(last, candidate=candidate, error=error, seconds=seconds)
    facts = found[0].facts
    if several:
        metrics = _shared([one.metrics for one in found])
        facts = replace(
            facts,
            seeds={str(one.candidate.seed): dict(one.metrics) for one in found},
            deviation={name: statistics.stdev(values) for name, values in metrics.items()},
        )
    history = tuple(_means(rows) for rows in zip(*(one.history for one in found), strict=True))
    return Evaluation(candidate, "done", _means([one.metrics for one in found]), "", seconds, history, facts)


def _shared(rows: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Values of the names that all rows have."""
    return {name: [row[name] for row in rows] for name in rows[0] if all(name in row for row in rows)}


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The means of rows; a single row keeps its exact values."""
    return {name: statistics.fmean(values) for name, values in _shared(rows).items()}


def _measured_once(
    candidate: Candidate,
    data: Mapping[str, Any],
    training: Mapping[str, Any],
    directory: Path,
    start: TrainingStart,
) -> Evaluation:
    started = time.monotonic()
    folder = directory / candidate.training
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with alone(folder / "lock"):
            return _measured(
                candidate,
                DetectionData.model_validate(data),
                DetectionTraining.model_validate(training),
                folder,
                started,
                start,
            )
    except MachineError as error:
        raise MachineError(reason_of(error).removeprefix("MachineError: ")) from error
    except Exception as error:
        stop_where_full(error)
        (folder / TRACEBACK).write_text(traceback.format_exc(), encoding="utf-8")
        return Evaluation(candidate, "failed", error=reason_of(error)[:2000], seconds=time.monotonic() - started)


def _measured(
    candidate: Candidate,
    data: DetectionData,
    training: DetectionTraining,
    folder: Path,
    started: float,
    start: TrainingStart,
) -> Evaluation:
    """Trains with the recipe's batches, or with two halves a step if they do not fit the memory."""
    torch.set_num_threads(training.threads)
    _forget_peak_memory()
    facts: dict[str, Any] = {"host": socket.gethostname(), "torch": torch.__version__, "training": candidate.training}
    try:
        found = _trained(candidate, data, training, folder, accumulated=1, facts=facts, start=start)
    except Exception as error:
        if not out_of_memory(error):
            raise
        if training.batch_size < 2:
            raise MemoryError(f"one image a step does not fit the memory: {reason_of(error)}") from error
        message = reason_of(error)
        found = None
    if found is None:  # outside the handler, which would keep the first attempt's memory allocated
        gc.collect()
        halves = folder / HALVED_FOLDER
        halves.mkdir(exist_ok=True)
        facts["halved_batch"] = message[:300]
        try:
            found = _trained(candidate, data, training, halves, accumulated=2, facts=facts, start=start)
        except Exception as error:
            if not out_of_memory(error):
                raise
            raise MemoryError(f"half of a step's images do not fit the memory either: {reason_of(error)}") from error
    facts |= {"parameters": found.parameters, "peak_memory_mib": _peak_memory()}
    seconds, known = time.monotonic() - started, Facts.from_dict(facts)
    return Evaluation(candidate, "done", found.metrics, seconds=seconds, history=found.history, facts=known)


def _trained(
    candidate: Candidate,
    data: DetectionData,
    training: DetectionTraining,
    folder: Path,
    accumulated: int,
    facts: dict[str, Any],
    start: TrainingStart,
) -> "Measurement":
    from piip_workers.tasks.detection.images import unreadable_images
    from piip_workers.tasks.detection.proxy_training import train, usable_images

    fidelity, unreadable = candidate.fidelity, folder / "unreadable.txt"
    name, paths, settings = _network(candidate, data, training, accumulated, start.files)
    available = usable_images(settings(ProxyImages(1)))
    if not available:
        raise DataError(f"no training image in {paths.train.annotations} holds an object")
    used = max(1, round(available * fidelity.data_fraction))
    chosen = data_sets.chosen(available, used, candidate.seed)
    val = data_sets.measured_images(paths.val, training.val_images)
    (folder / TRAINED).write_text(name, encoding="utf-8")
    facts |= {"trained": name, "images": used, "accumulated": accumulated, **folder_facts(folder)}
    begin = start.begin if candidate.parent is None else _inheritance(candidate, folder)
    config = settings(ProxyImages(used, chosen, val, unreadable, torch.cuda.is_available()))
    if "num_queries" in config["model"]:
        facts["queries"] = config["model"]["num_queries"]
    found = train(config, folder, candidate.seed, fidelity.epochs, begin, kept=training.inherit)
    if candidate.parent is not None:
        facts |= {"inherited_from": candidate.parent, "inherited": (folder / INHERITED).read_text(encoding="utf-8")}
    skipped = unreadable_images(unreadable)
    if skipped:
        facts |= {"unreadable_images": len(skipped), "unreadable": skipped[:MOST_UNREADABLE]}
    return found


def _network(
    candidate: Candidate,
    data: DetectionData,
    training: DetectionTraining,
    accumulated: int,
    files: Mapping[str, str],
) -> tuple[str, CocoPaths, Callable[[ProxyImages], dict[str, Any]]]:
    """The name of the trained network, its data, and a function that gives its configuration for some images."""
    fidelity, design = candidate.fidelity, candidate.design
    if isinstance(design, StockNetwork):
        from piip_workers.tasks.detection.stock import stock_detector_of

        detector, side = stock_detector_of(design.config, files), stock_side(design.side, fidelity.image_scale)
        paths = data_sets.prepare(data, detector.masks)

        def stock_settings(images: ProxyImages) -> dict[str, Any]:
            return stock_config(
                detector,
                side,
                paths,
                training,
                fidelity=fidelity,
                images=images,
                seed=candidate.seed,
                accumulated=accumulated,
            )

        return replace(design, side=side).name, paths, stock_settings
    from piip_workers.tasks.detection.detectors import detector_config_of

    trained, detector_config = candidate.architecture.scaled(fidelity.image_scale), detector_config_of(training)
    paths = data_sets.prepare(data, detector_config.masks)

    def settings(images: ProxyImages) -> dict[str, Any]:
        return proxy_config(
            trained,
            paths,
            training,
            fidelity=fidelity,
            images=images,
            seed=candidate.seed,
            detector_config=detector_config,
            accumulated=accumulated,
        )

    return trained.name, paths, settings


def _inheritance(candidate: Candidate, folder: Path) -> Callable[[nn.Module], None]:
    """Returns a function that loads the weights of the relative into a detector, after the candidate's epochs.

    Raises:
        FileNotFoundError: The weights are missing.
    """
    from mmengine.runner import CheckpointLoader

    from piip_search.models.weights.inherit import inherit
    from piip_workers.tasks.detection.proxy_training import last_whole_checkpoint, weights_file

    training, _, epochs = str(candidate.parent).partition("@")
    relative = (folder.parent if folder.name == HALVED_FOLDER else folder).parent / training
    places = (relative / HALVED_FOLDER, relative)
    if epochs:
        found = [weights_file(place, int(epochs)) for place in places]
    else:
        found = [last_whole_checkpoint(place, sys.maxsize) or place for place in places]
    checkpoint = next((path for path in found if path.is_file()), None)
    if checkpoint is None:
        raise FileNotFoundError(
            f"no weights of the relative in {relative}; bring that folder back, or begin another run with "
            "training.inherit: false"
        )
    parent = Architecture.parse((checkpoint.parent / TRAINED).read_text(encoding="utf-8"))
    trained = candidate.architecture.scaled(candidate.fidelity.image_scale)

    def begin(detector: nn.Module) -> None:
        try:
            state = CheckpointLoader.load_checkpoint(str(checkpoint), map_location="cpu")["state_dict"]
        except Exception as error:  # a broken or hostile file raises anything, also a MemoryError
            reason = f"{type(error).__name__}: {error}"
            raise WeightsError(f"{checkpoint} cannot be read ({reason}); bring the relative's weights back") from None
        (folder / INHERITED).write_text(str(inherit(detector, trained, state, parent)), encoding="utf-8")

    return begin


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: of a GPU, or of the machine in this process or in a loader process."""
    said = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return said or any(text in str(error) for text in MEMORY_TEXTS)


def _forget_peak_memory() -> None:
    """Resets the peak memory: a process measures many candidates."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return
    with suppress(OSError):  # without this permission the peak is that of the whole process
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def _peak_memory() -> int:
    """Peak memory since the last reset in MiB: of the GPU if one is used, else of the machine."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated() // 2**20)
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
