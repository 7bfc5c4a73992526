"""Optuna samplers whose proposals are designs of the space, each once: ours, and a wrapper for any other.

`InsideLimits` moves each suggestion of the sampler that it wraps to the nearest design within the limit that was never
proposed before. So no proposal is wasted, and a search ends when no design is left. Both samplers work in any Optuna
study whose parameters are their `distributions`: with threads, with several processes on one storage, and in a resumed
study. `optimize` stops with the last design.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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
from piip_search.search.samplers.design_pool import DesignPool, PricedDesigns, RowSpace
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

    def __init__(self, inner: BaseSampler | None, space: RowSpace, designs: PricedDesigns, seed: int) -> None:
        """Wraps a sampler.

        Args:
            inner: Sampler whose suggestions are moved to designs of the space; None draws uniformly.
            space: Space of the designs.
            designs: All designs that may be proposed.
            seed: Seed of the uniform draws and of ties between equally near designs.
        """
        self._inner = inner
        self.reason = Reason("uniform" if inner is None else type(inner).__name__)
        self._proposals = DesignPool(space, designs, seed)
        self.distributions = self._proposals.distributions

    @property
    def exhausted(self) -> bool:
        """Whether every design was proposed."""
        return not self._proposals.free_N.any()

    def record(self, design: Design | None) -> None:
        """Makes the next proposal this design, whatever the inner sampler suggests."""
        self._proposals.recorded = design

    def decode(self, params: dict[str, Any]) -> Design:
        """The design of a trial's parameters."""
        return self._proposals.decode(params)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Includes all parameters: a design depends on all of them together."""
        return self.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The free design nearest to the inner sampler's suggestion."""
        # The inner sampler is asked even for a recorded design: its state has to advance.
        wish_D = self._wish(study, trial, search_space)
        return self._proposals.propose(study, trial, lambda free_N: self._proposals.nearest(free_N, wish_D))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Raises for foreign parameters; ours are all sampled together."""
        raise self._proposals.unknown(param_name)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        if self._inner is not None:
            self._inner.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        if self._inner is not None:
            self._inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Does nothing: a study is used by one process."""

    def _wish(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> NDArray[np.float64] | None:
        if self._inner is None:
            return None
        params = self._inner.sample_relative(study, trial, search_space)
        for name, distribution in search_space.items():
            if name not in params:
                params[name] = self._inner.sample_independent(study, trial, name, distribution)
        return self._proposals.row_of(params).astype(float)


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
        """Prepares the sampler.

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
        self._proposals = DesignPool(space, designs, seed)
        own = features or _network_features(space, designs)
        choices = AcquisitionPool.of(designs.costs_NC, own, _Near(designs.rows_ND))
        start = int(np.clip(trials // 3, FEWEST_SPREAD, START))
        self._gain = ExpectedFrontGain(choices, tiers, seed, start, prior, metrics)
        self._metrics = metrics
        self.distributions = self._proposals.distributions
        self.reason = Reason()
        self.expected: tuple[float, float, float] | None = None

    @property
    def exhausted(self) -> bool:
        """Whether every design was proposed."""
        return not self._proposals.free_N.any()

    def record(self, design: Design | None) -> None:
        """Makes the next proposal this design."""
        self._proposals.recorded = design

    def decode(self, params: dict[str, Any]) -> Design:
        """The design of a trial's parameters."""
        return self._proposals.decode(params)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Includes all parameters: a design depends on all of them together."""
        return self.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The design with the largest expected gain."""
        self.reason, self.expected = Reason(), None

        def choose(free_N: NDArray[np.bool_]) -> int | None:
            if self._proposals.recorded is not None:
                return None  # a recorded design takes its place
            evidence = self._evidence(study, trial)
            proposal = self._gain.propose(
                evidence.measured, evidence.pending, evidence.failed, free_N, evidence.reached
            )
            if proposal is None:
                raise RuntimeError("every design of the space was proposed")
            self.reason, self.expected = proposal.reason, proposal.loss
            return proposal.index

        return self._proposals.propose(study, trial, choose)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Raises for foreign parameters; ours are all sampled together."""
        raise self._proposals.unknown(param_name)

    def reseed_rng(self) -> None:
        """Does nothing: random numbers follow from the seed and the trials."""

    def _evidence(self, study: optuna.Study, trial: FrozenTrial) -> "_TrialResults":
        """Results of the other trials, with lower losses better."""
        maximised = [direction == optuna.study.StudyDirection.MAXIMIZE for direction in study.directions]
        signs = tuple(-1.0 if most else 1.0 for most in maximised[: self._metrics])
        indices, found = self._proposals.catch_up(study, trial), _TrialResults(signs)
        for other in study.get_trials(deepcopy=False):
            index = indices.get(other.number)
            if index is not None:
                found.add(index, other)
        return found


@dataclass
class _TrialResults:
    """Results of trials, by design.

    Attributes:
        signs: Factor for each metric that makes lower values better.
        losses: Losses of full measurements, one or several.
        pending: Designs in measurement.
        failed: Designs that could not be measured.
        reached: Losses by epochs at lower rungs.
    """

    signs: tuple[float, ...]
    losses: dict[int, list[list[float]]] = field(default_factory=dict)
    pending: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    reached: dict[int, dict[int, list[float]]] = field(default_factory=dict)

    @property
    def measured(self) -> dict[int, list[float]]:
        """Losses of each design; the means of several measurements."""
        return {
            index: [float(np.mean(values)) for values in zip(*found, strict=True)]
            for index, found in self.losses.items()
        }

    def add(self, index: int, trial: FrozenTrial) -> None:
        """Adds one trial."""
        state = trial.state
        # Optuna's own reports are of a single value.
        reported = {step: self._signed([value]) for step, value in trial.intermediate_values.items()}
        reported |= {int(epochs): losses for epochs, losses in trial.user_attrs.get(REACHED, {}).items()}
        on_its_way = {step: losses for step, losses in reported.items() if self._is_whole(losses)}
        if on_its_way and state != TrialState.FAIL:
            self.reached[index] = on_its_way
        values = self._signed(trial.values or ())
        if state == TrialState.COMPLETE and self._is_whole(values):
            self.losses.setdefault(index, []).append(values)
        elif on_its_way and state in (TrialState.RUNNING, TrialState.PRUNED):
            return
        elif state in (TrialState.RUNNING, TrialState.WAITING):
            self.pending.append(index)
        else:
            self.failed.append(index)

    def _signed(self, values: Sequence[float]) -> list[float]:
        """Losses of the metrics from a trial's values, which costs may follow."""
        return [sign * value for sign, value in zip(self.signs, values, strict=False)]

    def _is_whole(self, losses: Sequence[float]) -> bool:
        return len(losses) == len(self.signs) and bool(np.isfinite(losses).all())


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
