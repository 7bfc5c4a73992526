"""Groups errors by kind: errors that differ only in numbers are one kind."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from piip_search.evaluation.evaluation import Candidate, Evaluation

TRACEBACK = "error.txt"
"""File with the traceback of an error in a training's folder."""


@dataclass(frozen=True)
class Kind:
    """Errors of one kind.

    Attributes:
        error: Text of the first error.
        trials: Numbers of the candidates with an error of this kind.
        example: First such candidate.
    """

    error: str
    trials: tuple[int, ...]
    example: Candidate

    @property
    def count(self) -> int:
        """Number of errors."""
        return len(self.trials)

    def folder(self, trials: Path) -> Path | None:
        """The folder of a training with this error: log, traceback and configuration; None if it is not in this home.

        Args:
            trials: Folder of all trainings.
        """
        folders = [trials / one.training for one in self.example.per_seed]
        traced = (folder for folder in folders if (folder / TRACEBACK).is_file())
        return next(traced, next((folder for folder in folders if folder.is_dir()), None))


def kind_of(error: str) -> str:
    """The common text of errors of a kind."""
    return re.sub(r"\d+(\.\d+)?", "#", error)


def kinds(failed: Sequence[Evaluation]) -> tuple[Kind, ...]:
    """All kinds of errors, most frequent first."""
    groups: dict[str, list[Evaluation]] = {}
    for evaluation in failed:
        groups.setdefault(kind_of(evaluation.error), []).append(evaluation)
    found = [
        Kind(several[0].error, tuple(one.candidate.number for one in several), several[0].candidate)
        for several in groups.values()
    ]
    return tuple(sorted(found, key=lambda kind: -kind.count))
