"""Prepares an evaluator on a Ray cluster: in one task, on a machine with room for it, or in several processes."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import ray

from piip_search.secret_file import load_secrets
from piip_workers.evaluators.evaluator import Report
from piip_workers.evaluators.preparation import GO_ON, Charge, PreparationJob, PreparationState, failed, prepare
from piip_workers.jobs.job import reason_of
from piip_workers.runners.ray_board import Board
from piip_workers.runners.ray_cluster import head_answers
from piip_workers.runners.ray_driver import GONE

LONGEST_GOODBYE = 20.0
"""Seconds that the processes of an interrupted preparation have to end."""
POLL_SECONDS_OF_REPORTS = 1.0
"""Seconds between two queries of a preparation."""


def run(
    job: PreparationJob, need: Mapping[str, float], retries: int, report: Report, processes: int = 1
) -> PreparationState:
    """Prepares in a task of the cluster; `ray_cluster.connect` must have been called.

    The task goes on where it stopped if its process or node dies.

    Args:
        job: What to prepare.
        need: Resources of each process by Ray's names.
        retries: Restarts after the death of its process or node.
        report: Takes the progress.
        processes: Processes that prepare together, each with these resources.

    Returns:
        The state, `done` or `failed`.
    """
    board: Any = ray.remote(num_cpus=0, max_restarts=-1)(Board).remote()
    told = json.dumps(job.to_dict())
    if processes > 1:
        options = {"num_cpus": 0, "max_retries": retries}
        task = ray.remote(_prepared_by_several).options(**options).remote(told, board, processes, dict(need), retries)
    else:
        task = ray.remote(_prepared).options(**_places(need), max_retries=retries).remote(told, board)
    try:
        return _followed(task, board, report)
    except (ConnectionError, ray.exceptions.RayError) as error:
        reason = reason_of(getattr(error, "cause", None) or error)[:300]
        why = f"Ray gave up after {retries + 1} attempts ({reason}); {GO_ON}" if head_answers() else GONE
        return PreparationState("", state="failed", error=why)
    except BaseException:  # an interruption must not leave the task behind
        if processes > 1:  # it gives back the places of its processes, which takes a moment
            ray.cancel(task, force=False)
            ray.wait([task], timeout=LONGEST_GOODBYE)
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


def _places(need: Mapping[str, float]) -> dict[str, Any]:
    """Resources by the names of a task's options."""
    custom = {name: amount for name, amount in need.items() if name not in ("CPU", "GPU")}
    return {"num_cpus": need.get("CPU", 0), "num_gpus": need.get("GPU", 0), "resources": custom}


def _prepared(job: str, board: Any) -> str:
    """Prepares in a process of the cluster."""

    def report(share: float, text: str) -> None:
        board.put.remote(share, text)

    load_secrets()
    return json.dumps(PreparationJob(**json.loads(job))(report).to_dict())


def _prepared_by_several(job: str, board: Any, processes: int, need: dict[str, float], retries: int) -> str:
    """Starts the processes, and keeps the state of what they prepare."""
    from piip_workers.runners.ray_train import JointPreparation  # imports Ray Train and torch

    def report(share: float, text: str) -> None:
        board.put.remote(share, text)

    load_secrets()
    asked = PreparationJob(**json.loads(job))
    try:
        joint = JointPreparation(asked.built(), asked.to_dict(), processes, need, retries)
    except Exception as error:
        return json.dumps(failed(error).to_dict())
    state = prepare(joint, asked.search, report, Charge(processes, lambda: joint.waited))
    return json.dumps(state.to_dict())
