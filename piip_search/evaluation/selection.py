"""Selects designs from the front."""

import re
from collections.abc import Sequence

import numpy as np

from piip_search.errors import ChoiceError
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import Objectives, ParetoFront, pareto_front

_BEST = re.compile(r"best(?:<=(?P<tier>\d+(?:\.\d+)?)(?P<unit>[A-Za-zµ]*))?")


NOTHING_FINISHED = "the search has no finished evaluation yet; nothing can be chosen"
SHORTEST_FINGERPRINT = 6
"""Fewest digits of a fingerprint; a shorter text is a trial's number."""


def chosen(evaluations: Sequence[Evaluation], objectives: Objectives, choice: str) -> tuple[Evaluation, ...]:
    """The evaluations of a user's choice: the whole front for `all`, cheapest first, else the one of `choose`.

    Raises:
        ChoiceError: As for `choose`.
    """
    if choice != "all":
        return (choose(evaluations, objectives, choice),)
    measured = objectives.measured(evaluations)
    if not measured:
        raise ChoiceError(NOTHING_FINISHED)
    return pareto_front(measured, objectives, max(objectives.cost(e) for e in measured)).evaluations


def choose(evaluations: Sequence[Evaluation], objectives: Objectives, choice: str) -> Evaluation:
    """The evaluation of a user's choice.

    Args:
        evaluations: All evaluations of a search.
        objectives: Objectives of the search.
        choice: `best`, `best<=250G`, `knee`, a trial's number, or at least 6 digits of a fingerprint.

    Raises:
        ChoiceError: The choice fits none, or more than one.
    """
    measured = objectives.measured(evaluations)
    if not measured:
        raise ChoiceError(NOTHING_FINISHED)
    whole = pareto_front(measured, objectives, max(objectives.cost(e) for e in measured))
    best = _BEST.fullmatch(choice)
    if best:
        if best["unit"] and best["unit"] != objectives.axis.label.unit:
            raise ChoiceError(
                f"choice {choice!r}: {objectives.axis.name} is in {objectives.axis.label.unit or 'no unit'}"
            )
        tier = float(best["tier"]) if best["tier"] else whole.tier
        found = pareto_front(measured, objectives, tier).best
        if found is None:
            cheapest = objectives.cost(whole.evaluations[0])
            axis = objectives.axis
            raise ChoiceError(
                f"nothing measured costs {axis.format(tier)} or less; the cheapest costs {axis.format(cheapest, 3)}"
            )
        return found
    if choice == "knee":
        return knee(whole, objectives)
    if len(choice) < SHORTEST_FINGERPRINT:
        matching = [e for e in measured if str(e.candidate.number) == choice]
    else:
        matching = [e for e in measured if e.candidate.design.fingerprint.startswith(choice)]
    if len({e.candidate.design for e in matching}) != 1:
        problem = "is ambiguous" if matching else "matches no finished evaluation"
        raise ChoiceError(
            f"choice {choice!r} {problem}; give best, {_within(objectives)}, knee, a trial number, or "
            f"{SHORTEST_FINGERPRINT} digits of a fingerprint"
        )
    return matching[0]


def _within(objectives: Objectives) -> str:
    """An example of a choice within a tier, in the unit of the tiers."""
    return f"best<=250{objectives.axis.label.unit}"


def knee(front: ParetoFront, objectives: Objectives) -> Evaluation:
    """The member farthest beyond the line between the cheapest and the best.

    Both losses are scaled to the front's own range, as in Das, "On characterizing the knee of the Pareto curve" (1999).
    """
    losses_NM = objectives.losses(front.evaluations)
    low_M, high_M = losses_NM.min(axis=0), losses_NM.max(axis=0)
    scaled_NM = (losses_NM - low_M) / np.where(high_M > low_M, high_M - low_M, 1.0)
    return front.evaluations[int(scaled_NM.sum(axis=1).argmin())]


def cheapest_near(evaluations: Sequence[Evaluation], objectives: Objectives, below: float) -> Evaluation:
    """The cheapest evaluation whose metric is at most so far from the best.

    Raises:
        ChoiceError: Nothing was measured, or the distance is negative.
    """
    if below < 0:
        raise ChoiceError(f"the distance below the best must be 0 or more, got {below:g}")
    front = chosen(evaluations, objectives, "all")
    merits = [objectives.merit(member) or 0.0 for member in front]
    return next(member for member, merit in zip(front, merits, strict=True) if merit >= max(merits) - below)
