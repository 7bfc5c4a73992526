"""Conditions under which a search starts nothing new, for the search (`Search.ending`) and for pages about it."""

from collections.abc import Iterable, Mapping, Sequence

from piip_search.config import Budget, Goal
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import Objectives

GAIN_PATIENCE = 3
"""Proposals in a row with little remaining gain before no new design starts."""
TRIALS_SPENT = "the budget of trials is spent"


def reaches(goal: Goal | None, objectives: Objectives, finished: Iterable[Evaluation]) -> bool:
    """Whether an evaluation reaches the target.

    Args:
        goal: Target; None is never reached.
        objectives: Objectives of the search.
        finished: Evaluations of full trainings.
    """
    return goal is not None and any(
        (merit := objectives.merit(evaluation)) is not None
        and merit >= objectives.metrics[0].merit(goal.metric)
        and (goal.cost is None or objectives.cost(evaluation) <= goal.cost)
        for evaluation in finished
    )


def spent(budget: Budget, reached: bool, gpu_hours: float, hours: float = 0.0) -> str:
    """The reason why a search ends immediately; empty while it may go on.

    Args:
        budget: Budget of the search.
        reached: Whether the target is reached.
        gpu_hours: Hours of GPUs, over all sittings.
        hours: Hours of this sitting.
    """
    if reached:
        return "the target is reached"
    if budget.hours is not None and hours >= budget.hours:
        return "the budget of hours is spent"
    if budget.gpu_hours is not None and gpu_hours >= budget.gpu_hours:
        return "the budget of GPU-hours is spent"
    return ""


def little_left(budget: Budget, metric: str, gains: Sequence[Mapping[float, float]]) -> str:
    """The reason why no new design is worth its training; empty while one may be.

    Args:
        budget: Budget with the smallest gain that counts, `least_gain`.
        metric: Metric of the search.
        gains: Estimates of the remaining gain at each proposal, by tier; the newest last.
    """
    least, newest = budget.least_gain, gains[-GAIN_PATIENCE:]
    if least is None or len(newest) < GAIN_PATIENCE:
        return ""
    little = all(gain < least for left in newest for gain in left.values())
    return f"no tier is expected to improve by {least:g} {metric}" if little else ""
