"""The present status of a run in a ledger."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from piip_search.api.runs import health_of, history_of
from piip_search.evaluation.evaluation import Candidate, trials_folder
from piip_search.search.history import RunHistory

if TYPE_CHECKING:  # these import the database, which a message need not wait for
    from piip_search.analysis.health import Health
    from piip_search.ledger import Ledger, PreparationRecord


@dataclass(frozen=True)
class RunStatus:
    """The present status of a run.

    Attributes:
        run: Name of the run.
        history: Proposals and evaluations of the run.
        unfinished: Seconds since the proposal of each candidate without an evaluation.
        health: Results of the health checks; None without checks.
        trials: Folder of all trainings.
        is_audit: Whether the run is an audit of another one.
        preparations: Steps in which the evaluator was prepared; empty for one that prepares nothing.
    """

    run: str
    history: RunHistory
    unfinished: dict[Candidate, float]
    health: "Health | None"
    trials: Path
    is_audit: bool
    preparations: "tuple[PreparationRecord, ...]" = ()


def status_of(ledger: "Ledger", run: str, home: Path, examine: bool = True) -> RunStatus:
    """The present status of a run.

    An audit is no search, so that its health is not checked.

    Args:
        ledger: Ledger of the run.
        run: Name of the run.
        home: Home folder.
        examine: Whether to check the health of the run.

    Raises:
        LedgerError: The ledger has no such run.
        SpecError: This version cannot read the run's space.
    """
    history, unfinished, is_audit = history_of(ledger, run), ledger.unfinished(run), ledger.search(run).is_audit
    health = None
    if examine and not is_audit:
        health = health_of(history.spec, history.objectives, history.evaluations, unfinished)
    preparations = tuple(ledger.preparations(run))
    return RunStatus(run, history, unfinished, health, _trials(ledger, run, home), is_audit, preparations)


def _trials(ledger: "Ledger", run: str, home: Path) -> Path:
    """The folder of a run's trainings; an audit's are beside those of its search."""
    record = ledger.search(run)
    names = (other.name for other in ledger.searches() if record.is_audit and other.uid == record.audit_of)
    return trials_folder(home, next(names, run), record.recipe)
