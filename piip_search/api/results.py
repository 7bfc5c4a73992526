"""The results of a search as Python values."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from piip_search.api.export import DesignExport, ExportOptions, export_designs
from piip_search.api.notices import Notify, ignore
from piip_search.api.report import form_of, report_run
from piip_search.api.runs import history_of
from piip_search.api.stores import named_ledger, open_ledger
from piip_search.architecture import Architecture
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import Objectives
from piip_search.search.history import RunHistory


class RunLike(Protocol):
    """A running search, or a run in a ledger."""

    @property
    def objectives(self) -> Objectives:
        """Objectives of the search."""
        ...

    def choose(self, choice: str) -> tuple[Evaluation, ...]:
        """The designs of a user's choice."""
        ...


@dataclass(frozen=True)
class FrontMemberResult:
    """A design with its result.

    Attributes:
        design: Short form.
        value: Value of the metric.
        cost: Cost on the axis of the tiers.
        trial: Number of the evaluation.
        evaluation: The full evaluation.
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
) -> RunHistory:
    """Reads a run from a ledger.

    Args:
        name: Name of the run.
        ledger: A file, or the URL of a database; `ledger.db` in the home by default.
        home: Folder of the ledger.

    Raises:
        LedgerError: The ledger cannot be opened, or has no such run.
    """
    return history_of(open_ledger(named_ledger(ledger, Path(home)), reading=True), name)


def front(run: RunLike) -> tuple[FrontMemberResult, ...]:
    """The Pareto front of a run, from the cheapest design to the best.

    Args:
        run: A search (`run`) or a run of a ledger (`read_run`).

    Raises:
        ChoiceError: No full training has finished yet.
    """
    return tuple(_result(run, evaluation) for evaluation in run.choose("all"))


def best(run: RunLike, choice: str = "best") -> FrontMemberResult:
    """One design of a run.

    Args:
        run: A search (`run`) or a run of a ledger (`read_run`).
        choice: `best`, `<=250G` for the best within that cost, `knee`, a trial's number, or digits of a fingerprint.

    Raises:
        ChoiceError: The choice fits no design, or more than one.
    """
    (evaluation,) = run.choose(_choice(choice))
    return _result(run, evaluation)


def _result(run: RunLike, evaluation: Evaluation) -> FrontMemberResult:
    candidate = evaluation.candidate
    value = run.objectives.value(evaluation)
    assert value is not None, "a chosen evaluation has a value"
    return FrontMemberResult(
        candidate.design.name, value, run.objectives.cost(evaluation), candidate.number, evaluation
    )


def export_design(
    run: str,
    choice: str,
    out: str | os.PathLike[str],
    *,
    ledger: str | os.PathLike[str] | None = None,
    home: str | os.PathLike[str] = "runs",
    formats: Sequence[str] = (),
    proof: bool = True,
    notify: Notify = ignore,
) -> DesignExport:
    """Writes a design of a run as a training configuration, and tests the written files.

    Args:
        run: Name of the run.
        choice: As for `best`.
        out: Folder of the design.
        ledger: A file, or the URL of a database; `ledger.db` in the home by default.
        home: Home folder with the checkpoints of the run.
        formats: Formats to write: that of the task's own training by default; `torch`; `onnx`.
        proof: Whether the export tests the written files.
        notify: Called with notes about the design.

    Returns:
        The folder and its checks; a failed check raises no error.

    Raises:
        LedgerError: The ledger has no such run.
        ChoiceError: The choice fits no design, or more than one.
        ExportError: The folder cannot take the design.
        UserError: Data or weights are missing, or an extra is not installed.
    """
    opened = open_ledger(named_ledger(ledger, Path(home)), reading=True)
    options = ExportOptions(tuple(formats), proof=proof, register=False)
    (written,) = export_designs(opened, run, _choice(choice), Path(out), Path(home), options, notify)
    return written


def write_report(
    run: str,
    file: str | os.PathLike[str],
    *,
    ledger: str | os.PathLike[str] | None = None,
    home: str | os.PathLike[str] = "runs",
) -> Path:
    """Writes a run as one document.

    Args:
        run: Name of the run.
        file: File that ends in `.html`, `.md` or `.pdf`.
        ledger: A file, or the URL of a database; `ledger.db` in the home by default.
        home: Folder of the ledger.

    Raises:
        LedgerError: The ledger has no such run.
        UserError: The file has another ending, an extra is not installed, or no browser can print.
    """
    opened = open_ledger(named_ledger(ledger, Path(home)), reading=True)
    report_run(opened, run, Path(file), form_of(Path(file)))
    return Path(file)


def _choice(text: str) -> str:
    return f"best{text}" if text.startswith("<=") else text
