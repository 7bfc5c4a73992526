"""Measures a candidate of the detection task: builds it, trains the proxy, returns the evaluation."""

import fcntl
import resource
import socket
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from piip_search.evaluation import Candidate, Evaluation
from piip_search.export.mmdet_config import proxy_config
from piip_search.spec import Data, Training
from piip_workers import data as data_sets

LONGEST_WAIT = 60.0
"""Seconds to wait for an earlier attempt's process to end."""


def measure(candidate: Candidate, data: Mapping[str, Any], training: Mapping[str, Any], directory: str) -> Evaluation:
    """Trains a candidate's proxy and measures COCO's averages.

    Args:
        candidate: What to measure.
        data: `spec.Data` as plain data.
        training: `spec.Training` as plain data.
        directory: Folder of all trials; this one gets a folder of its own, where a later attempt goes on.

    Returns:
        The evaluation; one that failed says why, and its folder holds the traceback.
    """
    started = time.monotonic()
    folder = Path(directory) / f"{candidate.number:04d}-{candidate.architecture.fingerprint}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _alone(folder):
            return _measured(candidate, Data.model_validate(data), Training.model_validate(training), folder, started)
    except Exception as error:
        (folder / "error.txt").write_text(traceback.format_exc())
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return Evaluation(candidate, "failed", error=text[:2000], seconds=time.monotonic() - started)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps a second process out of the folder: a worker may outlive the search that started it by some seconds.

    Raises:
        TimeoutError: The other one did not end.
    """
    with (folder / "lock").open("w") as file:
        deadline = time.monotonic() + LONGEST_WAIT
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"another process trains in {folder}; end it and run the search again") from None
                time.sleep(0.5)
        yield


def _measured(candidate: Candidate, data: Data, training: Training, folder: Path, started: float) -> Evaluation:
    from piip_workers.training import train, usable_images

    torch.set_num_threads(training.threads)
    fidelity, trained = candidate.fidelity, candidate.architecture.scaled(candidate.fidelity.image_scale)
    paths = data_sets.prepare(data)

    def settings(images: int) -> dict[str, Any]:
        return proxy_config(trained, paths, training, epochs=fidelity.epochs, images=images, seed=candidate.seed)

    available = usable_images(settings(1))
    if not available:
        raise ValueError(f"no training image in {paths.train.annotations} holds an object")
    used = max(1, round(available * fidelity.data_fraction))
    config = settings(used)
    if used < available:
        chosen = np.random.RandomState(candidate.seed).permutation(available)[:used]
        config["train_dataloader"]["dataset"]["indices"] = sorted(int(index) for index in chosen)
    found = train(config, folder, candidate.seed, fidelity.epochs)
    facts = {
        "host": socket.gethostname(),
        "trained": trained.name,
        "images": used,
        "parameters": found.parameters,
        "torch": torch.__version__,
        "peak_memory_mib": _peak_memory(),
    }
    seconds = time.monotonic() - started
    return Evaluation(candidate, "done", found.metrics, seconds=seconds, history=found.history, facts=facts)


def _peak_memory() -> int:
    """Most memory this process held, MiB: of the GPU where one is used, else of the machine."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated() // 2**20)
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
