"""Optuna samplers whose proposals are designs of the space, each once: ours, and a wrapper for any other.

`InsideLimits` moves each suggestion of the sampler that it wraps to the nearest design within the limit that was never
proposed before. So no proposal is wasted, and a search ends when no design is left. Both samplers work in any Optuna
study whose parameters are their `distributions`: with threads, with several processes on one storage, and in a resumed
study. `optimize` stops with the last design.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from piip_search.architecture.design import Design
from piip_search.evaluation.reason import Reason
from piip_search.search.samplers.acquisition import START, AcquisitionPool, ExpectedFrontGain, Prior
from piip_search.search.samplers.design_pool import PricedDesigns, RowSpace
from piip_search.search.samplers.results import Results, State
from piip_search.search.samplers.study_designs import StudyDesigns
from piip_search.space import Designs, Features, SearchSpace

FEWEST_SPREAD = 4
"""Fewest designs of the initial spread in a short search."""
REACHED = "piip:reached"
"""User attribute of a trial: its losses at lower rungs, by epochs."""
MOST_CHANGES = 2
"""Most choices in which a design's neighbours differ from it."""


class InsideLimits(BaseSampler):
    """An Optuna sampler that proposes only the given designs, each at most once.

    Legend: N designs, D dimensions.

    Attributes:
        distributions: One integer parameter for each dimension in which there is a choice.
    """

    def __init__(self, inner: BaseSampler, space: RowSpace, designs: PricedDesigns, seed: int) -> None:
        """Wraps a sampler.

        Args:
            inner: Sampler whose suggestions are moved to designs of the space.
            space: Space of the designs.
            designs: All designs that may be proposed.
            seed: Seed of ties between equally near designs.
        """
        self._inner = inner
        self.reason = Reason(type(inner).__name__)
        self._designs = StudyDesigns(space, designs, seed)
        self.distributions = self._designs.distributions

    @property
    def exhausted(self) -> bool:
        """Whether every design was proposed."""
        return not self._designs.pool.free

    def record(self, design: Design | None) -> None:
        """Makes the next proposal this design, whatever the inner sampler suggests."""
        self._designs.recorded = design

    def decode(self, params: dict[str, Any]) -> Design:
        """The design of a trial's parameters."""
        return self._designs.decode(params)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Includes all parameters: a design depends on all of them together."""
        return self.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The free design nearest to the inner sampler's suggestion."""
        # The inner sampler is asked even for a recorded design: its state has to advance.
        wish_D = self._wish(study, trial, search_space)
        return self._designs.propose(study, trial, lambda free_N: self._designs.pool.nearest(free_N, wish_D))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Raises for foreign parameters; ours are all sampled together."""
        raise self._designs.unknown(param_name)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._inner.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Does nothing: a study is used by one process."""

    def _wish(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> NDArray[np.float64]:
        params = self._inner.sample_relative(study, trial, search_space)
        for name, distribution in search_space.items():
            if name not in params:
                params[name] = self._inner.sample_independent(study, trial, name, distribution)
        return self._designs.row_of(params).astype(float)


class FrontSampler(BaseSampler):
    """Proposes the design with the largest expected gain of the fronts at its known cost (`acquisition`).

    It works in any Optuna study whose parameters are `distributions` and whose first values are the losses of the
    metrics; further values are ignored, as costs are known. Losses by epochs that a running or pruned trial reported,
    to Optuna or in its user attribute `REACHED`, are evidence of its final loss. Other running trials count with their
    predicted loss. Failed trials, infinite values, and trials pruned without a report count as the worst. It is a
    function of the study's trials and needs no other state.
    """

    def __init__(
        self,
        space: RowSpace,
        designs: PricedDesigns,
        tiers: Sequence[float],
        trials: int,
        seed: int,
        features: Callable[[NDArray[np.intp]], NDArray[np.float64]] | None = None,
        prior: Prior | None = None,
        metrics: int = 1,
    ) -> None:
        """Prepares the sampler; arguments are those of `front_gain`."""
        self._designs = StudyDesigns(space, designs, seed)
        self._gain = front_gain(space, designs, tiers, trials, seed, features, prior, metrics)
        self._metrics = metrics
        self.distributions = self._designs.distributions

    def decode(self, params: dict[str, Any]) -> Design:
        """The design of a trial's parameters."""
        return self._designs.decode(params)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Includes all parameters: a design depends on all of them together."""
        return self.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The design with the largest expected gain."""

        def choose(free_N: NDArray[np.bool_]) -> int:
            found = self._results(study, trial)
            proposal = self._gain.propose(found.measured, found.pending, found.failed, free_N, found.reached)
            if proposal is None:
                raise RuntimeError("every design of the space was proposed")
            return proposal.index

        return self._designs.propose(study, trial, choose)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Raises for foreign parameters; ours are all sampled together."""
        raise self._designs.unknown(param_name)

    def reseed_rng(self) -> None:
        """Does nothing: random numbers follow from the seed and the trials."""

    def _results(self, study: optuna.Study, trial: FrozenTrial) -> Results:
        """Results of the other trials, with lower losses better."""
        maximised = [direction == optuna.study.StudyDirection.MAXIMIZE for direction in study.directions]
        signs = tuple(-1.0 if most else 1.0 for most in maximised[: self._metrics])
        found = Results(len(signs))
        self._designs.catch_up(study, trial)
        for other in study.get_trials(deepcopy=False):
            index = self._designs.of_trial(other.number)
            if index is not None and other.number != trial.number:
                # Optuna's own reports are of a single value.
                reached = {step: _signed([value], signs) for step, value in other.intermediate_values.items()}
                reached |= {int(epochs): losses for epochs, losses in other.user_attrs.get(REACHED, {}).items()}
                found.add(index, _STATES[other.state], _signed(other.values or (), signs), reached)
        return found


_STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.WAITING: "running",
    TrialState.PRUNED: "stopped",
    TrialState.COMPLETE: "done",
    TrialState.FAIL: "failed",
}


def _signed(values: Sequence[float], signs: Sequence[float]) -> list[float]:
    """Losses of the metrics from a trial's values, which costs may follow."""
    return [sign * value for sign, value in zip(signs, values, strict=False)]


def front_gain(
    space: RowSpace,
    designs: PricedDesigns,
    tiers: Sequence[float],
    trials: int,
    seed: int,
    features: Callable[[NDArray[np.intp]], NDArray[np.float64]] | None = None,
    prior: Prior | None = None,
    metrics: int = 1,
) -> ExpectedFrontGain:
    """The acquisition function of a search.

    Args:
        space: Space of the designs.
        designs: All designs that may be proposed.
        tiers: Tiers of cost, in the unit of the designs' costs.
        trials: Planned number of proposals; a third of them, but no more than needed, are the initial spread.
        seed: Seed of the initial spread, and of draws.
        features: Function for features of some designs, by index; the last is the cost with the tiers
            (`AcquisitionPool.of`). By default the features of PIIP networks.
        prior: Prior knowledge about the first metric of designs; dropped if it misleads.
        metrics: Number of measured losses.
    """
    own = features or _network_features(space, designs)
    choices = AcquisitionPool.of(designs.costs_NC, own, _Near(designs.rows_ND))
    start = int(np.clip(trials // 3, FEWEST_SPREAD, START))
    return ExpectedFrontGain(choices, tiers, seed, start, prior, metrics)


def _network_features(space: RowSpace, designs: PricedDesigns) -> Callable[[NDArray[np.intp]], NDArray[np.float64]]:
    """Features of PIIP networks.

    Raises:
        TypeError: The designs are other ones, whose features only the caller knows.
    """
    if not (isinstance(space, SearchSpace) and isinstance(designs, Designs)):
        raise TypeError(f"a {type(space).__name__} has no features of PIIP networks; give features")
    return Features(space, designs).of


class _Near:
    """Finds the designs that differ from a design in at most `MOST_CHANGES` choices."""

    def __init__(self, rows_ND: NDArray[Any]) -> None:
        self._columns_DN = np.ascontiguousarray(rows_ND.T)

    def __call__(self, index: int) -> NDArray[np.intp]:
        differing_N = np.zeros(self._columns_DN.shape[1], dtype=np.uint8)
        for column_N in self._columns_DN:
            differing_N += column_N != column_N[index]
        return np.flatnonzero(differing_N <= MOST_CHANGES)
