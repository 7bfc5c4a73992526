"""Conditions on which a search begins nothing new: for the search (`Search.ending`) and for pages that show it."""

from collections.abc import Iterable, Mapping, Sequence

from piip_search.config import Budget, Goal
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import Objectives

GAIN_PATIENCE = 3
"""Proposals in a row that must find little left before no new design is begun."""
TRIALS_SPENT = "the budget of trials is spent"


def reaches(goal: Goal | None, objectives: Objectives, finished: Iterable[Evaluation]) -> bool:
    """Whether one of the evaluations reaches the target.

    Args:
        goal: The target; None reaches nothing.
        objectives: What is traded off.
        finished: Evaluations of whole trainings.
    """
    return goal is not None and any(
        (value := objectives.value(evaluation)) is not None
        and value >= goal.metric
        and (goal.gmacs is None or objectives.cost(evaluation).gmacs <= goal.gmacs)
        for evaluation in finished
    )


def spent(budget: Budget, reached: bool, gpu_hours: float, hours: float = 0.0) -> str:
    """What ends a search at once, whatever is left to propose; empty while nothing does.

    Args:
        budget: What the search may spend.
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
    """Why no new design is worth its training; empty while one may be.

    Args:
        budget: Its `least_gain` is the least that counts.
        metric: What is searched for.
        gains: What each proposal said is left to be gained, by tier; the newest last.
    """
    least, newest = budget.least_gain, gains[-GAIN_PATIENCE:]
    if least is None or len(newest) < GAIN_PATIENCE:
        return ""
    little = all(gain < least for left in newest for gain in left.values())
    return f"less than {least:g} {metric} is left to be gained" if little else ""
