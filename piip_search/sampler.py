"""Who proposes: ask for an architecture, tell what came of it.

Optuna's samplers know nothing of what may be built. `InsideLimits` wraps one of them: whatever it suggests is moved to
the nearest design that is legal, fits the limit and was never proposed before. So no proposal is ever thrown away, and
the search ends by itself when nothing new is left.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from piip_search.architecture import Architecture
from piip_search.space import Designs, SearchSpace

LOSSES = 2
"""One for the metric, one for the cost."""


class Sampler(Protocol):
    """Proposes architectures, one at a time, and learns from what they turned out to be."""

    def ask(self, recorded: Architecture | None = None) -> Architecture | None:
        """The next architecture to measure; None when nothing new is left.

        Args:
            recorded: What was proposed at this point of an earlier sitting. It is proposed again, and the sampler
                goes through the same states as it did then.
        """
        ...

    def tell(self, architecture: Architecture, losses: Sequence[float] | None) -> None:
        """What came of a proposal: its losses, all lower is better, or None where it failed."""
        ...


class InsideLimits(BaseSampler):
    """An Optuna sampler whose every proposal is one of the given designs, and each at most once.

    It works in any Optuna study whose parameters are `distributions`. Legend: N designs, D dimensions.

    Attributes:
        distributions: One integer parameter for each dimension in which there is a choice.
    """

    def __init__(self, inner: BaseSampler | None, space: SearchSpace, designs: Designs, seed: int) -> None:
        """Wraps a sampler.

        Args:
            inner: Whose suggestions are moved to legal ones; None draws uniformly among the legal.
            space: What the designs are of.
            designs: All that may be proposed.
            seed: Of the uniform draws and of ties between equally near designs.
        """
        self._inner = inner
        self._space = space
        self._names = [name for name, _ in space.dimensions]
        self._rows_ND = designs.rows_ND
        self._free_N = np.ones(len(designs), dtype=bool)
        self._random = np.random.RandomState(seed)
        self._recorded: Architecture | None = None
        sizes = np.array([size for _, size in space.dimensions])
        self._scale_D = 1 / np.maximum(1, sizes - 1)
        self.distributions: dict[str, BaseDistribution] = {
            name: IntDistribution(0, size - 1) for name, size in space.dimensions if size > 1
        }

    @property
    def exhausted(self) -> bool:
        """Whether every design was proposed."""
        return not self._free_N.any()

    def record(self, architecture: Architecture | None) -> None:
        """Makes the next proposal this architecture, whatever the inner sampler says."""
        self._recorded = architecture

    def decode(self, params: dict[str, Any]) -> Architecture:
        """The architecture that a trial's parameters stand for."""
        return self._space.decode(np.array([params.get(name, 0) for name in self._names]))

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters are proposed together: legality is a matter of all of them."""
        return self.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The inner sampler's suggestion, moved to the nearest free design."""
        wish_D = self._wish(study, trial, search_space)
        row_D = self._nearest(wish_D)
        if self._recorded is not None:
            row_D = self._space.encode(self._recorded)
        self._free_N &= (self._rows_ND != row_D).any(axis=1)
        return {name: int(value) for name, value in zip(self._names, row_D, strict=True) if name in self.distributions}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never needed for our own parameters: they are all proposed together."""
        raise ValueError(f"{param_name!r} is no dimension of this space; its parameters are {list(self.distributions)}")

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        if self._inner is not None:
            self._inner.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        if self._inner is not None:
            self._inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Nothing to do: a study is asked by one process."""

    def _wish(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> NDArray[np.float64] | None:
        if self._inner is None:
            return None
        params = self._inner.sample_relative(study, trial, search_space)
        for name, distribution in search_space.items():
            if name not in params:
                params[name] = self._inner.sample_independent(study, trial, name, distribution)
        return np.array([params.get(name, 0) for name in self._names], dtype=float)

    def _nearest(self, wish_D: NDArray[np.float64] | None) -> NDArray[np.int8]:
        if self.exhausted:
            raise RuntimeError("every design of the space was proposed")
        free = np.flatnonzero(self._free_N)
        if wish_D is not None:
            # Steps from choice to choice, each dimension's whole range counting as one.
            distance_N = np.abs(self._rows_ND[free] - wish_D) @ self._scale_D
            free = free[distance_N <= distance_N.min() + 1e-9]
        row_D: NDArray[np.int8] = self._rows_ND[free[self._random.randint(len(free))]]
        return row_D


class OptunaSampler:
    """A `Sampler` over an Optuna study in memory; the ledger, not the study, is what lasts."""

    def __init__(self, sampler: InsideLimits) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._sampler = sampler
        self._study = optuna.create_study(directions=["minimize"] * LOSSES, sampler=sampler)
        self._asked: dict[Architecture, optuna.Trial] = {}

    def ask(self, recorded: Architecture | None = None) -> Architecture | None:
        if self._sampler.exhausted and recorded is None:
            return None
        self._sampler.record(recorded)
        trial = self._study.ask(self._sampler.distributions)
        architecture = self._sampler.decode(trial.params)
        self._asked[architecture] = trial
        return architecture

    def tell(self, architecture: Architecture, losses: Sequence[float] | None) -> None:
        trial = self._asked.pop(architecture)
        if losses is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, list(losses))


def _nsga2(trials: int, seed: int) -> BaseSampler:
    # Several generations even in a short search; Optuna's own default of 50 would be all of it.
    population = int(np.clip(2 * np.sqrt(trials), 4, 50))
    return optuna.samplers.NSGAIISampler(population_size=population, seed=seed)


def _tpe(trials: int, seed: int) -> BaseSampler:
    with warnings.catch_warnings():
        # Multivariate sampling and the constant liar are the options made for joint, parallel proposals.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            n_startup_trials=max(4, min(10, trials // 3)), multivariate=True, constant_liar=True, seed=seed
        )


def _uniform(trials: int, seed: int) -> BaseSampler | None:
    return None


SAMPLERS: dict[str, Callable[[int, int], BaseSampler | None]] = {"nsga2": _nsga2, "tpe": _tpe, "random": _uniform}


def make_sampler(name: str, space: SearchSpace, designs: Designs, trials: int, seed: int) -> Sampler:
    """The sampler of that name over those designs.

    Args:
        name: A key of `SAMPLERS`.
        space: What the designs are of.
        designs: All that may be proposed.
        trials: How many proposals are planned.
        seed: Equal seeds and equal tells make equal proposals.
    """
    return OptunaSampler(InsideLimits(SAMPLERS[name](trials, seed), space, designs, seed))
