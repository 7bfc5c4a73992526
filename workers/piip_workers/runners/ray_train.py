"""Prepares an evaluator in several processes of a Ray cluster at once, joined by Ray Train as torch's default group."""

import shutil
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig, get_context
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import WorkerGroupError

from piip_search.errors import UserError
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.secret_file import load_secrets
from piip_workers.evaluators.evaluator import PreparingEvaluator, Report
from piip_workers.jobs.job import reason_of
from piip_workers.runners.ray_board import Board
from piip_workers.shared.group import is_lost

TRAIN_FOLDER = "ray_train"
"""Folder of Ray Train's own files in that of a preparation."""
MOST_OF_A_REASON = 300
"""Most characters of a lost process's error."""
LONGEST_SILENCE = 3600
"""Seconds after which a process gives the others up: decoding and building networks take long at the beginning."""


class Waits:
    """Time that was spent with waiting."""

    def __init__(self) -> None:
        self._past, self._began = 0.0, 0.0

    @property
    def seconds(self) -> float:
        """All of it so far."""
        return self._past + (time.monotonic() - self._began if self._began else 0.0)

    def begin(self) -> None:
        """Begins to wait."""
        self._began = time.monotonic()

    def end(self) -> None:
        """Ends the wait, if there is one."""
        self._past, self._began = self.seconds, 0.0


@dataclass(frozen=True)
class JointPreparation:
    """An evaluator that is prepared by several processes.

    Attributes:
        evaluator: The evaluator; its `prepare` runs in each process, and the first one writes into the folder.
        job: The preparation as plain data, from which each process builds the evaluator.
        processes: Number of processes.
        need: Resources of each by Ray's names.
        retries: Restarts of all after the death of one.
        waits: Time in which none of them ran.
    """

    evaluator: PreparingEvaluator
    job: Mapping[str, Any]
    processes: int
    need: Mapping[str, float]
    retries: int
    waits: Waits = field(default_factory=Waits)

    @property
    def fingerprint(self) -> str:
        return self.evaluator.fingerprint

    @property
    def folder(self) -> Path:
        return self.evaluator.folder

    def evaluate(self, candidate: Candidate) -> Evaluation:
        return self.evaluator.evaluate(candidate)

    def prepare(self, report: Report) -> Mapping[str, Any]:
        """Prepares in all processes, and passes on the first one's reports.

        Raises:
            UserError: A process raised an error, or one was lost more often than it may be.
        """
        try:
            said = ""
            for attempt in range(self.retries + 1):
                board: Any = ray.remote(num_cpus=0, max_restarts=-1)(Board).remote()
                report(0.0, f"{said}waiting for room for {self.processes} processes")
                lost = self._trained(board, report)
                ended, facts, errors = ray.get(board.outcome.remote())
                if errors:
                    raise UserError(errors[min(errors)]) from lost
                if ended:
                    return dict(facts)
                reason = "no process said how it ended" if lost is None else reason_of(lost)[:MOST_OF_A_REASON]
                said = f"a process was lost, attempt {attempt + 1} of {self.retries + 1} ({reason}); "
            raise UserError(f"processes were lost {self.retries + 1} times ({reason})") from lost
        finally:
            shutil.rmtree(self.folder / TRAIN_FOLDER, ignore_errors=True)

    @property
    def waited(self) -> float:
        """Seconds in which no process ran: the cluster had no room, or they were starting."""
        return self.waits.seconds

    def _trained(self, board: Any, report: Report) -> Exception | None:
        """Runs all processes once; returns what ended them if one was lost.

        Ray Train runs in this thread, as it must be the main one: then an interruption ends its processes too, and
        gives their places back.
        """
        ended, problems = threading.Event(), list[Exception]()

        def watch() -> None:
            while not ended.wait(1.0):
                try:
                    with suppress(ray.exceptions.RayActorError):  # the board may go with its node, and begin again
                        last = ray.get(board.take.remote())
                        if last is not None:
                            self.waits.end()
                            report(*last)
                except Exception as error:  # a full disk; the processes meet it too
                    problems.append(error)
                    return

        self.waits.begin()
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            self._trainer(board).fit()
            return None
        except (WorkerGroupError, ray.exceptions.RayActorError) as error:
            return error
        finally:
            ended.set()
            watcher.join()
            self.waits.end()
            if problems:
                raise problems[0]

    def _trainer(self, board: Any) -> TorchTrainer:
        return TorchTrainer(
            _member,
            train_loop_config={"job": dict(self.job), "board": board},
            torch_config=TorchConfig(timeout_s=LONGEST_SILENCE),
            scaling_config=ScalingConfig(
                num_workers=self.processes, use_gpu=bool(self.need.get("GPU")), resources_per_worker=dict(self.need)
            ),
            run_config=RunConfig(
                name="preparation",
                storage_path=str(self.folder / TRAIN_FOLDER),
                failure_config=FailureConfig(max_failures=0),
            ),
        )


def _member(settings: dict[str, Any]) -> None:
    """One of the processes."""
    board, rank = settings["board"], get_context().get_world_rank()

    def report(share: float, text: str) -> None:
        if not rank:
            board.put.remote(share, text)

    try:
        from piip_workers.evaluators.preparation import PreparationJob

        report(0.0, "begins")
        load_secrets()
        facts = PreparationJob(**settings["job"]).built().prepare(report)
    except Exception as error:
        if not is_lost(error):
            ray.get(board.fail.remote(rank, reason_of(error)))
        raise
    if not rank:
        ray.get(board.end.remote(dict(facts)))
