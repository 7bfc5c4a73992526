"""The present status of a run in a ledger."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from piip_search.analysis.baselines import Baseline
from piip_search.api.runs import baselines_of_run, health_of, history_of, preparation_of
from piip_search.evaluation.evaluation import Candidate, trials_folder
from piip_search.search.history import RunHistory

if TYPE_CHECKING:  # these import the database, which a message need not wait for
    from piip_search.analysis.health import Health
    from piip_search.ledger import ClaimRecord, Ledger, PreparationRecord, PreparationSummary
    from piip_search.owner import Owner


@dataclass(frozen=True)
class RunStatus:
    """The present status of a run.

    Attributes:
        run: Name of the run.
        history: Proposals and evaluations of the run.
        unfinished: Seconds since the proposal of each candidate without an evaluation.
        health: Results of the health checks; None without checks.
        trials: Folder of all trainings.
        is_search: Whether a sampler proposed its designs, so that it is no audit and no list of baselines.
        preparations: Steps in which the evaluator was prepared; empty for one that prepares nothing.
        preparation: Their summary; None without steps.
        baselines: Its baselines with their results, cheapest first.
        owner: Owner of the run.
        claim: Claim of the process that drives the run; None if none does.
    """

    run: str
    history: RunHistory
    unfinished: dict[Candidate, float]
    health: "Health | None"
    trials: Path
    is_search: bool
    owner: "Owner"
    claim: "ClaimRecord | None"
    preparations: "tuple[PreparationRecord, ...]" = ()
    preparation: "PreparationSummary | None" = None
    baselines: tuple[Baseline, ...] = ()


def status_of(ledger: "Ledger", run: str, home: Path, examine: bool = True) -> RunStatus:
    """The present status of a run.

    An audit or a list of baselines is no search, so that its health is not checked.

    Args:
        ledger: Ledger of the run.
        run: Name of the run.
        home: Home folder.
        examine: Whether to check the health of the run.

    Raises:
        LedgerError: The ledger has no such run.
        SpecError: This version cannot read the run's space.
    """
    history, unfinished, record = history_of(ledger, run), ledger.unfinished(run), ledger.search(run)
    is_search, claim = record.is_search, ledger.claim_of(run)
    health = None
    if examine and is_search:
        health = health_of(history.spec, history.objectives, history.evaluations, unfinished)
    steps = tuple(ledger.preparations(run))
    summary = preparation_of(ledger, run)
    trials = _trials(ledger, run, home)
    baselines = baselines_of_run(ledger, run, history)
    driver = claim if claim is not None and claim.alive else None
    return RunStatus(
        run, history, unfinished, health, trials, is_search, record.owner, driver, steps, summary, baselines
    )


def _trials(ledger: "Ledger", run: str, home: Path) -> Path:
    """The folder of a run's trainings; those of an audit or of baselines are beside those of the search."""
    record = ledger.search(run)
    names = (other.name for other in ledger.searches() if not record.is_search and other.uid == record.audit_of)
    return trials_folder(home, next(names, run), record.recipe)
