"""Compares groups of measured designs at equal cost."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from piip_search.api.runs import history_of
from piip_search.architecture.traits import EQUAL_COST, TRAITS
from piip_search.errors import ChoiceError, UserError
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import Objectives
from piip_search.sections.messages import closest

if TYPE_CHECKING:  # these import the database and scipy, which a message need not wait for
    from piip_search.analysis.effects import Best, GroupComparison, Measured
    from piip_search.ledger import Ledger
    from piip_search.search.history import RunHistory

BY_RUN = "run"
"""Groups by the run that measured a design."""


@dataclass(frozen=True)
class GroupReport:
    """Groups of designs at equal cost.

    Attributes:
        by: What the designs are grouped by: a trait, or `run`.
        objectives: Objectives of the first run.
        groups: Measured designs of each group.
        comparisons: Every two groups at equal cost.
        best: The best design of each group within each tier.
        noise: Standard deviation of the metric between seeds, the median over designs; None where no design has two.
        one_training: Whether all designs were trained by one recipe and equally long.
        copies: Number of evaluations that an earlier run has too, by run; they count once.
    """

    by: str
    objectives: Objectives
    groups: "Mapping[str, Sequence[Measured]]"
    comparisons: "Sequence[GroupComparison]"
    best: "Sequence[Best]"
    noise: float | None
    one_training: bool
    copies: "Mapping[str, int]"

    @property
    def verdicts(self) -> list[str]:
        """One sentence for every two groups."""
        return [comparison.verdict(self.objectives.metrics[0]) for comparison in self.comparisons]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        sign = 1 if self.objectives.metrics[0].rises else -1
        return {
            "by": self.by,
            "metric": self.objectives.metric,
            "axis": self.objectives.axis.name,
            "noise": self.noise,
            "one_training": self.one_training,
            "copies": dict(self.copies),
            "groups": {name: len(designs) for name, designs in self.groups.items()},
            "comparisons": [
                {**comparison.to_dict(), "verdict": verdict}
                for comparison, verdict in zip(self.comparisons, self.verdicts, strict=True)
            ],
            "best": [
                {
                    "tier": one.tier,
                    "group": one.group,
                    "design": None if one.design is None else one.design.architecture.name,
                    self.objectives.metric: None if one.design is None else sign * one.design.merit,
                    self.objectives.axis.name: None if one.design is None else 2**one.design.doublings,
                }
                for one in self.best
            ],
        }


def compare_groups(
    ledger: "Ledger", runs: Sequence[str], by: str | None = None, within: float | None = None
) -> GroupReport:
    """Compares groups of the fully trained designs of some runs.

    All designs are priced as the first run prices them. A measurement that several runs have, as an answer out of the
    ledger or trained again, counts once, in the first of them.

    Args:
        ledger: Ledger of the runs.
        runs: Names of the runs, which must share their first metric and the axis of their tiers.
        by: What to group designs by: a key of `TRAITS`, or `run`; by default what the sampler of the first run
            compares, or `pairing`.
        within: Largest share by which the dearer design of a pair may cost more; 0.1 by default.

    Raises:
        LedgerError: The ledger has no such run.
        ChoiceError: There is no such trait.
        UserError: The runs cannot be compared, or there are fewer than two groups.
    """
    from piip_search.analysis.effects import best_of, compared, grouped, measured_designs

    if by is not None and by != BY_RUN and by not in TRAITS:
        raise ChoiceError(f"no trait {by!r}{closest(by, [*TRAITS, BY_RUN])}")
    histories = {run: history_of(ledger, run) for run in dict.fromkeys(runs)}
    first = next(iter(histories.values()))
    if by is None:
        by = "pairing" if first.spec.groups is None else first.spec.groups.by
    for run, history in histories.items():
        mine, theirs = ((each.objectives.metric, each.objectives.axis.label) for each in (history, first))
        if mine != theirs:
            raise UserError(
                f"run {run} measures {mine[0]} against {mine[1].title}, and {next(iter(histories))} {theirs[0]} "
                f"against {theirs[1].title}; compare runs with one metric and one axis of cost"
            )
    recipes = {run: ledger.search(run).recipe for run in histories}
    own, copies = _without_copies(histories, recipes)
    if by == BY_RUN:
        measured = {run: measured_designs(evaluations, first.objectives) for run, evaluations in own.items()}
        groups: Mapping[str, Sequence[Measured]] = {run: designs for run, designs in measured.items() if designs}
    else:
        every = [evaluation for evaluations in own.values() for evaluation in evaluations]
        groups = grouped(measured_designs(every, first.objectives), TRAITS[by])
    if len(groups) < 2:
        there = f"only {next(iter(groups))}" if groups else "none"
        others = "; the others have no measurement of their own" if copies and by == BY_RUN else ""
        raise UserError(f"two groups by {by} are needed, and {', '.join(histories)} measured {there}{others}")
    deviations = [
        deviation
        for history in histories.values()
        for design in history.designs.values()
        if (deviation := design.deviation(first.objectives.metric)) is not None
    ]
    trainings = {(recipes[run], history.spec.rungs[-1]) for run, history in histories.items()}
    return GroupReport(
        by,
        first.objectives,
        groups,
        compared(groups, EQUAL_COST if within is None else within),
        best_of(groups, sorted({tier for history in histories.values() for tier in history.tiers})),
        statistics.median(deviations) if deviations else None,
        len(trainings) == 1,
        copies,
    )


def _without_copies(
    histories: "Mapping[str, RunHistory]", recipes: Mapping[str, str]
) -> tuple[dict[str, list[Evaluation]], dict[str, int]]:
    """The evaluations of full trainings of each run without those of earlier runs, and the number of these."""
    seen: set[str] = set()
    own: dict[str, list[Evaluation]] = {}
    copies: dict[str, int] = {}
    for run, history in histories.items():
        keys = [evaluation.candidate.key(recipes[run]) for evaluation in history.finished]
        own[run] = [e for e, key in zip(history.finished, keys, strict=True) if key not in seen]
        if len(own[run]) < len(keys):
            copies[run] = len(keys) - len(own[run])
        seen.update(keys)
    return own, copies
