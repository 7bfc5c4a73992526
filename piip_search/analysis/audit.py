"""Audits proxies: whether they rank designs as a longer training does, and better than cost alone.

Some measured designs of each tier are drawn. Each is trained again with other seeds, which shows the noise of the
ranking, and once for longer, which stands in for the full training and is also measured during training.

Where designs share one training (evaluator `shared`), the proxy is the score with the parent's weights. Designs are
drawn from all scored ones; each is also tuned, and trained alone in place of longer.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from piip_search.analysis.rank_correlation import Interval, agreement_within, tau_difference, tau_interval
from piip_search.architecture import Architecture
from piip_search.cost import CostAxis
from piip_search.evaluation.evaluation import Candidate, Evaluation, Fidelity
from piip_search.evaluation.objectives import MetricAxis, Objectives

FEWEST_RANKED = 5
"""Fewest designs for a ranking."""
LONGER = 3
"""Default factor between the epochs of the longer training and those of the proxy."""
MEASUREMENTS = 6
"""Number of measurements during a longer training."""


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """The plan of an audit.

    Attributes:
        designs: Number of designs of each tier.
        seeds: Number of trainings of each proxy, including the search's own.
        reference: Fidelity that stands in for the full training.
        seed: Seed of the draw of designs.
        tuned: Fidelity of a short training from a parent's weights; None without a parent.
    """

    designs: int
    seeds: int
    reference: Fidelity
    seed: int = 0
    tuned: Fidelity | None = None

    @property
    def digest(self) -> str:
        """Digest that distinguishes audits of one run."""
        content = {**asdict(self), "reference": {"horizon": None, **self.reference.to_dict()}}
        if self.tuned is None:
            del content["tuned"]  # audits of earlier versions keep their digests
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:6]

    def run_name(self, audited: str) -> str:
        """Name of the audit's own run, for people; the ledger records that it is an audit, and of which run."""
        return f"{audited}.audit-{self.digest}"

    @property
    def measure_every(self) -> int:
        """Epochs between two measurements of a longer training."""
        return max(1, self.reference.epochs // MEASUREMENTS)


def plan_of(candidates: Sequence[Candidate], proxy: Fidelity, tuned: Fidelity | None = None) -> AuditPlan | None:
    """The plan of an audit's own run, as far as reading needs it; None if the run does not show it.

    Args:
        candidates: Candidates of the audit's run.
        proxy: Fidelity of the audited evaluations.
        tuned: Fidelity of a short training from a parent's weights; None without a parent.
    """
    references = {candidate.fidelity for candidate in candidates} - {proxy, tuned}
    if len(references) != 1:
        return None
    proxies = Counter(candidate.architecture for candidate in candidates if candidate.fidelity == proxy)
    return AuditPlan(len(proxies), max(proxies.values(), default=1), references.pop(), tuned=tuned)


def tier_of(cost: float, tiers: Sequence[float]) -> float | None:
    """The cheapest tier that a cost fits; None if it fits none."""
    return min((tier for tier in tiers if cost <= tier), default=None)


def audit_candidates(
    evaluations: Sequence[Evaluation], objectives: Objectives, tiers: Sequence[float], plan: AuditPlan
) -> list[Candidate]:
    """The candidates of an audit: for each design the proxy with every seed, and the longer training.

    A proxy of several seeds is trained again with as many others. The longer training never inherits weights, even if
    the proxies do: it is their reference.
    """
    candidates: list[Candidate] = []
    for tier in tiers:
        for evaluation in _drawn(evaluations, objectives, tiers, tier, plan):
            proxy = evaluation.candidate
            each = proxy.fidelity.seeds
            candidates += [replace(proxy, seed=proxy.seed + each * turn) for turn in range(plan.seeds)]
            if plan.tuned is not None:
                candidates.append(replace(proxy, fidelity=plan.tuned))
            candidates.append(replace(proxy, fidelity=plan.reference, parent=None))
    return [replace(candidate, number=number) for number, candidate in enumerate(candidates)]


def _drawn(
    evaluations: Sequence[Evaluation], objectives: Objectives, tiers: Sequence[float], tier: float, plan: AuditPlan
) -> list[Evaluation]:
    """Designs of a tier, each once, drawn regardless of their results."""
    by_design = {e.candidate.architecture: e for e in reversed(objectives.measured(evaluations))}
    inside = [e for e in by_design.values() if tier_of(objectives.cost(e), tiers) == tier]
    inside.sort(key=lambda evaluation: evaluation.candidate.number)
    order = np.random.RandomState(plan.seed).permutation(len(inside))[: plan.designs]
    return [inside[index] for index in sorted(order)]


@dataclass(frozen=True, slots=True)
class CostRank:
    """Kendall's tau of what is known without training, the proxy's rival: a cost, or the size of the largest image.

    Attributes:
        noun: What it counts (`CostLabel.noun`).
        tau: Rank correlation with the longer training.
        lead: Lead of the proxy over it, in tau.
    """

    noun: str
    tau: Interval
    lead: Interval


@dataclass(frozen=True, slots=True)
class RankFigures:
    """Kendall's tau of scores on the designs of one tier.

    Attributes:
        proxy: Rank correlation of the proxy and the longer training.
        seeds: Rank correlation of the proxy and itself with another seed, the mean over pairs of seeds. None with one
            seed.
        costs: Rank correlation of each rival and the longer training.
        rungs: Epoch of the longer training, and tau of the metrics at that epoch and at the end.
        spread: Standard deviation of the metric between seeds, the median over designs. None with one seed.
        alike: Agreement of the proxy and the longer training within one largest image: pairs in one order less pairs in
            the other, as a share, and the number of pairs. None without pairs.
        tuned: Rank correlation after a short training from a parent's weights. None without a parent.
    """

    proxy: Interval
    seeds: Interval | None
    costs: tuple[CostRank, ...]
    rungs: tuple[tuple[int, Interval], ...]
    spread: float | None
    alike: tuple[float, int] | None = None
    tuned: Interval | None = None


@dataclass(frozen=True, slots=True)
class Audit:
    """The result of an audit in one tier, by one metric.

    Attributes:
        tier: Tier on the axis of the tiers.
        metric: Name of the metric.
        designs: Number of fully measured designs.
        verdict: Conclusion in words.
        figures: Figures behind the verdict; None for too few designs.
    """

    tier: float
    metric: str
    designs: int
    verdict: str
    figures: RankFigures | None = None


def audit(
    evaluations: Sequence[Evaluation], objectives: Objectives, tiers: Sequence[float], plan: AuditPlan
) -> list[Audit]:
    """Results of an audit by tiers, and in each by metrics; designs with a failed measurement are left out."""
    return [
        _audit(evaluations, replace(objectives, metrics=(metric,)), tiers, tier, plan)
        for tier in tiers
        for metric in objectives.metrics
    ]


def rival_names(objectives: Objectives) -> list[str]:
    """Names of what a proxy has to rank better than: MACs, parameters, all costs of the search, the largest image."""
    return [*(axis.label.noun for axis in _rival_axes(objectives)), LARGEST_IMAGE]


def _rival_axes(objectives: Objectives) -> list[CostAxis]:
    searched = {axis.name for axis in objectives.costs}
    return [axis for axis in objectives.known if axis.name in {"gmacs", "mparams"} | searched]


def _audit(
    evaluations: Sequence[Evaluation], objectives: Objectives, tiers: Sequence[float], tier: float, plan: AuditPlan
) -> Audit:
    """The result of a tier by the only metric of the objectives."""
    metric = objectives.metrics[0]
    inside = [e for e in objectives.measured(evaluations) if tier_of(objectives.cost(e), tiers) == tier]
    longer = {e.candidate.architecture: e for e in inside if e.candidate.fidelity == plan.reference}
    seeds: dict[Architecture, list[float]] = {}
    tuned = {e.candidate.architecture: objectives.merit(e) for e in inside if e.candidate.fidelity == plan.tuned}
    for evaluation in sorted(inside, key=lambda e: e.candidate.seed):
        if evaluation.candidate.fidelity not in (plan.reference, plan.tuned):
            seeds.setdefault(evaluation.candidate.architecture, []).append(objectives.merit(evaluation) or 0.0)
    whole = [design for design in longer if len(seeds.get(design, ())) == plan.seeds]
    whole = [design for design in whole if plan.tuned is None or design in tuned]
    if len(whole) < FEWEST_RANKED:
        few = f"{len(whole)} designs were measured in full, too few to say; {FEWEST_RANKED} are needed, more are better"
        return Audit(tier, metric.name, len(whole), few)
    values_NS = np.array([seeds[design] for design in whole])
    truth_N = np.array([objectives.merit(longer[design]) for design in whole], float)
    proxy_N = values_NS[:, 0]
    figures = RankFigures(
        tau_interval(proxy_N, truth_N),
        _between_seeds(values_NS),
        tuple(_rival(*rival, proxy_N, truth_N) for rival in _rivals(objectives, whole)),
        _rungs([longer[design] for design in whole], metric, truth_N),
        float(np.median(values_NS.std(axis=1, ddof=1))) if plan.seeds > 1 else None,
        agreement_within([design.resolution for design in whole], proxy_N, truth_N),
        None if plan.tuned is None else tau_interval([tuned[design] or 0.0 for design in whole], truth_N),
    )
    return Audit(tier, metric.name, len(whole), verdict(figures), figures)


LARGEST_IMAGE = "the largest image"
"""Name of a rival: the larger a design's largest image, the better it is said to be."""


def _rivals(objectives: Objectives, designs: Sequence[Architecture]) -> Iterator[tuple[str, np.ndarray]]:
    """What is known of designs without training, by name."""
    for axis in _rival_axes(objectives):
        yield axis.label.noun, np.array([axis.of(design) for design in designs])
    yield LARGEST_IMAGE, np.array([float(design.resolution) for design in designs])


def _rival(noun: str, rival_N: np.ndarray, proxy_N: np.ndarray, truth_N: np.ndarray) -> CostRank:
    return CostRank(noun, tau_interval(rival_N, truth_N), tau_difference(proxy_N, rival_N, truth_N))


def _between_seeds(values_NS: np.ndarray) -> Interval | None:
    """Mean over pairs of seeds, for the value and for the ends of its interval."""
    count = values_NS.shape[1]
    pairs = [tau_interval(values_NS[:, i], values_NS[:, j]) for i in range(count) for j in range(i)]
    if not pairs:
        return None
    value, low, high = (float(np.mean([getattr(pair, name) for pair in pairs])) for name in ("value", "low", "high"))
    return Interval(value, low, high)


def _rungs(longer: Sequence[Evaluation], metric: MetricAxis, truth_N: np.ndarray) -> tuple[tuple[int, Interval], ...]:
    name = metric.name
    curves = [{int(row["epoch"]): metric.merit(row[name]) for row in e.history if name in row} for e in longer]
    shared = sorted(set.intersection(*(set(curve) for curve in curves)))
    return tuple((epoch, tau_interval([curve[epoch] for curve in curves], truth_N)) for epoch in shared[:-1])


def verdict(found: RankFigures) -> str:
    """The conclusion from a tier's figures, in words."""
    rival = max(found.costs, key=lambda cost: cost.tau.value)
    name = rival.noun
    if found.tuned is not None:
        return _verdict_of_scores(found, rival)
    said = f"the proxy ranks with tau {found.proxy}, {name} with {rival.tau}: "
    if rival.lead.low > 0:
        said += f"the proxy is better than {name}"
    elif rival.lead.high < 0:
        said += f"the proxy is worse than {name}; rank by {name}, or train proxies longer"
    else:
        said += f"the proxy is no better than {name} as far as these designs tell; train longer, or audit more designs"
    if found.seeds is not None and found.seeds.low <= 0:
        said += "; another seed reorders it as if by chance, so measure each design with more seeds or more images"
    return said


def _verdict_of_scores(found: RankFigures, rival: CostRank) -> str:
    """The conclusion about scores with a parent's weights: believed if they rank, and no worse than what is known."""
    said = f"the parent's weights rank with tau {found.proxy}, {rival.noun} with {rival.tau}"
    if found.proxy.low <= 0:
        why = "they may rank as if by chance"
    elif rival.lead.high < 0:
        why = f"{rival.noun} alone ranks better"
    else:
        alone = "" if rival.lead.low > 0 else f"; {rival.noun} alone is as good as far as these designs tell"
        return f"{said}: believed{alone}"
    return f"{said}: not believed, as {why}; tune more designs (lower evaluator.keep), or set evaluator to stand_alone"
