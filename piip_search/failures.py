"""Errors by kind: those that differ in numbers alone are one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from piip_search.evaluation import Evaluation


@dataclass(frozen=True)
class Kind:
    """Errors of one kind.

    Attributes:
        error: The first of them.
        trials: Numbers of the candidates that ended with it.
    """

    error: str
    trials: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many."""
        return len(self.trials)


def kind_of(error: str) -> str:
    """What errors of a kind share."""
    return re.sub(r"\d+(\.\d+)?", "#", error)


def kinds(failed: Sequence[Evaluation]) -> tuple[Kind, ...]:
    """All kinds of errors, the commonest first."""
    groups: dict[str, list[Evaluation]] = {}
    for evaluation in failed:
        groups.setdefault(kind_of(evaluation.error), []).append(evaluation)
    found = [Kind(several[0].error, tuple(one.candidate.number for one in several)) for several in groups.values()]
    return tuple(sorted(found, key=lambda kind: -kind.count))
