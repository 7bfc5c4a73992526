"""What a search found, as values to look at and to go on with."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from piip_search.api.runs import History, history_of
from piip_search.api.stores import named_ledger, open_ledger
from piip_search.architecture import Architecture
from piip_search.config import SearchSpec
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import Objectives, finished
from piip_search.evaluation.selection import choose, chosen


class RunLike(Protocol):
    """A search that runs, or that a ledger holds."""

    @property
    def spec(self) -> SearchSpec:
        """What was searched."""
        ...

    @property
    def objectives(self) -> Objectives:
        """What is traded off."""
        ...

    @property
    def evaluations(self) -> Sequence[Evaluation]:
        """All that was measured."""
        ...


@dataclass(frozen=True)
class FrontMemberResult:
    """A design with its result.

    Attributes:
        design: Its short form.
        value: Of the searched metric.
        cost: In the unit of the limit: GMACs, or that of a table.
        trial: Number of its evaluation.
        evaluation: All that is known of it.
    """

    design: str
    value: float
    cost: float
    trial: int
    evaluation: Evaluation

    @property
    def architecture(self) -> Architecture:
        """The design itself."""
        return self.evaluation.candidate.architecture

    def __repr__(self) -> str:
        return f"{self.design}: {self.value:.4f} at {self.cost:.4g}"


def read_run(
    name: str, *, ledger: str | os.PathLike[str] | None = None, home: str | os.PathLike[str] = "runs"
) -> History:
    """Reads a run from a ledger.

    Args:
        name: Of the run.
        ledger: A file, or the URL of a database; `ledger.db` in the home by default.
        home: Folder of the ledger.

    Raises:
        LedgerError: The ledger cannot be opened, or holds no such run.
    """
    return history_of(open_ledger(named_ledger(ledger, Path(home)), reading=True), name)


def front(run: RunLike) -> tuple[FrontMemberResult, ...]:
    """The Pareto front of a run, from the cheapest design to the best.

    Args:
        run: A search (`run`) or a run of a ledger (`read_run`).

    Raises:
        ChoiceError: Nothing was measured to the end yet.
    """
    return tuple(_result(run, evaluation) for evaluation in chosen(_finished(run), run.objectives, "all"))


def best(run: RunLike, choice: str = "best") -> FrontMemberResult:
    """One design of a run.

    Args:
        run: A search (`run`) or a run of a ledger (`read_run`).
        choice: `best`, `<=250G` for the best within that cost, `knee`, a trial's number, or digits of a fingerprint.

    Raises:
        ChoiceError: No design, or more than one, is meant by it.
    """
    text = f"best{choice}" if choice.startswith("<=") else choice
    return _result(run, choose(_finished(run), run.objectives, text))


def _finished(run: RunLike) -> list[Evaluation]:
    return finished(run.evaluations, run.spec.rungs[-1])


def _result(run: RunLike, evaluation: Evaluation) -> FrontMemberResult:
    candidate = evaluation.candidate
    value = run.objectives.value(evaluation)
    assert value is not None, "a chosen evaluation was measured"
    return FrontMemberResult(
        candidate.architecture.name, value, run.objectives.cost(evaluation).gmacs, candidate.number, evaluation
    )
