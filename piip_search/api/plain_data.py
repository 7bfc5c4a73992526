"""Results as plain data, for programs and for `--json`."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piip_search.analysis.baselines import Baseline, compare
from piip_search.analysis.error_kinds import Kind, kinds
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import Objectives, ParetoFront
from piip_search.redact import without_secrets
from piip_search.search.history import RunHistory

if TYPE_CHECKING:  # these import the database, which a message need not wait for
    from piip_search.api.audit import AuditRun
    from piip_search.api.search import SearchRun
    from piip_search.api.simulate import SimulationOutcome
    from piip_search.api.status import RunStatus
    from piip_search.ledger import Ledger, PreparationRecord


def runs_content(ledger: "Ledger") -> list[dict[str, Any]]:
    """The runs of a ledger.

    Args:
        ledger: Ledger.
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
    """The status of a run.

    Args:
        status: Status of the run.
    """
    history, health = status.history, status.health
    return {
        "run": status.run,
        "owner": str(status.owner),
        "driver": None if status.claim is None else str(status.claim.owner),
        "metric": history.objectives.metric,
        "convention": history.spec.limit.convention,
        "done": len(history.evaluations) - len(history.failed),
        "failed": [{"trial": e.candidate.number, "error": e.error} for e in history.failed],
        "unfinished": [{"trial": c.number, "seconds": seconds} for c, seconds in status.unfinished.items()],
        "preparations": [_preparation(step) for step in status.preparations],
        "tiers": tiers_of(history.fronts, history.objectives),
        **baselines_content(history, status.baselines),
        "left": history.left,
        "findings": [asdict(finding) for finding in health.findings] if health else [],
        "failures": failures_of(history.failed, status.trials),
        "unreadable": [str(row) for row in history.unreadable],
    }


def _preparation(step: "PreparationRecord") -> dict[str, Any]:
    return {**asdict(step), "at": step.at.isoformat() if step.at else None}


def search_content(opened: "SearchRun") -> dict[str, Any]:
    """The result of a search.

    Args:
        opened: Search that has run.
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
        **baselines_content(search.history, opened.found_baselines),
        "left": search.left,
        "ledger": opened.ledger.shown,
        "mlflow": None if opened.store is None else without_secrets(opened.store),
        "failures": failures_of(search.failures, opened.trials),
    }


def audit_content(opened: "AuditRun", run: str) -> dict[str, Any]:
    """The result of an audit.

    Args:
        opened: Audit that has run.
        run: Name of the audited run.
    """
    return {
        "run": run,
        "audit": opened.search.run,
        "tiers": [asdict(tier) for tier in opened.tiers],
        "failures": failures_of(opened.search.failures, opened.trials),
    }


def simulation_content(outcome: "SimulationOutcome") -> dict[str, Any]:
    """The result of a simulation.

    Args:
        outcome: Simulation that has run.
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


def baselines_content(history: RunHistory, baselines: Sequence[Baseline]) -> dict[str, Any]:
    """The baselines of a run and the comparison in each tier; empty for a run without any.

    Args:
        history: History of the run.
        baselines: Its baselines.
    """
    if not baselines:
        return {}
    return {
        "baselines": [one.to_dict(history.objectives) for one in baselines],
        "compared": [one.to_dict() for one in compare(history, baselines)],
    }


def tiers_of(fronts: Sequence[ParetoFront], objectives: Objectives) -> list[dict[str, Any]]:
    """The front of each tier.

    Args:
        fronts: Fronts, cheapest tier first.
        objectives: Objectives of the fronts.
    """
    return [
        {objectives.axis.name: f.tier, "hypervolume": f.hypervolume, "front": members_of(f, objectives)} for f in fronts
    ]


def members_of(front: ParetoFront, objectives: Objectives) -> list[dict[str, Any]]:
    """The designs of a front, cheapest first.

    Args:
        front: Front of one tier.
        objectives: Objectives of the front.
    """
    return [
        {
            "trial": evaluation.candidate.number,
            **dict(
                zip((metric.name for metric in objectives.metrics), objectives.values(evaluation) or (), strict=True)
            ),
            **objectives.known_costs(evaluation.candidate.design),
            "architecture": evaluation.candidate.design.name,
            "fingerprint": evaluation.candidate.design.fingerprint,
        }
        for evaluation in front.evaluations
    ]


def failures_of(failed: Sequence[Evaluation], trials: Path | None = None) -> list[dict[str, Any]]:
    """Every kind of error, most frequent first.

    Args:
        failed: Failed evaluations.
        trials: Folder of all trainings; None for a simulation.
    """
    return [_failure(kind, None if trials is None else kind.folder(trials)) for kind in kinds(failed)]


def _failure(kind: Kind, folder: Path | None) -> dict[str, Any]:
    place = None if folder is None else str(folder)
    return {"count": kind.count, "error": kind.error, "trials": kind.trials, "folder": place}
