"""What a proxy is worth: whether it ranks designs as a longer training does, better than their cost alone would.

Of each tier some measured designs are drawn. Each is trained again with other seeds, which shows how much of the
ranking is noise, and once for longer, which stands for the full training; that one is measured on its way too.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from piip_search.analysis.rank_correlation import Interval, tau_difference, tau_interval
from piip_search.architecture import Architecture
from piip_search.evaluation.evaluation import Candidate, Evaluation, Fidelity
from piip_search.evaluation.objectives import Objectives

FEWEST_RANKED = 5
"""Designs below which a ranking says nothing."""
LONGER = 3
"""Epochs of the longer training over those of the proxy, unless told otherwise."""
MEASUREMENTS = 6
"""How often a longer training is measured on its way."""


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """What an audit measures.

    Attributes:
        designs: Designs of each tier.
        seeds: Trainings of each proxy, the search's own included.
        reference: What stands for the full training.
        seed: Seed of the choice of designs.
    """

    designs: int
    seeds: int
    reference: Fidelity
    seed: int = 0

    @property
    def digest(self) -> str:
        """Tells audits of one run apart."""
        content = {**asdict(self), "reference": {"horizon": None, **self.reference.to_dict()}}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:6]

    def run_name(self, audited: str) -> str:
        """Name of the audit's own run. People read it; what is an audit, and of which run, the ledger says."""
        return f"{audited}.audit-{self.digest}"

    @property
    def measure_every(self) -> int:
        """Epochs between two measurements of a longer training."""
        return max(1, self.reference.epochs // MEASUREMENTS)


def plan_of(candidates: Sequence[Candidate], proxy: Fidelity) -> AuditPlan | None:
    """The plan that an audit's own run followed, as far as reading it needs; None where nothing of it tells.

    Args:
        candidates: What the audit's run proposed.
        proxy: Fidelity of the search's own evaluations.
    """
    references = {candidate.fidelity for candidate in candidates} - {proxy}
    if len(references) != 1:
        return None
    proxies = Counter(candidate.architecture for candidate in candidates if candidate.fidelity == proxy)
    return AuditPlan(len(proxies), max(proxies.values(), default=1), references.pop())


def tier_of(cost: float, tiers: Sequence[float]) -> float | None:
    """The cheapest tier that a cost fits; None where it fits none."""
    return min((tier for tier in tiers if cost <= tier), default=None)


def audit_candidates(
    evaluations: Sequence[Evaluation], objectives: Objectives, tiers: Sequence[float], plan: AuditPlan
) -> list[Candidate]:
    """What is to be measured: of each design the proxy with every seed, and the longer training.

    A proxy of several seeds is trained again with as many others. The longer training starts from no relative's
    weights, whatever the proxies do: it is what they stand for.
    """
    candidates: list[Candidate] = []
    for tier in tiers:
        for evaluation in _drawn(evaluations, objectives, tiers, tier, plan):
            proxy = evaluation.candidate
            each = proxy.fidelity.seeds
            candidates += [replace(proxy, seed=proxy.seed + each * turn) for turn in range(plan.seeds)]
            candidates.append(replace(proxy, fidelity=plan.reference, parent=None))
    return [replace(candidate, number=number) for number, candidate in enumerate(candidates)]


def _drawn(
    evaluations: Sequence[Evaluation], objectives: Objectives, tiers: Sequence[float], tier: float, plan: AuditPlan
) -> list[Evaluation]:
    """Designs of a tier, each once, drawn without looking at what they reached."""
    by_design = {e.candidate.architecture: e for e in reversed(objectives.measured(evaluations))}
    inside = [e for e in by_design.values() if tier_of(objectives.cost(e).gmacs, tiers) == tier]
    inside.sort(key=lambda evaluation: evaluation.candidate.number)
    order = np.random.RandomState(plan.seed).permutation(len(inside))[: plan.designs]
    return [inside[index] for index in sorted(order)]


@dataclass(frozen=True, slots=True)
class RankFigures:
    """How well scores rank the designs of one tier, as Kendall's tau.

    Attributes:
        proxy: Rank correlation of the proxy and the longer training.
        seeds: Rank correlation of the proxy and itself with another seed, the mean over pairs of seeds.
            None with one seed.
        macs: Rank correlation of the multiply-accumulates and the longer training.
        parameters: Rank correlation of the parameters and the longer training.
        over_macs: How much better than the multiply-accumulates the proxy ranks.
        over_parameters: How much better than the parameters the proxy ranks.
        rungs: Epoch of the longer training, and tau of what it had reached there and what it reached in the end.
        spread: Standard deviation of the metric between seeds, the median over designs. None with one seed.
    """

    proxy: Interval
    seeds: Interval | None
    macs: Interval
    parameters: Interval
    over_macs: Interval
    over_parameters: Interval
    rungs: tuple[tuple[int, Interval], ...]
    spread: float | None


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found in one tier.

    Attributes:
        tier: GMACs.
        designs: How many designs were measured in full.
        verdict: What it means, in words.
        figures: What the verdict rests on; None for too few designs.
    """

    tier: float
    designs: int
    verdict: str
    figures: RankFigures | None = None


def audit(
    evaluations: Sequence[Evaluation], objectives: Objectives, tiers: Sequence[float], plan: AuditPlan
) -> list[Audit]:
    """What the measurements say, tier by tier; designs of which one failed are left out."""
    return [_audit(evaluations, objectives, tiers, tier, plan) for tier in tiers]


def _audit(
    evaluations: Sequence[Evaluation], objectives: Objectives, tiers: Sequence[float], tier: float, plan: AuditPlan
) -> Audit:
    inside = [e for e in objectives.measured(evaluations) if tier_of(objectives.cost(e).gmacs, tiers) == tier]
    longer = {e.candidate.architecture: e for e in inside if e.candidate.fidelity == plan.reference}
    seeds: dict[Architecture, list[float]] = {}
    for evaluation in sorted(inside, key=lambda e: e.candidate.seed):
        if evaluation.candidate.fidelity != plan.reference:
            seeds.setdefault(evaluation.candidate.architecture, []).append(objectives.value(evaluation) or 0.0)
    whole = [design for design in longer if len(seeds.get(design, ())) == plan.seeds]
    if len(whole) < FEWEST_RANKED:
        few = f"{len(whole)} designs were measured in full, too few to say; {FEWEST_RANKED} are needed, more are better"
        return Audit(tier, len(whole), few)
    values_NS = np.array([seeds[design] for design in whole])
    truth_N = np.array([objectives.value(longer[design]) for design in whole], float)
    proxy_N = values_NS[:, 0]
    costs = [objectives.cost(longer[design]) for design in whole]
    macs_N, parameters_N = ([getattr(cost, name) for cost in costs] for name in ("macs", "params"))
    figures = RankFigures(
        tau_interval(proxy_N, truth_N),
        _between_seeds(values_NS),
        tau_interval(macs_N, truth_N),
        tau_interval(parameters_N, truth_N),
        tau_difference(proxy_N, macs_N, truth_N),
        tau_difference(proxy_N, parameters_N, truth_N),
        _rungs([longer[design] for design in whole], objectives.metric, truth_N),
        float(np.median(values_NS.std(axis=1, ddof=1))) if plan.seeds > 1 else None,
    )
    return Audit(tier, len(whole), verdict(figures), figures)


def _between_seeds(values_NS: np.ndarray) -> Interval | None:
    """Mean over pairs of seeds, of the value and of the ends of its interval."""
    count = values_NS.shape[1]
    pairs = [tau_interval(values_NS[:, i], values_NS[:, j]) for i in range(count) for j in range(i)]
    if not pairs:
        return None
    value, low, high = (float(np.mean([getattr(pair, name) for pair in pairs])) for name in ("value", "low", "high"))
    return Interval(value, low, high)


def _rungs(longer: Sequence[Evaluation], metric: str, truth_N: np.ndarray) -> tuple[tuple[int, Interval], ...]:
    curves = [{int(row["epoch"]): row[metric] for row in e.history if metric in row} for e in longer]
    shared = sorted(set.intersection(*(set(curve) for curve in curves)))
    return tuple((epoch, tau_interval([curve[epoch] for curve in curves], truth_N)) for epoch in shared[:-1])


def verdict(found: RankFigures) -> str:
    """What a tier's figures mean, in words."""
    rivals = (("MACs", found.macs, found.over_macs), ("parameters", found.parameters, found.over_parameters))
    name, rival, over = max(rivals, key=lambda item: item[1].value)
    said = f"the proxy ranks with tau {found.proxy}, {name} with {rival}: "
    if over.low > 0:
        said += f"the proxy is better than {name}"
    elif over.high < 0:
        said += f"the proxy is worse than {name}; rank by {name}, or train proxies longer"
    else:
        said += f"the proxy is no better than {name} as far as these designs tell; train longer, or audit more designs"
    if found.seeds is not None and found.seeds.low <= 0:
        said += "; another seed reorders it as if by chance, so measure each design with more seeds or more images"
    return said
