"""The question of a search, its expense, and how to reproduce it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from piip_search import __version__
from piip_search.config import SearchSpec, SpecError
from piip_search.config.evaluator import SharedSection
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import Objectives
from piip_search.ledger import PreparationSummary, SearchRecord
from piip_search.ledger import Sitting as LedgerSitting
from piip_search.search.feasible import feasible_designs

HOSTS = 12
"""Most hosts that are named."""


@dataclass(frozen=True)
class Fact:
    """A short fact.

    Attributes:
        name: Subject of the fact.
        value: The fact.
        code: Whether to show it as code, to be typed or compared exactly.
    """

    name: str
    value: str
    code: bool = False


@dataclass(frozen=True)
class SittingFacts:
    """A process that drove the search."""

    number: int
    began_at: str
    host: str
    revision: str
    versions: str


def ask(spec: SearchSpec, objectives: Objectives) -> tuple[tuple[Fact, ...], tuple[Fact, ...], tuple[Fact, ...]]:
    """Question, space and budget of a search."""
    return _question(spec, objectives), _space(spec), _budget(spec)


def _question(spec: SearchSpec, objectives: Objectives) -> tuple[Fact, ...]:
    training, fidelity = spec.training, spec.fidelity
    effort = [_epochs(spec)]
    effort += [f"{fidelity.data_fraction:.3g} of the images"] if fidelity.data_fraction < 1 else []
    effort += [f"images at {fidelity.image_scale:.3g} of their size"] if fidelity.image_scale < 1 else []
    effort += [f"of a schedule of {fidelity.horizon}"] if fidelity.horizon else []
    effort += [f"means over {fidelity.seeds} seeds"] if fidelity.seeds > 1 else []
    facts = [
        Fact("Traded off", traded_off(objectives)),
        Fact("Data", f"{spec.data.title}, {spec.task}"),
        Fact("Proxy", f"{spec.known_task.model(training)}, {', '.join(effort)}"),
        Fact("Weights", f"pre-trained ({training.pretrained})" if training.pretrained else "from scratch"),
    ]
    if training.inherit:
        facts.append(Fact("Inheritance", "a design starts from the weights of its nearest measured relative"))
    if len(spec.rungs) > 1:
        rungs = "; ".join(spec.rung_name(rung.epochs) for rung in spec.rungs[:-1])
        facts.append(Fact("Schedule", f"rungs ({rungs}), one in {spec.promoted[0]} goes on"))
    prior = ", with the papers' designs as prior" if spec.prior else ""
    return (*facts, Fact("Sampler", f"{spec.sampler}{prior}, seed {spec.seed}"))


def _epochs(spec: SearchSpec) -> str:
    """How long a design is trained for the front."""
    evaluator = spec.evaluator
    if isinstance(evaluator, SharedSection) and evaluator.finish == "tuned":
        return f"{evaluator.epochs} epochs that designs share, then {evaluator.tune} of its own"
    return f"{spec.fidelity.epochs} epochs"


def traded_off(objectives: Objectives) -> str:
    """The metrics and costs of a search, in words."""
    better = " and ".join(f"{'more' if metric.rises else 'less'} {metric.name}" for metric in objectives.metrics)
    return f"{better} against fewer {' and '.join(axis.label.title for axis in objectives.costs)}"


def _space(spec: SearchSpec) -> tuple[Fact, ...]:
    space = spec.space
    content = space.model_dump(mode="json")
    facts = [
        Fact("Models", _listed(space.backbones)),
        Fact("Image sizes", f"{_listed(space.resolutions)} px"),
        Fact("Windows", _listed(content["windows"])),
        Fact("Interactions", _listed(space.interactions)),
        Fact("Branches", _listed(space.branches)),
    ]
    known = {"backbones", "resolutions", "windows", "interactions", "branches"}
    plain = space.model_dump(mode="json", exclude_defaults=True)
    facts += [
        Fact(name.replace("_", " ").capitalize(), _listed(value) if isinstance(value, list) else _word(value))
        for name, value in plain.items()
        if name not in known
    ]
    try:
        designs = f"{len(feasible_designs(spec)[1]):,}"
    except SpecError:
        return tuple(facts)
    return (*facts, Fact("Designs within the limit", designs))


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(_word, values))


def _word(value: Any) -> str:
    return {"True": "yes", "False": "no"}.get(str(value), str(value))


def _budget(spec: SearchSpec) -> tuple[Fact, ...]:
    limit, budget = spec.bounds, spec.budget
    tiers = ", ".join(map(limit.cost_axis.format, limit.tiers))
    facts = [Fact("A design may cost", f"{tiers}, a front for each; cost in {limit.cost_axis.label.title}")]
    for name, cap in limit.caps:
        axis = limit.pricing.axis(name)
        facts.append(Fact(f"At most, {axis.label.title}", axis.format(cap)))
    facts.append(Fact("Trials at most", f"{budget.trials:,}"))
    content = budget.model_dump(mode="json", exclude_none=True, exclude={"trials"})
    return (*facts, *(Fact(name.replace("_", " ").capitalize(), str(value)) for name, value in content.items()))


def spending(
    evaluations: Sequence[Evaluation], spec: SearchSpec, preparation: PreparationSummary | None = None
) -> tuple[Fact, ...]:
    """The expense of a search.

    Args:
        evaluations: Evaluations of the search.
        spec: The search.
        preparation: The preparation of its evaluator; None for one that prepares nothing.
    """
    measured = [evaluation for evaluation in evaluations if evaluation.seconds > 0]
    seconds = sum(evaluation.seconds for evaluation in measured)
    failed = sum(evaluation.seconds for evaluation in measured if evaluation.status == "failed")
    answered = len(evaluations) - len(measured)
    epochs = sum(int(row.get("epoch", 0)) > 0 for evaluation in evaluations for row in evaluation.history)
    facts = [
        Fact(
            "Evaluations",
            f"{len(evaluations):,}, of which {answered:,} took no training" if answered else f"{len(evaluations):,}",
        )
    ]
    if measured:
        facts.append(Fact("Time of all trainings", hours(seconds)))
        facts.append(
            Fact(
                "One training",
                f"{hours(seconds / len(measured))} on average, the longest "
                f"{hours(max(evaluation.seconds for evaluation in measured))}",
            )
        )
    if preparation:
        facts.append(Fact("Preparation of the evaluator", _prepared(preparation)))
    if spec.resources.gpu:
        gpu_seconds = sum(one.seconds * spec.gpu_of(one.candidate.architecture) for one in measured)
        gpu_seconds += preparation.gpu_seconds if preparation else 0.0
        facts.append(Fact("GPU time", hours(gpu_seconds)))
    if failed:
        facts.append(Fact("Of it in trainings that failed", f"{hours(failed)} ({failed / seconds:.0%})"))
    if epochs:
        facts.append(Fact("Epochs trained", f"{epochs:,}"))
    return tuple(facts)


def _prepared(one: PreparationSummary) -> str:
    spent = f", {hours(one.seconds)}" if one.seconds else ""
    spent += f", {hours(one.gpu_seconds)} of GPU time" if one.gpu_seconds else ""
    return "; ".join([f"{one.kind}: {one.state}{spent}{f': {one.error}' if one.error else ''}", *one.said])


def hours(seconds: float) -> str:
    """Hours as text for people."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"
    return f"{seconds / 3600:,.1f} h"


def reproduction(
    record: SearchRecord, evaluations: Sequence[Evaluation], sittings: Sequence[LedgerSitting], ledger: str
) -> tuple[Fact, ...]:
    """Identity of a search, and the steps to reproduce it."""
    last = sittings[-1].circumstances if sittings else None
    hosts = Counter(evaluation.facts.host for evaluation in evaluations)
    hosts.pop("", None)
    named = [f"{host} ({count:,})" for host, count in hosts.most_common(HOSTS)]
    named += [f"and {len(hosts) - HOSTS} more"] if len(hosts) > HOSTS else []
    torch = sorted({evaluation.facts.torch for evaluation in evaluations} - {""})
    version = (last.versions.get("piip-search") if last else None) or __version__
    facts = [
        Fact("Command", f"piip-search run space.yaml --name {record.name}", True),
        Fact("space.yaml", "at the end of this report"),
        Fact("Software", f'pip install "piip-search[all]=={version}"', True),
    ]
    if last and last.revision:
        facts.append(Fact("Source", last.revision, True))
    facts += [
        Fact("Fingerprint of the question", record.question, True),
        Fact("Of data and training", record.recipe, True),
        *([Fact("Of the data", record.data, True)] if record.data else []),
        *([Fact("Owner", str(record.owner), True)] if record.owner.known else []),
        Fact("Name in every ledger", record.uid, True),
        Fact("Ledger", ledger, True),
        Fact("Begun", f"{record.created_at:%Y-%m-%d %H:%M} UTC"),
    ]
    facts += [Fact("Measured on", ", ".join(named))] if named else []
    facts += [Fact("torch", ", ".join(torch))] if torch else []
    failed = sum(evaluation.status == "failed" for evaluation in evaluations)
    return (*facts, Fact("Failed evaluations", f"{failed:,} of {len(evaluations):,}"))


def sittings_of(sittings: Sequence[LedgerSitting]) -> tuple[SittingFacts, ...]:
    """The processes that drove a search."""
    return tuple(
        SittingFacts(
            one.number,
            f"{one.began_at:%Y-%m-%d %H:%M} UTC",
            str(one.owner) if one.owner.known else one.circumstances.host,
            one.circumstances.revision,
            ", ".join(f"{name} {version}" for name, version in one.circumstances.versions.items()),
        )
        for one in sittings
    )
