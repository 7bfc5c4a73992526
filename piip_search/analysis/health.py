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
SHORT_TRAINING = 25_000
"""Images that a training sees, counted again in each epoch, below which the merge `conv` hides other branches.

On blood cells at 128 px the layers of `conv` alone cost 0.089 of 0.261 mAP after 1,600 images and 0.049 of 0.282 after
3,300 (docs/log.md). Halved with each doubling, the loss is below the noise of seeds (0.01) at 25,000.
"""
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
class SurrogateScore:
    """How well unseen designs are ranked by one metric, in Kendall's tau with the measurements.

    Attributes:
        surrogate: Tau of cross-validated predictions.
        cost: Tau of the cost alone; positive if more is better.
    """

    surrogate: Interval
    cost: Interval


@dataclass(frozen=True, slots=True)
class Ranking:
    """How one metric ranks designs.

    Attributes:
        metric: Name of the metric.
        score: How well the surrogate learnt it; None for too few designs.
        rungs: Epochs of two neighbouring rungs, and tau between them.
    """

    metric: str
    score: SurrogateScore | None = None
    rungs: tuple[tuple[int, int, Interval], ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """The results of all checks.

    Attributes:
        findings: Problems of the search.
        rankings: Ranking of each searched metric, in their order.
        cost: Noun of the axis of the tiers (`CostLabel.noun`).
    """

    findings: tuple[Finding, ...]
    rankings: tuple[Ranking, ...]
    cost: str

    @property
    def said(self) -> tuple[str, ...]:
        """What was learnt of each metric, a line each; empty for too few designs."""
        return tuple(
            f"the surrogate ranks unseen designs{self._by(ranking)} with tau {ranking.score.surrogate}, "
            f"{self.cost} alone with {ranking.score.cost}"
            for ranking in self.rankings
            if ranking.score is not None
        )

    @property
    def rungs_said(self) -> tuple[str, ...]:
        """How alike neighbouring rungs rank designs, a line each."""
        return tuple(
            f"after {low} and {high} epochs designs are ranked alike{self._by(ranking)} with tau {tau}"
            for ranking in self.rankings
            for low, high, tau in ranking.rungs
        )

    def _by(self, ranking: Ranking) -> str:
        return f" by {ranking.metric}" if len(self.rankings) > 1 else ""


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
    measured = objectives.measured(whole)
    rankings = _rankings(evaluations, measured, objectives, rungs, features)
    # With a schedule few designs are finished: the patience for a front is counted in those.
    begun = len({evaluation.candidate.architecture for evaluation in evaluations})
    findings = [
        *_surrogates(rankings, objectives.axis.label.noun, len(measured), rungs[-1].data_fraction),
        *_front(measured, objectives, tiers, trials * min(1.0, len(whole) / max(begun, 1))),
        *_tiers(measured, objectives, tiers),
        *_noisy_rungs(rankings),
        *merge_findings(measured),
        *_failures(evaluations),
        *_stragglers(evaluations, objectives, running or {}),
    ]
    return Health(tuple(findings), rankings, objectives.axis.label.noun)


def _rankings(
    evaluations: Sequence[Evaluation],
    measured: Sequence[Evaluation],
    objectives: Objectives,
    rungs: Sequence[Fidelity],
    features: FeaturesOf | None,
) -> tuple[Ranking, ...]:
    known: Sequence[SurrogateScore | None] = [None] * len(objectives.metrics)
    if features is not None and len(measured) >= FEWEST_LEARNT:
        known = surrogate_scores(measured, objectives, features)
    pairs = [pair for pair in (_pair(evaluations, objectives, *two) for two in itertools.pairwise(rungs)) if pair]
    return tuple(
        Ranking(metric.name, known[place], tuple((lower, upper, taus[place]) for lower, upper, taus in pairs))
        for place, metric in enumerate(objectives.metrics)
    )


def surrogate_scores(
    measured: Sequence[Evaluation], objectives: Objectives, features: FeaturesOf, seed: int = 0
) -> list[SurrogateScore]:
    """How well the surrogate's predictions rank held-out designs, and how well the cost does, by each metric.

    The intervals ignore that folds share designs.
    """
    order = np.random.default_rng(seed).permutation(len(measured))[:MOST_LEARNT]
    losses_NM = objectives.losses([measured[place] for place in order])
    features_NF = features([measured[place].candidate.architecture for place in order])
    count = len(objectives.metrics)
    costs_N = losses_NM[:, count]
    return [
        SurrogateScore(
            tau_interval(_held_out(features_NF, loss_N, seed), loss_N, seed), tau_interval(-costs_N, loss_N, seed)
        )
        for loss_N in losses_NM[:, :count].T
    ]


def _held_out(features_NF: NDArray[np.float64], loss_N: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """The surrogate's predictions of designs that it was not fitted to, shape (N,)."""
    from threadpoolctl import threadpool_limits

    places, predicted_N = np.arange(len(loss_N)), np.zeros(len(loss_N))
    with threadpool_limits(1):
        for part in np.array_split(places, SURROGATE_FOLDS):
            others = np.setdiff1d(places, part)
            predicted_N[part] = Surrogate.fit(features_NF[others], loss_N[others], seed).expected(features_NF[part])
    return predicted_N


def _surrogates(rankings: Sequence[Ranking], cost: str, count: int, images: float) -> list[Finding]:
    return [
        finding
        for ranking in rankings
        if ranking.score is not None
        for finding in _surrogate(
            ranking.score, f" of {ranking.metric}" if len(rankings) > 1 else "", cost, count, images
        )
    ]


def _surrogate(found: SurrogateScore, of_metric: str, cost: str, count: int, images: float) -> list[Finding]:
    if found.surrogate.value <= max(found.cost.value, 0.0):
        message = f"ranks them no better (tau {found.surrogate}) than {cost} alone (tau {found.cost})"
    elif found.surrogate.low <= 0 and count >= FEWEST_SURE:
        message = f"ranks them as if by chance (tau {found.surrogate}; {cost} alone {found.cost})"
    else:
        return []
    message = f"what was learnt{of_metric} from {count} designs {message}"
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
) -> tuple[int, int, list[Interval]] | None:
    """Epochs of two rungs, and tau between them for each metric; None for too few designs."""
    before, after = (
        {e.candidate.architecture: objectives.values(e) for e in objectives.measured(finished(evaluations, rung))}
        for rung in (lower, upper)
    )
    both = [design for design in before if design in after]
    if len(both) < FEWEST_PAIRS:
        return None
    first_MN, second_MN = (np.array([part[design] for design in both], dtype=float).T for part in (before, after))
    return lower.epochs, upper.epochs, [tau_interval(*two) for two in zip(first_MN, second_MN, strict=True)]


def _noisy_rungs(rankings: Sequence[Ranking]) -> list[Finding]:
    return [
        finding
        for place in range(len(rankings[0].rungs))
        for ranking in rankings
        for finding in _noisy(*ranking.rungs[place], f" by {ranking.metric}" if len(rankings) > 1 else "")
    ]


def _noisy(lower: int, upper: int, tau: Interval, by_metric: str) -> list[Finding]:
    if tau.value >= NOISY:
        return []
    message = (
        f"designs that went on are ranked otherwise{by_metric} after {upper} epochs than after {lower} (tau {tau})"
    )
    action = f"raise the rung of {lower} epochs, keep more than one in so many, or start brackets at higher rungs"
    return [Finding("rungs", message, action)]


def merge_findings(measured: Sequence[Evaluation]) -> list[Finding]:
    """A finding if short trainings compare single branches with several under the merge `conv`.

    A single branch has no merge. The fresh layers of `conv` cost every other design a part of its metric, which shrinks
    as trainings get longer.

    Args:
        measured: Finished evaluations with values.
    """
    designs = {evaluation.candidate.architecture: evaluation for evaluation in measured}
    counts = Counter[str]()
    for design in designs:
        branches = len(getattr(design, "branches", ()))  # a table's design has none
        if branches == 1 or (branches and design.merge == "conv"):
            counts["single" if branches == 1 else "several"] += 1
    seen = [evaluation.facts.images * evaluation.candidate.fidelity.epochs for evaluation in designs.values()]
    images = int(np.median(seen)) if seen else 0
    if not counts["single"] or not counts["several"] or not 0 < images < SHORT_TRAINING:
        return []
    message = (
        f"{counts['single']} designs of one branch are compared with {counts['several']} of several under the merge "
        f"conv after {images:,} images; in so short trainings its fresh layers hide what other branches are worth"
    )
    action = "offer merges: [residual], train proxies longer, or compare designs of one number of branches alone"
    return [Finding("merge", message, action)]


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
    # Time goes with multiply-accumulates, whatever the tiers stand on; a table has only its own cost.
    axis = next((known for known in objectives.known if known.name == "gmacs"), objectives.axis)

    def work(candidate: Candidate) -> float:
        return axis.of(candidate.architecture) * max(candidate.fidelity.epochs, 1)

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
