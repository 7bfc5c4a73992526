"""The evaluator of a search: its measurement as plain data, and its preparation before the first candidate."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piip_search.api.notices import Notify
from piip_search.api.runners import Drive, Place, placement_of
from piip_search.config import SearchSpec
from piip_search.errors import PreparationError

if TYPE_CHECKING:  # these import the database and Ray, which a message need not wait for
    from piip_search.ledger import PreparationRecord
    from piip_search.search.search import Search
    from piip_workers.evaluators.evaluator import Report
    from piip_workers.evaluators.preparation import PreparationState
    from piip_workers.jobs.job import Work

PREPARED_FOLDER = "prepared"
"""Folder of all preparations in a home folder, each in a subfolder named by its fingerprint."""
PROGRESS_SECONDS = 10.0
"""Least seconds between two notes about a preparation."""


@dataclass(frozen=True)
class Preparation:
    """What has to be prepared before the first candidate of a search.

    Attributes:
        kind: Kind of the evaluator.
        digest: Fingerprint of what is prepared.
        gpus: GPUs of each of its processes.
        run: Prepares at the place of the search, and goes on with an interrupted preparation.
    """

    kind: str
    digest: str
    gpus: float
    run: "Callable[[Report], PreparationState]"


def evaluator_of(
    spec: SearchSpec, measure: "Work", search: "Search", data: str, home: Path, on: Place
) -> "tuple[Work, Preparation | None]":
    """The measurement by a search's evaluator, and what it prepares; None for an evaluator that prepares nothing.

    Args:
        spec: Search.
        measure: The task's measurement of a design, on which an evaluator builds.
        search: The opened search.
        data: Fingerprint of the data.
        home: Home folder, in which preparations are shared by searches.
        on: Place of the search.
    """
    from piip_workers.evaluators import EVALUATORS

    kind, digest = spec.evaluator.kind, spec.preparation(data)
    settings: dict[str, Any] = {"measure": {"function": measure.function, "settings": dict(measure.settings)}}
    if digest is not None:
        settings |= _of_a_preparation(spec, digest, home)
    asked = {"evaluator": EVALUATORS[kind], "settings": settings}
    work = replace(measure, function="piip_workers.evaluators.preparation:evaluate", settings=asked)
    if digest is None:
        return work, None
    gpus = _gpus(spec)
    return work, Preparation(kind, digest, gpus, _preparing(asked, spec, search, gpus, on))


def _of_a_preparation(spec: SearchSpec, digest: str, home: Path) -> dict[str, Any]:
    """The settings of an evaluator that prepares something, besides the task's measurement."""
    return {
        "folder": str(home.resolve() / PREPARED_FOLDER / digest),
        "fingerprint": digest,
        "section": spec.evaluator.model_dump(mode="json"),
        "search": spec.model_dump(mode="json", include=spec.evaluator.included()),
    }


def _preparing(
    asked: Mapping[str, Any], spec: SearchSpec, search: "Search", gpus: float, on: Place
) -> "Callable[[Report], PreparationState]":
    """A function that prepares at the place of the search."""
    from piip_workers.evaluators.preparation import PreparationJob

    job = PreparationJob(asked["evaluator"], asked["settings"], search.uid)
    if on is Place.LOCAL:
        return job

    def prepare_on_ray(report: "Report") -> "PreparationState":
        from piip_workers.runners import ray_preparation
        from piip_workers.runners.ray_cluster import rooms

        placement = placement_of(spec)
        need, asked = placement.need(gpus), spec.evaluator.preparing_processes
        processes = asked
        if placement.at_once is None:  # the cluster does not grow
            processes = max(n for n in range(1, asked + 1) if asked % n == 0 and n <= max(1, rooms(need)))
        if processes < asked:
            report(0.0, f"the cluster has room for {processes} of {asked} processes")
        return ray_preparation.run(job, need, placement.retries, report, processes)

    return prepare_on_ray


def own_preparation(evaluate: object, search: "Search") -> Preparation | None:
    """What a custom evaluator prepares in this process; None for a function."""
    from piip_workers.evaluators import preparation
    from piip_workers.evaluators.evaluator import PreparingEvaluator

    if not isinstance(evaluate, PreparingEvaluator):
        return None
    digest = hashlib.sha256(evaluate.fingerprint.encode()).hexdigest()[:16]
    kind = type(evaluate).__qualname__[:100]
    return Preparation(kind, digest, _gpus(search.spec), partial(preparation.prepare, evaluate, search.uid))


def prepare(search: "Search", preparation: Preparation | None, notify: Notify) -> None:
    """Prepares a search's evaluator, unless that is done or nothing is left to measure.

    Args:
        search: Search, which records the steps in its ledger.
        preparation: What has to be prepared; None for nothing.
        notify: Called with the progress.

    Raises:
        PreparationError: It failed; what was measured and prepared is kept.
        LedgerError: The ledger is unreachable for too long.
    """
    from piip_search.ledger import PreparationRecord

    if preparation is None or search.ending:
        return
    steps = [step for step in search.preparations if step.digest == preparation.digest]
    if not steps or steps[-1].state != "done":
        search.note_preparation(PreparationRecord(preparation.kind, preparation.digest, "running"))
    state = preparation.run(_shown(preparation.kind, notify))
    if not any(step.state == "done" and step.uid == state.uid for step in steps):
        search.note_preparation(_outcome(preparation, state, search.uid, steps))
    if state.state != "done":
        search.finish()
        raise PreparationError(f"the evaluator {preparation.kind} was not prepared: {state.error}")


def _outcome(
    preparation: Preparation, state: "PreparationState", search: str, steps: "Sequence[PreparationRecord]"
) -> "PreparationRecord":
    """The end of a preparation; it charges the search for what its processes spent since the last end."""
    from piip_search.ledger import PreparationRecord

    charged = sum(step.seconds for step in steps if step.uid == state.uid)
    seconds = max(0.0, state.seconds.get(search, 0.0) - charged)
    return PreparationRecord(
        preparation.kind,
        preparation.digest,
        "done" if state.state == "done" else "failed",
        state.uid,
        state.error,
        seconds,
        seconds * preparation.gpus,
        state.facts,
    )


def prepared_first(drive: Drive, preparation: Preparation | None, notify: Notify) -> Drive:
    """A function that prepares the evaluator, and then runs the search."""

    def drive_prepared(search: "Search", measure: "Work", on_change: Callable[[], None]) -> None:
        prepare(search, preparation, notify)
        drive(search, measure, on_change)

    return drive_prepared


def _gpus(spec: SearchSpec) -> float:
    """GPUs of a preparation: at least one where trials use a share, as it may be larger than a trial."""
    gpu = spec.resources.gpu
    return 1.0 if gpu == "auto" else max(1.0, gpu) if gpu else 0.0


def _shown(kind: str, notify: Notify) -> "Report":
    """Passes on the first and the last report, and one now and then between them."""
    last = float("-inf")

    def report(share: float, text: str) -> None:
        nonlocal last
        now = time.monotonic()
        if share >= 1 or now - last >= PROGRESS_SECONDS:
            last = now
            notify(f"preparing {kind}: {share:.0%}{f', {text}' if text else ''}")

    return report
