"""The interface of samplers: ask for a design, tell its result."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from piip_search.architecture.design import Design
from piip_search.evaluation.reason import Reason
from piip_search.search.samplers.acquisition import Prior
from piip_search.search.samplers.design_pool import PricedDesigns, RowSpace
from piip_search.search.samplers.optuna import REACHED, FrontSampler, InsideLimits


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A sampler's proposal.

    Attributes:
        design: The design.
        reason: Reason of the proposal.
        expected: Expected loss, with its lowest and its highest predicted level; None without a prediction.
    """

    design: Design
    reason: Reason
    expected: tuple[float, float, float] | None = None


class Sampler(Protocol):
    """Proposes designs, one at a time, and learns from their results."""

    def ask(self, recorded: Design | None = None) -> Suggestion | None:
        """The next design to measure with the reason; None if no new one is left.

        Args:
            recorded: Architecture that an earlier sitting proposed at this point. It is proposed again, and the sampler
                goes through the same states as then.
        """
        ...

    def tell(self, design: Design, losses: Sequence[float] | None) -> None:
        """Learns a proposal's losses, metrics before costs, all lower is better, or None for a failure."""
        ...

    def report(self, design: Design, epochs: int, losses: Sequence[float]) -> None:
        """Learns the losses of a proposal's metrics at a lower rung; it is not finished, and may never be."""
        ...


class OptunaSampler:
    """A `Sampler` with an Optuna study in memory; the ledger is the permanent record."""

    def __init__(self, sampler: InsideLimits | FrontSampler, losses: int) -> None:
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
        expected = self._sampler.expected if isinstance(self._sampler, FrontSampler) else None
        return Suggestion(design, self._sampler.reason, expected)

    def tell(self, design: Design, losses: Sequence[float] | None) -> None:
        trial = self._asked.pop(design)
        if losses is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, list(losses))

    def report(self, design: Design, epochs: int, losses: Sequence[float]) -> None:
        # A user attribute: Optuna's own report does not work with several losses. The trial keeps running.
        trial = self._asked[design]
        trial.set_user_attr(REACHED, {**trial.user_attrs.get(REACHED, {}), str(epochs): list(losses)})


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


def _uniform(trials: int, seed: int) -> BaseSampler | None:
    return None


OPTUNA: dict[str, Callable[[int, int], BaseSampler | None]] = {"nsga2": _nsga2, "tpe": _tpe, "random": _uniform}
SAMPLERS = ("piip", *OPTUNA)


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
) -> Sampler:
    """The sampler with a name, over some designs.

    Args:
        name: One of `SAMPLERS`.
        space: Space of the designs.
        designs: All designs that may be proposed.
        trials: Planned number of proposals.
        seed: Seed; equal seeds and equal results give equal proposals.
        tiers: Tiers of cost, in the unit of the designs' costs; by default one at the dearest design.
        features: Features for our sampler; by default those of PIIP networks.
        prior: Prior knowledge for our sampler.
        metrics: Number of measured losses, which come before the designs' costs.
    """
    losses = metrics + designs.costs_NC.shape[1]
    if name == "piip":
        tiers = tiers or [float(designs.costs_NC[:, 0].max())]
        return OptunaSampler(FrontSampler(space, designs, tiers, trials, seed, features, prior, metrics), losses)
    return OptunaSampler(InsideLimits(OPTUNA[name](trials, seed), space, designs, seed), losses)
