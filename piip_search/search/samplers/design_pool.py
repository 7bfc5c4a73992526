"""The designs of a search as parameters of an Optuna study; each is proposed once, also by several processes."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import FrozenTrial

from piip_search.architecture.design import Design
from piip_search.errors import SpaceError

CLAIM = "piip:design"
"""System attribute of a trial: its design, before its parameters are set."""
TRIES = 5
"""Attempts to choose a design while other processes take the same ones."""


class RowSpace(Protocol):
    """The interface of a space for samplers; `piip_search.space.SearchSpace` implements it."""

    @property
    def dimensions(self) -> Sequence[tuple[str, int]]:
        """Name and number of choices of each column of a row."""
        ...

    def decode(self, row_D: NDArray[Any]) -> Design:
        """The design of a row."""
        ...

    def encode(self, design: Design) -> NDArray[Any]:
        """The row of a design."""
        ...


class PricedDesigns(Protocol):
    """The interface of priced designs for samplers; `piip_search.space.Designs` implements it."""

    @property
    def rows_ND(self) -> NDArray[Any]:
        """Rows of the designs."""
        ...

    @property
    def costs_NC(self) -> NDArray[np.float64]:
        """Known costs of the designs; the first one is in the unit of the tiers."""
        ...

    def __len__(self) -> int: ...


Choose = Callable[[NDArray[np.bool_]], int | None]
"""Chooses a free design by index; returns None if a recorded design takes its place."""


class DesignPool:
    """The designs of a search as parameters of a study, with those already proposed. Legend: N designs, D dimensions.

    Attributes:
        distributions: One integer parameter for each dimension in which there is a choice.
        rows_ND: Rows of the designs.
        free_N: Whether each design is not proposed yet.
        recorded: The next design, whatever a sampler suggests.
    """

    def __init__(self, space: RowSpace, designs: PricedDesigns, seed: int) -> None:
        """Prepares the pool.

        Args:
            space: Space of the designs.
            designs: All designs that may be proposed.
            seed: Seed of ties between equally near designs.
        """
        self._space = space
        self.names = [name for name, _ in space.dimensions]
        self.rows_ND = designs.rows_ND
        self.free_N = np.ones(len(designs), dtype=bool)
        self.recorded: Design | None = None
        self._random = np.random.RandomState(seed)
        sizes = np.array([size for _, size in space.dimensions])
        self._scale_D = 1 / np.maximum(1, sizes - 1)
        self.distributions: dict[str, BaseDistribution] = {
            name: IntDistribution(0, size - 1) for name, size in space.dimensions if size > 1
        }
        keys_N = _keys(self.rows_ND)
        self._order_N = np.argsort(keys_N, kind="stable")
        self._keys_N = keys_N[self._order_N]
        self._given: dict[int, int] = {}
        self._settled = 0
        self._lock = threading.Lock()

    def row_of(self, params: dict[str, Any]) -> NDArray[np.int64]:
        """The row of a trial's parameters."""
        return np.array([params.get(name, 0) for name in self.names])

    def decode(self, params: dict[str, Any]) -> Design:
        """The design of a trial's parameters."""
        return self._space.decode(self.row_of(params))

    def encode(self, design: Design) -> NDArray[Any]:
        """The row of a design."""
        return self._space.encode(design)

    def find(self, row_D: NDArray[Any]) -> int | None:
        """Index of the design with a row; None without one."""
        key = _keys(np.asarray(row_D)[None].astype(self.rows_ND.dtype))
        place = int(np.searchsorted(self._keys_N, key)[0])
        found = place < len(self._keys_N) and self._keys_N[place] == key[0]
        return int(self._order_N[place]) if found else None

    def index_of(self, row_D: NDArray[Any]) -> int:
        """Index of the design with a row.

        Raises:
            SpaceError: No design has it.
        """
        found = self.find(row_D)
        if found is None:
            raise SpaceError(f"no design has the choices {row_D.tolist()}; propose designs of this space only")
        return found

    def nearest(self, free_N: NDArray[np.bool_], wish_D: NDArray[np.float64] | None) -> int:
        """The free design nearest to a wish, counting each column's range as one; a random one without a wish."""
        free = np.flatnonzero(free_N)
        if not len(free):
            raise RuntimeError("every design of the space was proposed")
        if wish_D is not None:
            distance_N = np.abs(self.rows_ND[free] - wish_D) @ self._scale_D
            free = free[distance_N <= distance_N.min() + 1e-9]
        return int(free[self._random.randint(len(free))])

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
                self.free_N[index] = False
                self._given[trial.number] = index
                study._storage.set_trial_system_attr(trial._trial_id, CLAIM, index)
                # Another process may have chosen the same design at the same time: the earlier trial keeps it.
                if not any(
                    other.number < trial.number and other.number not in self._given and self._claimed(other) == index
                    for other in study.get_trials(deepcopy=False)[self._settled :]
                ):
                    break
            if not self.free_N.any():
                with suppress(RuntimeError):  # raised in a user's own loop, which calls no optimize
                    study.stop()
        row_D = self.rows_ND[index]
        return {name: int(value) for name, value in zip(self.names, row_D, strict=True) if name in self.distributions}

    def catch_up(self, study: optuna.Study, trial: FrozenTrial) -> dict[int, int]:
        """The designs of all other trials of a study, by number; they are no longer free.

        Trials of other spaces, and of designs outside this pool, are ignored.
        """
        others = study.get_trials(deepcopy=False)
        for other in others[self._settled :]:
            if other.number != trial.number and other.number not in self._given:
                index = self._claimed(other)
                if index is not None:
                    self.free_N[index] = False
                    self._given[other.number] = index
        while self._settled < len(others) and (
            others[self._settled].number in self._given or others[self._settled].state.is_finished()
        ):
            self._settled += 1
        return {number: index for number, index in self._given.items() if number != trial.number}

    def unknown(self, name: str) -> ValueError:
        """The error about a parameter that the space lacks."""
        return ValueError(f"{name!r} is no dimension of this space; its parameters are {list(self.distributions)}")

    def _chosen(self, fixed: dict[str, Any], choose: Choose) -> int:
        """The chosen design among those that agree with the parameters that a user enqueued."""
        if set(fixed) >= set(self.distributions):
            return self.index_of(self.row_of(fixed))
        agreeing_N = self.free_N.copy()
        for place, name in enumerate(self.names):
            if name in fixed:
                agreeing_N &= self.rows_ND[:, place] == fixed[name]
        if not agreeing_N.any():
            raise SpaceError(f"no design is left with {fixed or 'any choices'}; enqueue others")
        index = choose(agreeing_N)
        if self.recorded is not None:
            return self.index_of(self.encode(self.recorded))
        assert index is not None, "a design is chosen where none is recorded"
        return index

    def _claimed(self, trial: FrozenTrial) -> int | None:
        if set(trial.params) == set(self.distributions):
            return self.find(self.row_of(trial.params))
        claim = trial.system_attrs.get(CLAIM)
        return claim if isinstance(claim, int) and 0 <= claim < len(self.free_N) else None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


def _keys(rows_ND: NDArray[Any]) -> NDArray[Any]:
    """Rows as single sortable values."""
    rows_ND = np.ascontiguousarray(rows_ND)
    keys: NDArray[Any] = rows_ND.view(np.dtype((np.void, rows_ND.dtype.itemsize * rows_ND.shape[1])))[:, 0]
    return keys
