"""The content of a report as plain data, for all formats."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from piip_dashboards.report.circumstances import (
    Fact,
    SittingFacts,
    ask,
    reproduction,
    sittings_of,
    spending,
    traded_off,
)
from piip_dashboards.report.designs import Chosen, chosen_designs
from piip_search.analysis.audit import Audit, audit, plan_of, rival_names
from piip_search.analysis.baselines import Baseline, TierComparison, compare
from piip_search.analysis.effects import Effect, Importance, importance, matched_effects
from piip_search.analysis.error_kinds import Kind, kinds
from piip_search.analysis.health import Health
from piip_search.config.evaluator import SharedSection
from piip_search.cost import CostAxis, CostLabel
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import Objectives, ParetoFront
from piip_search.ledger import PreparationSummary, SearchRecord, UnreadableRow, unreadable_note
from piip_search.ledger import Sitting as LedgerSitting
from piip_search.search.history import RunHistory

LETTERED = 26
"""Members of a front with a letter each."""
MOST_EFFECTS = 18
"""Most effects that are listed; the JSON form has all."""


@dataclass(frozen=True)
class Source:
    """The data of a run for its report.

    Attributes:
        record: The row of the run.
        history: The events of the run.
        sittings: The processes that drove it.
        audits: The history of each of its audits, by name.
        health: Results of the health checks; None for a run that is not checked.
        ledger: The database's URL, without a password.
        preparation: The preparation of the evaluator; None for one that prepares nothing.
        baselines: Its baselines with their results, cheapest first.
    """

    record: SearchRecord
    history: RunHistory
    sittings: Sequence[LedgerSitting]
    audits: Mapping[str, RunHistory]
    health: Health | None
    ledger: str
    preparation: PreparationSummary | None = None
    baselines: tuple[Baseline, ...] = ()


@dataclass(frozen=True)
class MemberRow:
    """A member of the front.

    Attributes:
        letter: Letter of its point in the picture; empty if there are too many.
        cost: Cost on the axis of the tiers.
        tier: Cheapest tier that it fits.
        others: Further metrics and costs, in the order of `SearchReport.others`.
    """

    letter: str
    trial: int
    value: float
    cost: float
    tier: float
    architecture: str
    fingerprint: str
    others: tuple[float, ...] = ()


@dataclass(frozen=True)
class Point:
    """A finished design in the picture; a failed one has no value."""

    trial: int
    cost: float
    value: float | None


@dataclass(frozen=True)
class TierResult:
    """The result in a tier."""

    tier: float
    hypervolume: float
    best: MemberRow | None


@dataclass(frozen=True)
class AuditView:
    """An audit of the proxies.

    Attributes:
        run: Name of the audit's run.
        reference: Description of the longer training.
        unfinished: Number of trainings that have not ended.
        tiers: Results by tiers and metrics; empty if the ledger does not show the plan.
        costs: Nouns of the costs that the proxy is compared with.
    """

    run: str
    reference: str
    unfinished: int
    tiers: tuple[Audit, ...]
    costs: tuple[str, ...] = ()


@dataclass(frozen=True)
class SearchReport:
    """A search as a document.

    Attributes:
        run: Name of the run.
        written_at: Time in UTC.
        metric: First metric of the search.
        rises: Whether a higher metric is better.
        gained: What a lead in the metric counts (`MetricAxis.gained`).
        metrics: All metrics of the search.
        convention: Counting convention of multiply-accumulates.
        axis: Axis of the tiers.
        traded_off: Metrics and costs of the search, in words.
        is_pair: Whether one metric was traded off against one cost.
        others: Headings of the further metrics and costs of a row.
        counts: Evaluations by `done`, `failed` and `unfinished`.
        question, space, budget: Facts about the search, its space and its limits.
        tiers: Results of the tiers, cheapest first.
        front: Front of the largest tier; a smaller tier's front is a part of it.
        points: All finished and failed designs.
        progress: For each tier the evaluations after which its hypervolume changed, with its new value.
        chosen: Designs with a page of their own.
        effects: Ablations, by choice, those with most evidence first.
        importance: Importance of choices beyond cost.
        audits: Audits of the proxies.
        findings: Findings of the health checks, with ways out.
        learnt: Rank correlation of the surrogate on held-out designs, beside that of cost; empty for too few designs.
        failures: Errors by kind, most frequent first.
        spent: Expense of the search.
        reproduce: Steps to reproduce the search.
        sittings: Processes that drove the search.
        space_file: Search space as YAML.
        unreadable: Rows of the ledger that are left out.
        baselines: Baselines of the search, cheapest first.
        compared: The best design of each tier against the best baseline within it; empty without baselines.
    """

    run: str
    written_at: datetime
    metric: str
    rises: bool
    gained: str
    metrics: tuple[str, ...]
    convention: str
    axis: CostLabel
    traded_off: str
    is_pair: bool
    others: tuple[str, ...]
    counts: Mapping[str, int]
    question: tuple[Fact, ...]
    space: tuple[Fact, ...]
    budget: tuple[Fact, ...]
    tiers: tuple[TierResult, ...]
    front: tuple[MemberRow, ...]
    points: tuple[Point, ...]
    progress: tuple[tuple[float, tuple[tuple[int, float], ...]], ...]
    chosen: tuple[Chosen, ...]
    effects: tuple[Effect, ...]
    importance: Importance
    audits: tuple[AuditView, ...]
    findings: tuple[tuple[str, str, str], ...]
    learnt: str
    failures: tuple[Kind, ...]
    spent: tuple[Fact, ...]
    reproduce: tuple[Fact, ...]
    sittings: tuple[SittingFacts, ...]
    space_file: str
    unreadable: tuple[UnreadableRow, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    compared: tuple[TierComparison, ...] = ()

    @property
    def best(self) -> MemberRow:
        """The member with the best metric; the front has one."""
        return next(row for row in self.front if row == self.tiers[-1].best)

    @property
    def left_out(self) -> str:
        """One line about rows of the ledger that are left out; empty for none."""
        return unreadable_note(self.unreadable)

    @property
    def listed_effects(self) -> tuple[Effect, ...]:
        """The effects to list: those of several settings, or of one if there are no others; most evidence first."""
        several = [effect for effect in self.effects if effect.settings > 1] or list(self.effects)
        kept = sorted(several, key=lambda effect: (-effect.settings, -len(effect.pairs)))[:MOST_EFFECTS]
        return tuple(effect for effect in self.effects if effect in kept)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        rest = {
            name: _plain(getattr(self, name))
            for name in self.__dataclass_fields__
            if name not in ("written_at", "effects", "importance", "chosen")
        }
        drawn = ("drawing", "alone")
        return {
            **rest,
            "chosen": [
                {name: value for name, value in _plain(one).items() if name not in drawn} for one in self.chosen
            ],
            "written_at": self.written_at.isoformat(),
            "effects": [effect.to_dict() for effect in self.effects],
            "importance": self.importance.to_dict(),
        }


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(inner) for name, inner in asdict(value).items()}
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, datetime):
        return value.isoformat()
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def make_report(source: Source, within: float, now: datetime | None = None) -> SearchReport:
    """Makes the content of a report.

    Args:
        source: Data of the run.
        within: Greatest distance below the best for a cheaper design to be chosen, in the metric's unit.
        now: Time of the report; now by default.
    """
    history, health = source.history, source.health
    spec, objectives, fronts = history.spec, history.objectives, history.fronts
    whole, failed = history.representatives, history.failed
    rows = _rows(fronts, objectives)
    question, space, budget = ask(spec, objectives)
    return SearchReport(
        run=source.record.name,
        written_at=now or datetime.now(UTC),
        metric=objectives.metric,
        rises=objectives.metrics[0].rises,
        gained=objectives.metrics[0].gained,
        metrics=tuple(metric.name for metric in objectives.metrics),
        convention=spec.limit.convention,
        axis=objectives.axis.label,
        traded_off=traded_off(objectives),
        is_pair=objectives.is_pair,
        others=(
            *(metric.name for metric in objectives.metrics[1:]),
            *(axis.label.heading for axis in _further(objectives)),
        ),
        counts={
            "done": len(history.evaluations) - len(failed),
            "failed": len(failed),
            "unfinished": len(history.unfinished),
        },
        question=question,
        space=space,
        budget=budget,
        tiers=tuple(
            TierResult(front.tier, front.hypervolume, _row_of(front.best, rows) if front.best else None)
            for front in fronts
        ),
        front=tuple(rows.values()),
        points=tuple(
            Point(e.candidate.number, objectives.cost(e), objectives.value(e))
            for e in sorted((*whole, *failed), key=lambda e: e.candidate.number)
        ),
        progress=_progress(history),
        chosen=chosen_designs(whole, fronts, objectives, within),
        effects=matched_effects(whole, objectives),
        importance=importance(whole, objectives),
        audits=tuple(_audit(name, events) for name, events in source.audits.items()),
        findings=tuple((f.check, f.message, f.action) for f in (health.findings if health else ())),
        learnt=_learnt(health),
        failures=kinds(failed),
        spent=spending(history.evaluations, spec, source.preparation),
        reproduce=reproduction(source.record, history.evaluations, source.sittings, source.ledger),
        sittings=sittings_of(source.sittings),
        space_file=_space_file(source.record),
        unreadable=history.unreadable,
        baselines=source.baselines,
        compared=compare(history, source.baselines),
    )


def _rows(fronts: Sequence[ParetoFront], objectives: Objectives) -> dict[int, MemberRow]:
    """Members of the largest tier's front, by trial; a smaller tier's front is a part of it."""
    members = fronts[-1].evaluations
    rows = {}
    for place, evaluation in enumerate(members):
        cost, design = objectives.cost(evaluation), evaluation.candidate.architecture
        rows[evaluation.candidate.number] = MemberRow(
            letter=chr(ord("A") + place) if len(members) <= LETTERED else "",
            trial=evaluation.candidate.number,
            value=objectives.value(evaluation) or 0.0,
            cost=cost,
            tier=next(front.tier for front in fronts if cost <= front.tier),
            architecture=design.name,
            fingerprint=design.fingerprint,
            others=(
                *(objectives.values(evaluation) or ())[1:],
                *(axis.of(design) for axis in _further(objectives)),
            ),
        )
    return rows


def _further(objectives: Objectives) -> list[CostAxis]:
    """The searched costs after the first, and the parameters of any search."""
    searched = {axis.name for axis in objectives.costs}
    return [
        *objectives.costs[1:],
        *(axis for axis in objectives.known if axis.name == "mparams" and axis.name not in searched),
    ]


def _row_of(best: Evaluation, rows: Mapping[int, MemberRow]) -> MemberRow:
    return rows[best.candidate.number]


def _progress(history: RunHistory) -> tuple[tuple[float, tuple[tuple[int, float], ...]], ...]:
    """The hypervolume of each tier after each change."""
    steps: list[list[tuple[int, float]]] = [[] for _ in history.tiers]
    before = RunHistory(history.spec).fronts
    for place, fronts in history.moves:
        for step, now, then in zip(steps, fronts, before, strict=True):
            if now.hypervolume != then.hypervolume:
                step.append((place, now.hypervolume))
        before = fronts
    return tuple((tier, tuple(step)) for tier, step in zip(history.tiers, steps, strict=True))


def _audit(name: str, history: RunHistory) -> AuditView:
    spec, left = history.spec, len(history.unfinished)
    shared = isinstance(spec.evaluator, SharedSection)
    proxy, tuned = spec.rungs[:2] if shared else (spec.fidelity.build(), None)
    plan = plan_of(history.candidates, proxy, tuned)
    if plan is None:
        return AuditView(name, "", left, ())
    longer = plan.reference
    words = (
        f"{longer.epochs} epochs on {longer.data_fraction:.0%} of the images at {longer.image_scale:.0%} of their size"
    )
    found = audit(history.evaluations, history.objectives, history.tiers, plan)
    return AuditView(name, words, left, tuple(found), tuple(rival_names(history.objectives)))


def _learnt(health: Health | None) -> str:
    return "" if health is None else "; ".join(health.said)


def _space_file(record: SearchRecord) -> str:
    """The search space as YAML that starts the search again, without redundant defaults."""
    from piip_search.config import parse_spec, space_file

    spec = parse_spec(dict(record.spec), f"run {record.name}", recorded=True)
    content = spec.model_dump(mode="json", exclude_defaults=True)
    return space_file({**content, "name": record.name}, width=100, default_flow_style=None)
