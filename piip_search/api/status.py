"""How a run of a ledger stands now."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from piip_search.api.runs import health_of, history_of
from piip_search.evaluation.evaluation import Candidate, trials_folder
from piip_search.search.history import RunHistory

if TYPE_CHECKING:  # they bring the database with them, for which a message need not wait
    from piip_search.analysis.health import Health
    from piip_search.ledger import Ledger


@dataclass(frozen=True)
class RunStatus:
    """How a run stands now.

    Attributes:
        run: Its name.
        history: What was proposed and measured.
        unfinished: Seconds since each candidate was proposed that has no evaluation.
        health: What the checks say; None where nothing was examined.
        trials: The folder of all trainings.
        is_audit: Whether it audits another run.
    """

    run: str
    history: RunHistory
    unfinished: dict[Candidate, float]
    health: "Health | None"
    trials: Path
    is_audit: bool


def status_of(ledger: "Ledger", run: str, home: Path, examine: bool = True) -> RunStatus:
    """How a run stands now.

    The designs of an audit were not searched for, so that nothing of it is examined.

    Args:
        ledger: The ledger of the run.
        run: Name of the run.
        home: The home folder.
        examine: Whether the health of the run is examined.

    Raises:
        LedgerError: The ledger has no such run.
        SpecError: The run's space cannot be read by this version.
    """
    history, unfinished, is_audit = history_of(ledger, run), ledger.unfinished(run), ledger.search(run).is_audit
    health = None
    if examine and not is_audit:
        health = health_of(history.spec, history.objectives, history.evaluations, unfinished)
    return RunStatus(run, history, unfinished, health, _trials(ledger, run, home), is_audit)


def _trials(ledger: "Ledger", run: str, home: Path) -> Path:
    """The folder of a run's trainings; those of an audit are beside the search's own."""
    record = ledger.search(run)
    names = (other.name for other in ledger.searches() if record.is_audit and other.uid == record.audit_of)
    return trials_folder(home, next(names, run), record.recipe)
