"""Prepares an evaluator in several processes of a Ray cluster at once, joined by Ray Train as torch's default group."""

import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig, get_context
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError

from piip_search.errors import UserError
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.secret_file import load_secrets
from piip_workers.evaluators.evaluator import PreparingEvaluator, Report
from piip_workers.jobs.job import reason_of
from piip_workers.runners.ray_board import Board
from piip_workers.shared.group import is_lost

TRAIN_FOLDER = "ray_train"
"""Folder of Ray Train's own files in that of a preparation."""
LONGEST_SILENCE = 3600
"""Seconds after which a process gives the others up: decoding and building networks take long at the beginning."""


@dataclass(frozen=True)
class JointPreparation:
    """An evaluator that is prepared by several processes.

    Attributes:
        evaluator: The evaluator; its `prepare` runs in each process, and the first one writes into the folder.
        job: The preparation as plain data, from which each process builds the evaluator.
        processes: Number of processes.
        need: Resources of each by Ray's names.
        retries: Restarts of all after the death of one.
    """

    evaluator: PreparingEvaluator
    job: Mapping[str, Any]
    processes: int
    need: Mapping[str, float]
    retries: int

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
        board: Any = ray.remote(num_cpus=0)(Board).remote()
        try:
            for attempt in range(self.retries + 1):
                failure = self._trained(board, report)
                facts, errors = ray.get([board.facts.remote(), board.errors.remote()])
                if failure is None:
                    return dict(facts)
                if errors:
                    raise UserError(errors[min(errors)]) from failure
                report(0.0, f"a process was lost, attempt {attempt + 1} of {self.retries + 1}")
            raise UserError(f"processes were lost {self.retries + 1} times") from failure
        finally:
            shutil.rmtree(self.folder / TRAIN_FOLDER, ignore_errors=True)

    def _trained(self, board: Any, report: Report) -> TrainingFailedError | None:
        """Runs all processes once; returns what ended them too early."""
        trainer = TorchTrainer(
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
        outcome: list[TrainingFailedError | None] = []

        def fit() -> None:
            try:
                trainer.fit()
                outcome.append(None)
            except TrainingFailedError as error:
                outcome.append(error)

        thread = threading.Thread(target=fit)
        thread.start()
        while thread.is_alive():
            thread.join(timeout=1.0)
            if (last := ray.get(board.take.remote())) is not None:
                report(*last)
        return outcome[0]


def _member(settings: dict[str, Any]) -> None:
    """One of the processes."""
    from piip_workers.evaluators.preparation import PreparationJob

    load_secrets()
    board, rank = settings["board"], get_context().get_world_rank()

    def report(share: float, text: str) -> None:
        if not rank:
            board.put.remote(share, text)

    try:
        facts = PreparationJob(**settings["job"]).built().prepare(report)
    except Exception as error:
        if not is_lost(error):
            ray.get(board.fail.remote(rank, reason_of(error)))
        raise
    if not rank:
        ray.get(board.end.remote(dict(facts)))
