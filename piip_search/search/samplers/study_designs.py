"""The designs of a search as parameters of an Optuna study; each is proposed once, also by several processes."""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import FrozenTrial

from piip_search.architecture.design import Design
from piip_search.errors import SpaceError
from piip_search.search.samplers.design_pool import DesignPool, PricedDesigns, RowSpace

CLAIM = "piip:design"
"""System attribute of a trial: its design, before its parameters are set."""
TRIES = 5
"""Attempts to choose a design while other processes take the same ones."""
Choose = Callable[[NDArray[np.bool_]], int]
"""Chooses a free design by index."""


class StudyDesigns:
    """The designs of a search as parameters of a study, with those already proposed. Legend: N designs, D dimensions.

    Attributes:
        distributions: One integer parameter for each dimension in which there is a choice.
        pool: The designs.
        recorded: The next design, whatever a sampler suggests.
    """

    def __init__(self, space: RowSpace, designs: PricedDesigns, seed: int) -> None:
        """Prepares the designs; arguments are those of `DesignPool`."""
        self.pool = DesignPool(space, designs, seed)
        self.recorded: Design | None = None
        self._space = space
        self._names = [name for name, _ in space.dimensions]
        self.distributions: dict[str, BaseDistribution] = {
            name: IntDistribution(0, size - 1) for name, size in space.dimensions if size > 1
        }
        self._given: dict[int, int] = {}
        self._settled = 0
        self._lock = threading.Lock()

    def row_of(self, params: dict[str, Any]) -> NDArray[np.int64]:
        """The row of a trial's parameters."""
        return np.array([params.get(name, 0) for name in self._names])

    def decode(self, params: dict[str, Any]) -> Design:
        """The design of a trial's parameters."""
        return self._space.decode(self.row_of(params))

    def propose(self, study: optuna.Study, trial: FrozenTrial, choose: Choose) -> dict[str, Any]:
        """Parameters of the design that is chosen for a trial.

        Args:
            study: Study of the trial.
            trial: Trial without a design.
            choose: Chooses a design, given which ones are free of all that the study has proposed.
        """
        with self._lock:  # threads may share a study
            for _ in range(TRIES):
                self.catch_up(study, trial)
                index = self._chosen(trial.system_attrs.get("fixed_params", {}), choose)
                self.pool.take(index)
                self._given[trial.number] = index
                study._storage.set_trial_system_attr(trial._trial_id, CLAIM, index)
                # Another process may have chosen the same design at the same time: the earlier trial keeps it.
                if not any(
                    other.number < trial.number and other.number not in self._given and self._claimed(other) == index
                    for other in study.get_trials(deepcopy=False)[self._settled :]
                ):
                    break
            if not self.pool.free:
                with suppress(RuntimeError):  # raised in a user's own loop, which calls no optimize
                    study.stop()
        row_D = self.pool.rows_ND[index]
        return {name: int(value) for name, value in zip(self._names, row_D, strict=True) if name in self.distributions}

    def catch_up(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Takes the designs of all other trials of a study.

        Trials of other spaces, and of designs outside the pool, are ignored.
        """
        others = study.get_trials(deepcopy=False)
        for other in others[self._settled :]:
            if other.number != trial.number and other.number not in self._given:
                index = self._claimed(other)
                if index is not None:
                    self.pool.take(index)
                    self._given[other.number] = index
        while self._settled < len(others) and (
            others[self._settled].number in self._given or others[self._settled].state.is_finished()
        ):
            self._settled += 1

    def of_trial(self, number: int) -> int | None:
        """The design of a trial that `catch_up` has seen; None for one of another space."""
        return self._given.get(number)

    def unknown(self, name: str) -> ValueError:
        """The error about a parameter that the space lacks."""
        return ValueError(f"{name!r} is no dimension of this space; its parameters are {list(self.distributions)}")

    def _chosen(self, fixed: dict[str, Any], choose: Choose) -> int:
        """The chosen design among those that agree with the parameters that a user enqueued."""
        if set(fixed) >= set(self.distributions):
            return self.pool.index_of(self.row_of(fixed))
        agreeing_N = self.pool.free_N.copy()
        for place, name in enumerate(self._names):
            if name in fixed:
                agreeing_N &= self.pool.rows_ND[:, place] == fixed[name]
        if not agreeing_N.any():
            raise SpaceError(f"no design is left with {fixed or 'any choices'}; enqueue others")
        index = choose(agreeing_N)
        return index if self.recorded is None else self.pool.place(self.recorded)

    def _claimed(self, trial: FrozenTrial) -> int | None:
        if set(trial.params) == set(self.distributions):
            return self.pool.find(self.row_of(trial.params))
        claim = trial.system_attrs.get(CLAIM)
        return claim if isinstance(claim, int) and 0 <= claim < len(self.pool.free_N) else None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())
