"""Trains the proxies of a candidate, one for each seed, and puts their results together, whatever the task is."""

import gc
import resource
import socket
import statistics
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from piip_search.analysis.error_kinds import TRACEBACK
from piip_search.errors import MachineError
from piip_search.evaluation.evaluation import HALVED_FOLDER, Candidate, Evaluation
from piip_search.evaluation.facts import Facts
from piip_search.sections import TrainingSection
from piip_workers.jobs.job import alone, reason_of, stop_where_full

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


@dataclass(frozen=True)
class Measurement:
    """The result of a training.

    Attributes:
        metrics: Metrics by name.
        history: Number and mean loss of each epoch, and its metrics if they were measured.
        parameters: Parameters of the whole network.
    """

    metrics: dict[str, float]
    history: tuple[dict[str, float], ...]
    parameters: int


TrainOnce = Callable[[Candidate, Path, int, dict[str, Any]], Measurement]
"""Trains one seed of a candidate in a folder, in so many parts a step, and adds facts about it."""


def measure_seeds(candidate: Candidate, directory: Path, training: TrainingSection, train: TrainOnce) -> Evaluation:
    """Trains and measures a candidate once for each of its seeds.

    Args:
        candidate: Candidate to measure.
        directory: Folder of all trainings; each has a subfolder, where a later attempt resumes.
        training: Recipe.
        train: Trains one seed.

    Returns:
        The evaluation; a failed one has the error, and its folder has the traceback.

    Raises:
        MachineError: The machine is at fault.
    """
    found: list[Evaluation] = []
    for single in candidate.per_seed:
        found.append(_measured_once(single, directory, training, train))
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


def _measured_once(candidate: Candidate, directory: Path, training: TrainingSection, train: TrainOnce) -> Evaluation:
    started = time.monotonic()
    folder = directory / candidate.training
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with alone(folder / "lock"):
            return _measured(candidate, folder, training, train, started)
    except MachineError as error:
        raise MachineError(reason_of(error).removeprefix("MachineError: ")) from error
    except Exception as error:
        stop_where_full(error)
        (folder / TRACEBACK).write_text(traceback.format_exc(), encoding="utf-8")
        return Evaluation(candidate, "failed", error=reason_of(error)[:2000], seconds=time.monotonic() - started)


def _measured(
    candidate: Candidate, folder: Path, training: TrainingSection, train: TrainOnce, started: float
) -> Evaluation:
    """Trains with the recipe's batches, or with two halves a step if they do not fit the memory."""
    torch.set_num_threads(training.threads)
    _forget_peak_memory()
    facts: dict[str, Any] = {"host": socket.gethostname(), "torch": torch.__version__, "training": candidate.training}
    try:
        found = train(candidate, folder, 1, facts)
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
            found = train(candidate, halves, 2, facts)
        except Exception as error:
            if not out_of_memory(error):
                raise
            raise MemoryError(f"half of a step's images do not fit the memory either: {reason_of(error)}") from error
    facts |= {"parameters": found.parameters, "peak_memory_mib": _peak_memory()}
    seconds, known = time.monotonic() - started, Facts.from_dict(facts)
    return Evaluation(candidate, "done", found.metrics, seconds=seconds, history=found.history, facts=known)


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
