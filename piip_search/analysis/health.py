"""Checks of a search: problems, and what to do about them.

Every finding names the numbers behind it and an action. Checks stay silent without enough data.
"""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from piip_search.analysis.error_kinds import kind_of
from piip_search.analysis.rank_correlation import Interval, tau_interval
from piip_search.architecture import Architecture
from piip_search.evaluation.evaluation import Candidate, Evaluation, Fidelity
from piip_search.evaluation.objectives import Objectives, finished, pareto_front
from piip_search.search.samplers.surrogate import Surrogate

FeaturesOf = Callable[[Sequence[Architecture]], NDArray[np.float64]]

FEWEST_LEARNT = 12
"""Fewest finished designs for a judgement of the surrogate."""
MOST_LEARNT = 300
"""Most finished designs in a judgement of the surrogate."""
SURROGATE_FOLDS = 5
"""Folds of the surrogate's cross-validation."""
FEWEST_SURE = 30
"""Fewest finished designs for which an interval that includes zero means chance; with fewer it is always wide."""
FEWEST_STILL = 10
"""Fewest finished designs without a change of any front before the search counts as stalled."""
STILL = 0.2
"""Share of all designs of the search that must also have changed no front."""
FEWEST_PAIRS = 8
"""Fewest designs at two rungs for a judgement of their ranking."""
NOISY = 0.3
"""Kendall's tau below which that ranking counts as noisy."""
FEWEST_FAILURES = 3
"""Fewest failures for a search of their cause."""
CHANCE = 0.05
"""Greatest probability that chance explains them."""
MANY = 0.3
"""Share of failures from which they are too many."""
STRAGGLER = 3.0
"""Factor on the expected time from which an evaluation is a straggler."""
_MEMORY = re.compile(r"MemoryError|out of memory|low on memory", re.IGNORECASE)
"""Texts of errors about exhausted memory; other errors mention memory too, such as that of a pinned batch."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem of a search.

    Attributes:
        check: Name of the check.
        message: Observation, with its numbers.
        action: Way out.
    """

    check: str
    message: str
    action: str

    def __str__(self) -> str:
        return f"{self.check}: {self.message}; {self.action}"


@dataclass(frozen=True, slots=True)
class Health:
    """The results of all checks.

    Attributes:
        findings: Problems of the search.
        surrogate: Kendall's tau of cross-validated predictions and measurements; None for too few designs.
        macs: Kendall's tau of the cost alone and measurements.
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
    """Checks a search.

    Args:
        evaluations: All evaluations in the order of their ends.
        objectives: Objectives of the search.
        tiers: Tiers of the limit, rising.
        rungs: Fidelities of the schedule, the full training last.
        trials: Number of designs in the search's budget.
        features: Features of the surrogate; without them it is not judged.
        running: Running time of each running candidate in seconds.
    """
    whole = finished(evaluations, rungs[-1])
    surrogate, macs, findings = None, None, []
    measured = objectives.measured(whole)
    if features is not None and len(measured) >= FEWEST_LEARNT:
        surrogate, macs = learnt(measured, objectives, features)
        findings += _surrogate(surrogate, macs, len(measured), rungs[-1].data_fraction)
    ranked = [pair for pair in (_pair(evaluations, objectives, *two) for two in itertools.pairwise(rungs)) if pair]
    # With a schedule few designs are finished: the patience for a front is counted in those.
    begun = len({evaluation.candidate.architecture for evaluation in evaluations})
    findings += _front(measured, objectives, tiers, trials * min(1.0, len(whole) / max(begun, 1)))
    findings += _tiers(measured, objectives, tiers)
    findings += [finding for pair in ranked for finding in _noisy(*pair)]
    findings += _failures(evaluations)
    findings += _stragglers(evaluations, objectives, running or {})
    return Health(tuple(findings), surrogate, macs, tuple(ranked))


def learnt(
    measured: Sequence[Evaluation], objectives: Objectives, features: FeaturesOf, seed: int = 0
) -> tuple[Interval, Interval]:
    """Kendall's tau with the measurements, for the surrogate's predictions of held-out designs, and for the cost.

    Both are positive if more is better. The intervals ignore that folds share designs.
    """
    from threadpoolctl import threadpool_limits

    order = np.random.default_rng(seed).permutation(len(measured))[:MOST_LEARNT]
    losses_N = objectives.losses([measured[place] for place in order])
    features_NF = features([measured[place].candidate.architecture for place in order])
    places, predicted_N = np.arange(len(order)), np.zeros(len(order))
    with threadpool_limits(1):
        for part in np.array_split(places, SURROGATE_FOLDS):
            others = np.setdiff1d(places, part)
            predicted_N[part] = Surrogate.fit(features_NF[others], losses_N[others, 0], seed).expected(
                features_NF[part]
            )
    costs_N = losses_N[:, len(objectives.metrics)]
    return tau_interval(predicted_N, losses_N[:, 0], seed), tau_interval(-costs_N, losses_N[:, 0], seed)


def _surrogate(surrogate: Interval, macs: Interval, count: int, images: float) -> list[Finding]:
    if surrogate.value <= max(macs.value, 0.0):
        message = f"ranks them no better (tau {surrogate}) than MACs alone do (tau {macs})"
    elif surrogate.low <= 0 and count >= FEWEST_SURE:
        message = f"ranks them as if by chance (tau {surrogate}; MACs alone {macs})"
    else:
        return []
    message = f"what was learnt from {count} designs {message}"
    more = " or on more images" if images < 1 else ""
    action = f"see with piip-search audit whether the proxy ranks at all; if it does not, train it longer{more}"
    return [Finding("surrogate", message, action)]


def _front(
    measured: Sequence[Evaluation], objectives: Objectives, tiers: Sequence[float], whole_trials: float
) -> list[Finding]:
    patience = max(FEWEST_STILL, int(whole_trials * STILL))
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
    costs = np.array([objectives.cost(evaluation) for evaluation in measured])
    for low, high in zip((0.0, *tiers), tiers, strict=False):
        count = int(((costs > low) & (costs <= high)).sum())
        if count < len(measured) / len(tiers) / 4:
            message = f"{count} of {len(measured)} finished designs cost {low:g} to {objectives.axis.format(high)}"
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
    """Findings about failures, counted in designs: one that failed at a late rung counts once."""
    designs = {evaluation.candidate.architecture for evaluation in evaluations}
    errors = {e.candidate.architecture: e.error for e in evaluations if e.status == "failed"}
    if len(errors) < FEWEST_FAILURES:
        return []
    part = _cause(designs, errors)
    if part is not None:
        error = _commonest([error for design, error in errors.items() if part in _parts(design)])
        total = sum(part in _parts(design) for design in designs)
        inside = sum(part in _parts(design) for design in errors)
        message = (
            f"{inside} of the {total} designs with {part} failed, {len(errors) - inside} of the "
            f"{len(designs) - total} without, most often with: {error}"
        )
        return [Finding("failures", message, f"{_mend(error)}, or leave {part.split()[-1]} out of the space")]
    if len(errors) > MANY * len(designs):
        error = _commonest(list(errors.values()))
        message = f"{len(errors)} of {len(designs)} designs failed, most often with: {error}"
        return [Finding("failures", message, f"{_mend(error)}; piip-search show lists them all")]
    return []


def _cause(designs: set[Architecture], failed: Collection[Architecture]) -> str | None:
    """The model or image size whose designs fail more often than others by Fisher's exact test."""
    from scipy.stats import fisher_exact

    every = Counter(part for design in designs for part in _parts(design))
    broken = Counter(part for design in failed for part in _parts(design))
    likely: list[tuple[float, str]] = []
    for part, inside in broken.items():
        others, total = len(failed) - inside, every[part]
        if inside < FEWEST_FAILURES or total == len(designs):
            continue
        rest = len(designs) - total
        table = [[inside, total - inside], [others, rest - others]]
        likely.append((float(fisher_exact(table, alternative="greater")[1]), part))
    # Among as many tests as there are parts one would be below the level by chance.
    return min(likely)[1] if likely and min(likely)[0] <= CHANCE / len(every) else None


def _commonest(errors: Sequence[str]) -> str:
    """An error of the most frequent kind: errors that differ only in numbers are of one kind."""
    kinds = [kind_of(error) for error in errors]
    return errors[kinds.index(Counter(kinds).most_common(1)[0][0])]


def _mend(error: str) -> str:
    if "one image a step does not fit" in error:  # no batch is smaller
        return "offer smaller models and images, or set training.checkpointing"
    return "lower training.batch_size" if _MEMORY.search(error) else "look at that error"


def _parts(design: Architecture) -> set[str]:
    branches = getattr(design, "branches", ())  # a table's design has none
    return {f"model {branch.backbone}" for branch in branches} | {f"images of {b.resolution}" for b in branches}


def _stragglers(
    evaluations: Sequence[Evaluation], objectives: Objectives, running: Mapping[Candidate, float]
) -> list[Finding]:
    def work(candidate: Candidate) -> float:
        return objectives.price(candidate.architecture) * max(candidate.fidelity.epochs, 1)

    timed = [e for e in evaluations if e.status == "done" and e.seconds > 0]
    taken = [(e.seconds, work(e.candidate)) for e in timed]
    if len(taken) < 5:
        return []
    # A training has a part that does not depend on the design: expect at least the time of the quickest.
    rate = float(np.median([seconds / done for seconds, done in taken]))
    least = min(seconds for seconds, _ in taken)
    found = []
    for candidate, seconds in running.items():
        expected = max(rate * work(candidate), least)
        # A first rung that hangs is reported before it is older than a full training.
        alike = [e.seconds for e in timed if e.candidate.fidelity == candidate.fidelity]
        longest = max(alike, default=max(taken)[0])
        if seconds > STRAGGLER * expected and seconds > longest:
            message = f"trial {candidate.number} has run for {seconds:.0f} s where {expected:.0f} s were expected"
            action = (
                "look at its worker and log, and whether the run was interrupted; if it was not, stop it and run the "
                "same command again: it goes on from the last epoch"
            )
            found.append(Finding("straggler", message, action))
    return found
