"""Samplers by name."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from piip_search.architecture.design import Design
from piip_search.architecture.traits import Grouping
from piip_search.search.samplers.acquisition import Prior
from piip_search.search.samplers.design_pool import DesignPool, PricedDesigns, RowSpace
from piip_search.search.samplers.direct import FrontGainSampler, UniformSampler
from piip_search.search.samplers.matched import MatchedSampler
from piip_search.search.samplers.optuna import InsideLimits, front_gain
from piip_search.search.samplers.suggestion import Sampler, Suggestion


class OptunaSampler:
    """A `Sampler` with an Optuna study in memory; the ledger is the permanent record."""

    def __init__(self, sampler: InsideLimits, losses: int) -> None:
        """Creates the study.

        Args:
            sampler: Sampler of the study.
            losses: Number of losses: metrics and costs.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._sampler = sampler
        self._study = optuna.create_study(directions=["minimize"] * losses, sampler=sampler)
        self._asked: dict[Design, optuna.Trial] = {}

    def ask(self, recorded: Design | None = None) -> Suggestion | None:
        if self._sampler.exhausted and recorded is None:
            return None
        self._sampler.record(recorded)
        trial = self._study.ask(self._sampler.distributions)
        design = self._sampler.decode(trial.params)
        self._asked[design] = trial
        return Suggestion(design, self._sampler.reason)

    def tell(self, design: Design, losses: Sequence[float] | None) -> None:
        trial = self._asked.pop(design)
        if losses is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, list(losses))

    def report(self, design: Design, epochs: int, losses: Sequence[float]) -> None:
        """Does nothing: Optuna's samplers of several losses learn from final ones alone."""


def _nsga2(trials: int, seed: int) -> BaseSampler:
    # Several generations even in a short search, of which Optuna's default of 50 would take all trials.
    population = int(np.clip(2 * np.sqrt(trials), 4, 50))
    return optuna.samplers.NSGAIISampler(population_size=population, seed=seed)


def _tpe(trials: int, seed: int) -> BaseSampler:
    with warnings.catch_warnings():
        # Multivariate sampling and the constant liar are Optuna's options for joint, parallel proposals.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            n_startup_trials=max(4, min(10, trials // 3)), multivariate=True, constant_liar=True, seed=seed
        )


OPTUNA: dict[str, Callable[[int, int], BaseSampler]] = {"nsga2": _nsga2, "tpe": _tpe}
SAMPLERS = ("piip", *OPTUNA, "random")


def make_sampler(
    name: str,
    space: RowSpace,
    designs: PricedDesigns,
    trials: int,
    seed: int,
    tiers: Sequence[float] = (),
    features: Callable[[NDArray[np.intp]], NDArray[np.float64]] | None = None,
    prior: Prior | None = None,
    metrics: int = 1,
    groups: Grouping | None = None,
) -> Sampler:
    """The sampler with a name, over some designs.

    Args:
        name: One of `SAMPLERS`, or `matched` with groups.
        space: Space of the designs.
        designs: All designs that may be proposed.
        trials: Planned number of proposals.
        seed: Seed; equal seeds and equal results give equal proposals.
        tiers: Tiers of cost, in the unit of the designs' costs; by default one at the dearest design.
        features: Features for our sampler; by default those of PIIP networks.
        prior: Prior knowledge for our sampler.
        metrics: Number of measured losses, which come before the designs' costs.
        groups: What `matched` compares.

    Raises:
        SpaceError: Fewer than two groups of `matched` hold designs.
    """
    if name == "matched" and groups is not None:
        return MatchedSampler(DesignPool(space, designs, seed), designs.costs_NC[:, 0], groups, seed)
    if name == "random":
        return UniformSampler(DesignPool(space, designs, seed))
    if name == "piip":
        tiers = tiers or [float(designs.costs_NC[:, 0].max())]
        gain = front_gain(space, designs, tiers, trials, seed, features, prior, metrics)
        return FrontGainSampler(DesignPool(space, designs, seed), gain, metrics)
    return OptunaSampler(
        InsideLimits(OPTUNA[name](trials, seed), space, designs, seed), metrics + designs.costs_NC.shape[1]
    )
