"""Whether a search does what it should, and what to do where it does not.

Every check names what was seen, with its numbers, and an action. A check that has too little to go by says nothing.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture import Architecture
from piip_search.evaluation import Candidate, Evaluation, Fidelity
from piip_search.objectives import Objectives, finished, pareto_front
from piip_search.ranking import Interval, tau_interval
from piip_search.surrogate import Surrogate

FeaturesOf = Callable[[Sequence[Architecture]], NDArray[np.float64]]

FEWEST_LEARNT, FOLDS = 12, 5
"""Finished designs from which the surrogate is judged, and parts of its cross-validation."""
FEWEST_PAIRS, NOISY = 8, 0.3
"""Designs that reached two rungs from which their ranking is judged, and the tau below which it is called noisy."""
FEWEST_FAILURES, CHANCE, MANY = 3, 0.05, 0.3
"""Failures from which a cause is looked for, how likely chance may explain it, and the share that is too many."""
LONGEST = 3.0
"""Times the expected time from which an evaluation is called a straggler."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with a search.

    Attributes:
        check: Which check found it.
        message: What was seen, with its numbers.
        action: What to do.
    """

    check: str
    message: str
    action: str

    def __str__(self) -> str:
        return f"{self.check}: {self.message}; {self.action}"


@dataclass(frozen=True, slots=True)
class Health:
    """What the checks say.

    Attributes:
        findings: What is wrong.
        surrogate: Kendall's tau of cross-validated predictions and what was measured; None for too few designs.
        macs: The same of the cost alone.
        rungs: Epochs of two neighbouring rungs, and tau between them.
    """

    findings: tuple[Finding, ...]
    surrogate: Interval | None = None
    macs: Interval | None = None
    rungs: tuple[tuple[int, int, Interval], ...] = ()


def examine(
    evaluations: Sequence[Evaluation],
    objectives: Objectives,
    tiers: Sequence[float],
    rungs: Sequence[Fidelity],
    trials: int,
    features: FeaturesOf | None = None,
    running: Mapping[Candidate, float] | None = None,
) -> Health:
    """Examines a search.

    Args:
        evaluations: All that ended, in that order.
        objectives: What is traded off.
        tiers: Budgets, rising.
        rungs: Fidelities of the schedule, the whole training last.
        trials: Designs that the search may measure.
        features: What a surrogate learns from; without them it is not judged.
        running: For how many seconds candidates have been running.
    """
    whole = finished(evaluations, rungs[-1])
    surrogate, macs, findings = None, None, []
    measured = objectives.measured(whole)
    if features is not None and len(measured) >= FEWEST_LEARNT:
        surrogate, macs = learnt(measured, objectives, features)
        findings += _surrogate(surrogate, macs, len(measured))
    ranked = [pair for pair in (_pair(evaluations, objectives, *two) for two in itertools.pairwise(rungs)) if pair]
    findings += _front(measured, objectives, tiers, trials)
    findings += _tiers(measured, objectives, tiers)
    findings += [finding for pair in ranked for finding in _noisy(*pair)]
    findings += _failures(evaluations)
    findings += _stragglers(evaluations, objectives, running or {})
    return Health(tuple(findings), surrogate, macs, tuple(ranked))


def learnt(
    measured: Sequence[Evaluation], objectives: Objectives, features: FeaturesOf, seed: int = 0
) -> tuple[Interval, Interval]:
    """Kendall's tau with what was measured: of the surrogate's predictions for parts it did not see, and of the cost.

    Both are positive where more is better. Intervals leave out that folds share designs.
    """
    from threadpoolctl import threadpool_limits

    losses_N = objectives.losses(measured)
    features_NF = features([evaluation.candidate.architecture for evaluation in measured])
    order = np.random.default_rng(seed).permutation(len(measured))
    predicted_N = np.zeros(len(measured))
    with threadpool_limits(1):
        for part in np.array_split(order, FOLDS):
            others = np.setdiff1d(order, part)
            fitted = Surrogate.fit(features_NF[others], losses_N[others, 0], seed)
            predicted_N[part] = fitted.expected(features_NF[part])
    return tau_interval(predicted_N, losses_N[:, 0], seed), tau_interval(-losses_N[:, 1], losses_N[:, 0], seed)


def _surrogate(surrogate: Interval, macs: Interval, count: int) -> list[Finding]:
    if surrogate.value > max(macs.value, 0.0):
        return []
    message = (
        f"what was learnt from {count} designs ranks them no better (tau {surrogate}) than MACs alone do (tau {macs})"
    )
    action = "see with piip-search audit whether the proxy ranks at all; train it longer or on more images"
    return [Finding("surrogate", message, action)]


def _front(
    measured: Sequence[Evaluation], objectives: Objectives, tiers: Sequence[float], trials: int
) -> list[Finding]:
    patience = max(10, trials // 5)
    if len(measured) < 2 * patience:
        return []
    before = measured[:-patience]
    for tier in tiers:
        then, now = (pareto_front(part, objectives, tier).hypervolume for part in (before, measured))
        if now > then:
            return []
    message = f"the last {patience} finished designs moved no tier's front"
    return [Finding("front", message, "stop here and export, offer more choices in the space, or train proxies longer")]


def _tiers(measured: Sequence[Evaluation], objectives: Objectives, tiers: Sequence[float]) -> list[Finding]:
    if len(tiers) < 2 or len(measured) < 8 * len(tiers):
        return []
    found = []
    costs = np.array([objectives.cost(evaluation).gmacs for evaluation in measured])
    for low, high in zip((0.0, *tiers), tiers, strict=False):
        count = int(((costs > low) & (costs <= high)).sum())
        if count < len(measured) / len(tiers) / 4:
            message = f"{count} of {len(measured)} finished designs cost {low:g} to {high:g} G"
            action = "offer models and image sizes of that cost, raise budget.trials, or leave the tier out"
            found.append(Finding("tier", message, action))
    return found


def _pair(
    evaluations: Sequence[Evaluation], objectives: Objectives, lower: Fidelity, upper: Fidelity
) -> tuple[int, int, Interval] | None:
    before, after = (
        {e.candidate.architecture: objectives.value(e) for e in objectives.measured(finished(evaluations, rung))}
        for rung in (lower, upper)
    )
    both = [design for design in before if design in after]
    if len(both) < FEWEST_PAIRS:
        return None
    first, second = ([part[design] or 0.0 for design in both] for part in (before, after))
    return lower.epochs, upper.epochs, tau_interval(first, second)


def _noisy(lower: int, upper: int, tau: Interval) -> list[Finding]:
    if tau.value >= NOISY:
        return []
    message = f"designs that went on are ranked otherwise after {upper} epochs than after {lower} (tau {tau})"
    action = f"raise the rung of {lower} epochs, keep more than one in so many, or start brackets at higher rungs"
    return [Finding("rungs", message, action)]


def _failures(evaluations: Sequence[Evaluation]) -> list[Finding]:
    failed = [evaluation for evaluation in evaluations if evaluation.status == "failed"]
    if len(failed) < FEWEST_FAILURES:
        return []
    error = Counter(evaluation.error for evaluation in failed).most_common(1)[0][0]
    found = []
    cause = _cause(evaluations, failed)
    if cause is not None:
        part, inside, total = cause
        message = f"{inside} of the {total} evaluations with {part} failed, most often with: {error}"
        found.append(Finding("failures", message, f"look at that error, or leave {part.split()[-1]} out of the space"))
    elif len(failed) > MANY * len(evaluations):
        message = f"{len(failed)} of {len(evaluations)} evaluations failed, most often with: {error}"
        found.append(Finding("failures", message, "mend that first; piip-search show lists them all"))
    return found


def _cause(evaluations: Sequence[Evaluation], failed: Sequence[Evaluation]) -> tuple[str, int, int] | None:
    """The model or image size whose evaluations fail more than others by Fisher's exact test, and how often."""
    from scipy.stats import fisher_exact

    every = Counter(part for evaluation in evaluations for part in _parts(evaluation))
    broken = Counter(part for evaluation in failed for part in _parts(evaluation))
    likely: list[tuple[float, str]] = []
    for part, inside in broken.items():
        others, total = len(failed) - inside, every[part]
        if inside < FEWEST_FAILURES or total == len(evaluations):
            continue
        rest = len(evaluations) - total
        table = [[inside, total - inside], [others, rest - others]]
        likely.append((float(fisher_exact(table, alternative="greater")[1]), part))
    # Of as many tests as there are parts one would be below the level by chance.
    if not likely or min(likely)[0] > CHANCE / len(every):
        return None
    part = min(likely)[1]
    return part, broken[part], every[part]


def _parts(evaluation: Evaluation) -> set[str]:
    branches = getattr(evaluation.candidate.architecture, "branches", ())
    return {f"model {branch.backbone}" for branch in branches} | {f"images of {b.resolution}" for b in branches}


def _stragglers(
    evaluations: Sequence[Evaluation], objectives: Objectives, running: Mapping[Candidate, float]
) -> list[Finding]:
    def work(candidate: Candidate) -> float:
        return objectives.price(candidate.architecture).gmacs * max(candidate.fidelity.epochs, 1)

    taken = [(e.seconds, work(e.candidate)) for e in evaluations if e.status == "done" and e.seconds > 0]
    if len(taken) < 5:
        return []
    # A training has a part that does not depend on the design: no less than the quickest of all is expected.
    rate = float(np.median([seconds / done for seconds, done in taken]))
    least = min(seconds for seconds, _ in taken)
    found = []
    for candidate, seconds in running.items():
        expected = max(rate * work(candidate), least)
        if seconds > LONGEST * expected and seconds > max(taken)[0]:
            message = f"trial {candidate.number} has run for {seconds:.0f} s where {expected:.0f} s were expected"
            action = "look at its worker and log; stop the run and start it again, and it goes on from its last epoch"
            found.append(Finding("straggler", message, action))
    return found
