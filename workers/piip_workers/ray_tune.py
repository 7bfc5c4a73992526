"""Runs a search on a Ray cluster, or on this machine as a cluster of one.

Ray Tune decides where and when; the search decides what. They meet in a `Searcher` that passes proposals on and
evaluations back. Each trial of Tune is one evaluation, in an actor that is used again for the next.
"""

import json
import logging
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from piip_search.evaluation import Candidate, Evaluation
from piip_search.search import Search
from piip_workers.work import MachineError, Work

RETRIES = 3
"""How often a trial is started again after its process died; it continues from its checkpoint."""


class _Trial(tune.Trainable):
    """One evaluation in a process of its own."""

    def setup(self, config: dict[str, Any]) -> None:
        self._assignment = config

    def step(self) -> dict[str, Any]:
        work = Work(**json.loads(self._assignment["work"]))
        try:
            evaluation = work(Candidate.from_dict(json.loads(self._assignment["candidate"])))
        except MachineError as halt:
            return {"halt": str(halt), "done": True}
        # As text: Tune flattens nested results and prints them into file names.
        return {"evaluation": json.dumps(evaluation.to_dict()), "done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._assignment = new_config
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: the training writes its own checkpoints where the next attempt finds them."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: see `save_checkpoint`."""


class _Proposals(Searcher):
    """Passes proposals to Tune and evaluations to the search."""

    def __init__(self, search: Search, work: Work, changed: Callable[[], None], retries: int) -> None:
        super().__init__()
        self._search: Search | None = search
        self._work = work
        self._changed = changed
        self._retries = retries
        self._candidates: dict[str, Candidate] = {}

    def suggest(self, trial_id: str) -> Any:
        candidate = self._open.propose()
        self._changed()
        if candidate is None:
            # What runs may bring about who goes on to the next rung: Tune asks again.
            return None if self._open.running else Searcher.FINISHED
        self._candidates[trial_id] = candidate
        return {"candidate": json.dumps(candidate.to_dict()), "work": json.dumps(self._work.to_dict())}

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        candidate = self._candidates.pop(trial_id, None)
        if candidate is None:
            return
        answer, halt = (result or {}).get("evaluation"), (result or {}).get("halt")
        if halt is not None:
            self._open.halt(candidate, str(halt))
        elif answer is not None:
            self._open.accept(Evaluation.from_dict(json.loads(answer)))
        elif error and not _head_answers():
            # Every retry failed at once: no fault of the candidate's.
            self._open.halt(candidate, "Ray's head is gone; start the cluster again, and the same command goes on")
        elif error:
            reason = f"the worker process ended {self._retries + 1} times; its log names the cause (often memory)"
            self._open.accept(Evaluation(candidate, "failed", error=reason))
        # Neither: Tune was interrupted. The ledger knows the candidate as running, and the next sitting takes it up.
        self._changed()

    @property
    def _open(self) -> Search:
        if self._search is None:
            raise RuntimeError("a search is driven by the process that opened it; run it again to go on")
        return self._search

    # Tune keeps copies of its searcher on disk. The ledger is what a search goes on from, so they hold nothing.
    def __getstate__(self) -> dict[str, Any]:
        return {"_metric": None, "_mode": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _search=None, _candidates={})

    def save(self, checkpoint_path: str) -> None:
        """Nothing: see `__getstate__`."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `__getstate__`."""


def connect(address: str | None = None) -> None:
    """Joins the cluster at an address, or starts one on this machine that ends with this process.

    Raises:
        ConnectionError: No cluster answers there.
    """
    if not ray.is_initialized():
        # Without an address Ray would join whatever cluster this machine last had, and wait for one that was killed.
        ray.init(address=address or "local", include_dashboard=False if address is None else None, log_to_driver=False,
                 logging_level=logging.ERROR)  # fmt: skip


def run(
    search: Search,
    work: Work,
    directory: Path,
    changed: Callable[[], None] = lambda: None,
    cpu: float = 1.0,
    gpu: float = 0.0,
    retries: int = RETRIES,
) -> None:
    """Measures what the search proposes, as many candidates at a time as the cluster holds.

    Call `connect` first.

    Args:
        search: Proposes and accepts.
        work: Measures a candidate.
        directory: Where Tune keeps its state; on a cluster, storage that all nodes share.
        changed: Called whenever something began or ended.
        cpu: Logical CPUs of one trial.
        gpu: GPUs of one trial.
        retries: How often a trial is started again after its process, or its node, died.

    Raises:
        ValueError: The cluster cannot hold a single trial.
    """
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a failed trial is an evaluation, shown by us
    at_once = concurrency(cpu, gpu)
    tuner = tune.Tuner(
        tune.with_resources(_Trial, {"cpu": cpu, "gpu": gpu}),
        tune_config=tune.TuneConfig(
            search_alg=_Proposals(search, work, changed, retries),
            num_samples=-1,
            max_concurrent_trials=at_once,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name=search.run,
            storage_path=str(directory.resolve()),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=retries),
        ),
    )
    tuner.fit()
    search.finish()


def _head_answers() -> bool:
    """Whether the cluster's control service can be reached."""
    host, _, port = str(ray.get_runtime_context().gcs_address).rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
            return True
    except OSError:
        return False


def concurrency(cpu: float, gpu: float) -> int:
    """How many trials the cluster holds at once.

    Raises:
        ValueError: Not one.
    """
    total = _resources(ray.cluster_resources)
    rooms = [int(total.get(name, 0) // need) for name, need in (("CPU", cpu), ("GPU", gpu)) if need]
    if not min(rooms):
        raise ValueError(
            f"a trial needs {cpu:g} CPU and {gpu:g} GPU, the cluster has {total.get('CPU', 0):g} and "
            f"{total.get('GPU', 0):g}; lower resources in the space or add nodes"
        )
    return min(rooms)


def usage() -> str:
    """CPUs and GPUs in use, for people."""
    total, free = _resources(ray.cluster_resources), _resources(ray.available_resources)
    parts = [
        f"{total[name] - free.get(name, 0):g}/{total[name]:g} {name}" for name in ("CPU", "GPU") if total.get(name)
    ]
    return ", ".join(parts)


def _resources(ask: Callable[[], Any]) -> dict[str, float]:
    return dict(ask())
