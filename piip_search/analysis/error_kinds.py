"""Errors by kind: those that differ in numbers alone are one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from piip_search.evaluation.evaluation import Candidate, Evaluation

TRACEBACK = "error.txt"
"""In a training's folder: where its error was raised."""


@dataclass(frozen=True)
class Kind:
    """Errors of one kind.

    Attributes:
        error: The first of them.
        trials: Numbers of the candidates that ended with it.
        example: The candidate of the first.
    """

    error: str
    trials: tuple[int, ...]
    example: Candidate

    @property
    def count(self) -> int:
        """How many."""
        return len(self.trials)

    def folder(self, trials: Path) -> Path | None:
        """The folder of a training that ended with it: log, traceback and configuration; None where it is not here.

        Args:
            trials: The folder of all trainings.
        """
        folders = [trials / one.training for one in self.example.single]
        traced = (folder for folder in folders if (folder / TRACEBACK).is_file())
        return next(traced, next((folder for folder in folders if folder.is_dir()), None))


def kind_of(error: str) -> str:
    """What errors of a kind share."""
    return re.sub(r"\d+(\.\d+)?", "#", error)


def kinds(failed: Sequence[Evaluation]) -> tuple[Kind, ...]:
    """All kinds of errors, the commonest first."""
    groups: dict[str, list[Evaluation]] = {}
    for evaluation in failed:
        groups.setdefault(kind_of(evaluation.error), []).append(evaluation)
    found = [
        Kind(several[0].error, tuple(one.candidate.number for one in several), several[0].candidate)
        for several in groups.values()
    ]
    return tuple(sorted(found, key=lambda kind: -kind.count))
