"""Results as plain data: what a program reads of a search, and what `--json` prints."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piip_search.analysis.error_kinds import Kind, kinds
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import Objectives, ParetoFront
from piip_search.redact import without_secrets

if TYPE_CHECKING:  # they bring the database with them, for which a message need not wait
    from piip_search.api.audit import AuditRun
    from piip_search.api.search import SearchRun
    from piip_search.api.simulate import SimulationOutcome
    from piip_search.api.status import RunStatus
    from piip_search.ledger import Ledger


def runs_content(ledger: "Ledger") -> list[dict[str, Any]]:
    """The runs of a ledger.

    Args:
        ledger: The ledger.
    """
    return [
        {
            "run": record.name,
            "evaluations": record.evaluations,
            "proposals": record.proposals,
            "begun": record.created_at.isoformat(),
        }
        for record in ledger.searches()
    ]


def status_content(status: "RunStatus") -> dict[str, Any]:
    """How a run stands.

    Args:
        status: The run.
    """
    history, health = status.history, status.health
    return {
        "run": status.run,
        "metric": history.objectives.metric,
        "convention": history.objectives.convention,
        "done": len(history.evaluations) - len(history.failed),
        "failed": [{"trial": e.candidate.number, "error": e.error} for e in history.failed],
        "unfinished": [{"trial": c.number, "seconds": seconds} for c, seconds in status.unfinished.items()],
        "tiers": tiers_of(history.fronts, history.objectives),
        "left": history.left,
        "findings": [asdict(finding) for finding in health.findings] if health else [],
        "failures": failures_of(history.failed, status.trials),
    }


def search_content(opened: "SearchRun") -> dict[str, Any]:
    """What a search ends with.

    Args:
        opened: The search, which was driven.
    """
    search = opened.search
    return {
        "run": search.run,
        "ending": search.ending or "ended",
        "halted": search.halted,
        "done": len(search.evaluations) - len(search.failures),
        "failed": len(search.failures),
        "new": len(search.evaluations) - search.replayed,
        "answered": search.answered,
        "seconds": search.elapsed,
        "metric": search.objectives.metric,
        "tiers": tiers_of(search.fronts(), search.objectives),
        "left": search.left,
        "ledger": opened.ledger.shown,
        "mlflow": None if opened.store is None else without_secrets(opened.store),
        "failures": failures_of(search.failures, opened.trials),
    }


def audit_content(opened: "AuditRun", run: str) -> dict[str, Any]:
    """What an audit ends with.

    Args:
        opened: The audit, which was driven.
        run: Name of the run that it audits.
    """
    return {
        "run": run,
        "audit": opened.search.run,
        "tiers": [asdict(tier) for tier in opened.tiers],
        "failures": failures_of(opened.search.failures, opened.trials),
    }


def simulation_content(outcome: "SimulationOutcome") -> dict[str, Any]:
    """What a simulation ends with.

    Args:
        outcome: The simulation.
    """
    search = outcome.search
    return {
        **asdict(outcome.result),
        "ending": search.ending,
        "evaluations": outcome.evaluations,
        "failed": len(search.failures),
        "tiers": [asdict(tier) for tier in outcome.tiers],
        "failures": failures_of(search.failures),
    }


def tiers_of(fronts: Sequence[ParetoFront], objectives: Objectives) -> list[dict[str, Any]]:
    """The front of each tier.

    Args:
        fronts: The fronts, the cheapest tier first.
        objectives: What they trade off.
    """
    return [{"gmacs": f.tier, "hypervolume": f.hypervolume, "front": members_of(f, objectives)} for f in fronts]


def members_of(front: ParetoFront, objectives: Objectives) -> list[dict[str, Any]]:
    """The designs of a front, the cheapest first.

    Args:
        front: The front of one tier.
        objectives: What it trades off.
    """
    return [
        {
            "trial": evaluation.candidate.number,
            objectives.metric: objectives.value(evaluation),
            "gmacs": objectives.cost(evaluation).gmacs,
            "mparams": objectives.cost(evaluation).mparams,
            "architecture": evaluation.candidate.design.name,
            "fingerprint": evaluation.candidate.design.fingerprint,
        }
        for evaluation in front.evaluations
    ]


def failures_of(failed: Sequence[Evaluation], trials: Path | None = None) -> list[dict[str, Any]]:
    """Every kind of error, the commonest first.

    Args:
        failed: What failed.
        trials: The folder of all trainings; None for a simulation, which has none.
    """
    return [_failure(kind, None if trials is None else kind.folder(trials)) for kind in kinds(failed)]


def _failure(kind: Kind, folder: Path | None) -> dict[str, Any]:
    place = None if folder is None else str(folder)
    return {"count": kind.count, "error": kind.error, "trials": kind.trials, "folder": place}
