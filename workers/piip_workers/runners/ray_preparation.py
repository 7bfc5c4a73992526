"""Prepares an evaluator on a Ray cluster: one task, on a machine with room for it."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import ray

from piip_search.secret_file import load_secrets
from piip_workers.evaluators.evaluator import Report
from piip_workers.evaluators.preparation import GO_ON, PreparationJob, PreparationState
from piip_workers.jobs.job import reason_of
from piip_workers.runners.ray_cluster import head_answers
from piip_workers.runners.ray_driver import GONE

POLL_SECONDS_OF_REPORTS = 1.0
"""Seconds between two queries of a preparation."""


class _Board:
    """An actor that keeps a task's last report until it is read."""

    def __init__(self) -> None:
        self._last: tuple[float, str] | None = None

    def put(self, share: float, text: str) -> None:
        """Keeps a report."""
        self._last = share, text

    def take(self) -> tuple[float, str] | None:
        """The last report, once."""
        last, self._last = self._last, None
        return last


def run(job: PreparationJob, need: Mapping[str, float], retries: int, report: Report) -> PreparationState:
    """Prepares in a task of the cluster; `ray_cluster.connect` must have been called.

    The task goes on where it stopped if its process or node dies.

    Args:
        job: What to prepare.
        need: Resources of the task by Ray's names.
        retries: Restarts after the death of its process or node.
        report: Takes the progress.

    Returns:
        The state, `done` or `failed`.
    """
    board: Any = ray.remote(num_cpus=0, max_restarts=-1)(_Board).remote()
    custom = {name: amount for name, amount in need.items() if name not in ("CPU", "GPU")}
    place = {"num_cpus": need.get("CPU", 0), "num_gpus": need.get("GPU", 0), "resources": custom}
    task = ray.remote(_prepared).options(**place, max_retries=retries).remote(json.dumps(job.to_dict()), board)
    try:
        return _followed(task, board, report)
    except (ConnectionError, ray.exceptions.RayError) as error:
        reason = reason_of(getattr(error, "cause", None) or error)[:300]
        why = f"Ray gave up after {retries + 1} attempts ({reason}); {GO_ON}" if head_answers() else GONE
        return PreparationState("", state="failed", error=why)
    except BaseException:  # an interruption must not leave the task behind
        ray.cancel(task, force=True)
        raise


def _followed(task: Any, board: Any, report: Report) -> PreparationState:
    while not ray.wait([task], timeout=POLL_SECONDS_OF_REPORTS)[0]:
        last = None
        with suppress(ray.exceptions.RayActorError):  # the board may go with its node, and the task goes on
            last = ray.get(board.take.remote())
        if last is not None:
            report(*last)
    return PreparationState(**json.loads(ray.get(task)))


def _prepared(job: str, board: Any) -> str:
    """Prepares in a process of the cluster."""

    def report(share: float, text: str) -> None:
        board.put.remote(share, text)

    load_secrets()
    return json.dumps(PreparationJob(**json.loads(job))(report).to_dict())
