"""The choice of a design, with its evidence."""

from bisect import bisect_right
from dataclasses import dataclass, replace

from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_dashboards.views.overview import FrontMember, member_of
from piip_search.architecture.published import published_near
from piip_search.cost import CostLabel
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.selection import cheapest_near, choose


@dataclass(frozen=True)
class Choice:
    """A design as the answer to a question.

    Attributes:
        question: Question in words.
        member: The design.
        evidence: Reasons for it, a sentence each.
        cheaper: Next cheaper one of the front; None for the cheapest.
        dearer: Next dearer one; None for the best.
    """

    question: str
    member: FrontMember
    evidence: list[str]
    cheaper: FrontMember | None
    dearer: FrontMember | None


@dataclass(frozen=True)
class Answers:
    """The answers to three questions.

    Attributes:
        run: Name of the run.
        metric: Metric of the search.
        axis: Axis of the tiers.
        tier: Highest cost of the first answer.
        below: Greatest distance below the best of the third answer.
        best: Best design within the tier; None without one.
        knee: Design at the sharpest bend of the front.
        cheapest: Cheapest design near the best.
        problem: Reason why there is no answer; empty if there is one.
    """

    run: str
    metric: str
    axis: CostLabel
    tier: float
    below: float
    best: Choice | None
    knee: Choice | None
    cheapest: Choice | None
    problem: str = ""


def choices(reading: RunSnapshot, tier: float | None, below: float | None) -> Answers:
    """Answers for a tier (the widest by default) and a distance (the noise, or 0.01)."""
    # No choice is a design that another one dominates.
    measured, objectives = reading.front.evaluations, reading.objectives
    limit = reading.tiers[-1] if tier is None else tier
    near = (round(reading.noise, 4) if reading.noise else 0.01) if below is None else below
    empty = Answers(reading.name, objectives.metric, objectives.axis.label, limit, near, None, None, None)
    if not measured:
        return replace(empty, problem="no design was trained to the end yet")
    best, problem = None, ""
    try:
        best = choose(measured, objectives, f"best<={limit:f}")
    except ValueError as error:
        problem = str(error)
    return replace(
        empty,
        best=None if best is None else _choice(reading, f"best up to {objectives.axis.format(limit)}", best),
        knee=_choice(reading, "where the front bends most", choose(measured, objectives, "knee")),
        cheapest=_choice(reading, f"cheapest within {near:g} of the best", cheapest_near(measured, objectives, near)),
        problem=problem,
    )


def _choice(reading: RunSnapshot, question: str, chosen: Evaluation) -> Choice:
    front = reading.fronts[-1].evaluations
    place = next((i for i, e in enumerate(front) if e.candidate.architecture == chosen.candidate.architecture), None)
    cheaper = member_of(reading, front[place - 1]) if place else None
    dearer = member_of(reading, front[place + 1]) if place is not None and place + 1 < len(front) else None
    member = member_of(reading, chosen)
    return Choice(question, member, _evidence(reading, member, cheaper, dearer), cheaper, dearer)


def _counted_as_published(reading: RunSnapshot) -> bool:
    """Whether costs are those of the papers' tables."""
    return reading.spec.limit.convention == "published" and reading.objectives.axis.name == "gmacs"


def _evidence(
    reading: RunSnapshot, member: FrontMember, cheaper: FrontMember | None, dearer: FrontMember | None
) -> list[str]:
    metric, axis = reading.objectives.metric, reading.objectives.axis
    merit, gained = reading.objectives.metrics[0].merit, reading.objectives.metrics[0].gained
    rivals = bisect_right(reading.costs, member.cost)
    found = [
        f"{metric} {member.value:.4f} at {axis.format(member.cost, 4)}: the best of {rivals} finished designs no dearer"
    ]
    for other, word in ((cheaper, "cheaper"), (dearer, "dearer")):
        if other is not None:
            gain, cost = merit(other.value) - merit(member.value), other.cost / member.cost - 1
            found.append(
                f"the next {word} design of the front: {gain:+.4f} {gained} for {cost:+.0%} {axis.label.heading}"
            )
    if member.seeds > 1 and member.deviation is not None:
        found.append(f"{member.seeds} seeds agree within a standard deviation of {member.deviation:.4f}")
    elif reading.noise is not None:
        found.append(f"measured with one seed; in this search seeds differ by about {reading.noise:.4f}")
    else:
        found.append("measured with one seed; how much seeds differ is not known (piip-search audit tells)")
    task = reading.spec.known_task.published if _counted_as_published(reading) else None
    near = published_near(member.cost, task, within=0.15)
    if near:
        metrics = ", ".join(f"{name} {value:g}" for name, value in near[0].metrics.items())
        found.append(
            f"the papers' design nearest in cost: {near[0].title}, {axis.format(near[0].gmacs)}, {metrics}, in full"
        )
    return found
