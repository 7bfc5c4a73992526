"""Optuna samplers that propose legal designs alone, each once: ours, and any other inside the limits.

Whatever `InsideLimits` is told by the sampler that it wraps, it moves to the nearest design that is legal, fits the
limit and was never proposed before. So no proposal is ever thrown away, and a search ends by itself when nothing new
is left. Both work in any Optuna study whose parameters are their `distributions`: with threads, with several processes
on one storage, and in a study that is taken up again. A study that is optimised is stopped with its last design.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from piip_search.architecture import Architecture
from piip_search.front_gain import START, Choices, FrontGain, Prior
from piip_search.space import Designs, Features, SearchSpace

FEWEST = 4
"""Designs that are spread out first in a short search."""
REACHED = "piip:reached"
"""User attribute of a trial: losses that it reached on its way, by epochs."""
CLAIM = "piip:design"
"""System attribute of a trial: the design that it was given, before its parameters are known."""
STEPS = 2
"""Most choices in which a design's neighbours differ from it."""
TRIES = 5
"""How often another design is chosen where another process took the same one at the same time."""


class Space(Protocol):
    """What samplers ask of a space; `piip_search.space.SearchSpace` is one."""

    @property
    def dimensions(self) -> Sequence[tuple[str, int]]:
        """Name and number of choices of each part of a row."""
        ...

    def decode(self, row_D: NDArray[Any]) -> Architecture:
        """The architecture of a row."""
        ...

    def encode(self, architecture: Architecture) -> NDArray[Any]:
        """The row of an architecture."""
        ...


class Offer(Protocol):
    """What samplers ask of the designs that may be proposed; `piip_search.space.Designs` is one."""

    @property
    def rows_ND(self) -> NDArray[Any]:
        """One design a row."""
        ...

    @property
    def gmacs_N(self) -> NDArray[np.float64]:
        """Their costs, in the unit of the budgets."""
        ...

    def __len__(self) -> int: ...


class Proposals:
    """What may be proposed and what was, as parameters of a study. Legend: N designs, D dimensions.

    Attributes:
        distributions: One integer parameter for each dimension in which there is a choice.
        rows_ND: The designs.
        free_N: Which were not proposed yet.
        recorded: What is to be proposed next, whatever a sampler says.
    """

    def __init__(self, space: Space, designs: Offer, seed: int) -> None:
        """Prepares.

        Args:
            space: What the designs are of.
            designs: All that may be proposed.
            seed: Of ties between equally near designs.
        """
        self._space = space
        self.names = [name for name, _ in space.dimensions]
        self.rows_ND = designs.rows_ND
        self.free_N = np.ones(len(designs), dtype=bool)
        self.recorded: Architecture | None = None
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
        """The row that parameters stand for."""
        return np.array([params.get(name, 0) for name in self.names])

    def decode(self, params: dict[str, Any]) -> Architecture:
        """The architecture that parameters stand for."""
        return self._space.decode(self.row_of(params))

    def encode(self, architecture: Architecture) -> NDArray[Any]:
        """The row of an architecture."""
        return self._space.encode(architecture)

    def find(self, row_D: NDArray[Any]) -> int | None:
        """The design with that row, if there is one."""
        key = _keys(np.asarray(row_D)[None].astype(self.rows_ND.dtype))
        place = int(np.searchsorted(self._keys_N, key)[0])
        found = place < len(self._keys_N) and self._keys_N[place] == key[0]
        return int(self._order_N[place]) if found else None

    def index_of(self, row_D: NDArray[Any]) -> int:
        """The design with that row.

        Raises:
            ValueError: No design has it.
        """
        found = self.find(row_D)
        if found is None:
            raise ValueError(f"no legal design has the choices {row_D.tolist()}; propose designs of this space alone")
        return found

    def nearest(self, wish_D: NDArray[np.float64] | None) -> int:
        """The free design nearest to a wish, or any: in steps from choice to choice, each range counting as one."""
        free = np.flatnonzero(self.free_N)
        if not len(free):
            raise RuntimeError("every design of the space was proposed")
        if wish_D is not None:
            distance_N = np.abs(self.rows_ND[free] - wish_D) @ self._scale_D
            free = free[distance_N <= distance_N.min() + 1e-9]
        return int(free[self._random.randint(len(free))])

    def propose(self, study: optuna.Study, trial: FrozenTrial, choose: Callable[[], int]) -> dict[str, Any]:
        """The parameters of the design that is chosen for a trial.

        Args:
            study: What the trial is of.
            trial: That is to have a design.
            choose: Gives one of the free designs; called with everything that the study has proposed taken.
        """
        with self._lock:  # a study may ask from several threads
            for _ in range(TRIES):
                self.catch_up(study, trial)
                index = self._chosen(trial.system_attrs.get("fixed_params", {}), choose)
                self.free_N[index] = False
                self._given[trial.number] = index
                study._storage.set_trial_system_attr(trial._trial_id, CLAIM, index)
                # Another process may have chosen the same at the same time: the earlier trial keeps it.
                if not any(
                    other.number < trial.number and other.number not in self._given and self._claimed(other) == index
                    for other in study.get_trials(deepcopy=False)[self._settled :]
                ):
                    break
            if not self.free_N.any():
                with suppress(RuntimeError):  # unless the study is optimised by somebody's own loop
                    study.stop()
        row_D = self.rows_ND[index]
        return {name: int(value) for name, value in zip(self.names, row_D, strict=True) if name in self.distributions}

    def catch_up(self, study: optuna.Study, trial: FrozenTrial) -> dict[int, int]:
        """The designs of all other trials of a study, by number, none of which is free any more.

        Trials of other spaces, and of designs that may not be proposed here, are passed over.
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
        """The error of a parameter that is none of the space's."""
        return ValueError(f"{name!r} is no dimension of this space; its parameters are {list(self.distributions)}")

    def _chosen(self, fixed: dict[str, Any], choose: Callable[[], int]) -> int:
        """What is chosen, of the designs that agree with what a user enqueued."""
        if set(fixed) >= set(self.distributions):
            return self.index_of(self.row_of(fixed))
        agreeing_N = self.free_N.copy()
        for place, name in enumerate(self.names):
            if name in fixed:
                agreeing_N &= self.rows_ND[:, place] == fixed[name]
        if not agreeing_N.any():
            raise ValueError(f"no design is left with {fixed or 'any choices'}; enqueue choices of legal designs")
        free_N, self.free_N = self.free_N, agreeing_N
        try:
            index = choose()
        finally:
            self.free_N = free_N
        return index if self.recorded is None else self.index_of(self.encode(self.recorded))

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
    """Rows as single values that can be sorted."""
    rows_ND = np.ascontiguousarray(rows_ND)
    keys: NDArray[Any] = rows_ND.view(np.dtype((np.void, rows_ND.dtype.itemsize * rows_ND.shape[1])))[:, 0]
    return keys


class InsideLimits(BaseSampler):
    """An Optuna sampler whose every proposal is one of the given designs, and each at most once.

    Legend: N designs, D dimensions.

    Attributes:
        distributions: One integer parameter for each dimension in which there is a choice.
    """

    def __init__(self, inner: BaseSampler | None, space: Space, designs: Offer, seed: int) -> None:
        """Wraps a sampler.

        Args:
            inner: Whose suggestions are moved to legal ones; None draws uniformly among the legal.
            space: What the designs are of.
            designs: All that may be proposed.
            seed: Of the uniform draws and of ties between equally near designs.
        """
        self._inner = inner
        self.why = {"source": "uniform" if inner is None else type(inner).__name__}
        self._proposals = Proposals(space, designs, seed)
        self.distributions = self._proposals.distributions

    @property
    def exhausted(self) -> bool:
        """Whether every design was proposed."""
        return not self._proposals.free_N.any()

    def record(self, architecture: Architecture | None) -> None:
        """Makes the next proposal this architecture, whatever the inner sampler says."""
        self._proposals.recorded = architecture

    def decode(self, params: dict[str, Any]) -> Architecture:
        """The architecture that a trial's parameters stand for."""
        return self._proposals.decode(params)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters are proposed together: legality is a matter of all of them."""
        return self.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The inner sampler's suggestion, moved to the nearest free design."""
        # Asked first, also where something is recorded: its state has to go on.
        wish_D = self._wish(study, trial, search_space)
        return self._proposals.propose(study, trial, lambda: self._proposals.nearest(wish_D))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never needed for our own parameters: they are all proposed together."""
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
        return self._proposals.row_of(params).astype(float)


class FrontSampler(BaseSampler):
    """Proposes the design that is expected to raise the fronts most, its cost being known (`front_gain`).

    It works in any Optuna study whose parameters are `distributions` and whose first value is the one to be found;
    further values are not looked at, as costs are known. What a running or pruned trial reported on its way, to
    Optuna or in its user attribute `REACHED` (a loss by epochs), is evidence of what becomes of it. What else runs
    counts as measured at what is expected of it; what failed, is no finite number, or was pruned without a report
    counts as the worst. A function of the study's trials alone: nothing of it needs to be kept.
    """

    def __init__(
        self,
        space: Space,
        designs: Offer,
        budgets: Sequence[float],
        trials: int,
        seed: int,
        features: Callable[[NDArray[np.intp]], NDArray[np.float64]] | None = None,
        prior: Prior | None = None,
    ) -> None:
        """Prepares.

        Args:
            space: What the designs are of.
            designs: All that may be proposed.
            budgets: Tiers of cost, in the unit of the designs' costs.
            trials: How many proposals are planned; a third of them, but no more than needed, spread out first.
            seed: Of the spread at the beginning, and of draws.
            features: Of some of the designs, by index, the last one being the cost (`Choices`); those of PIIP networks
                by default.
            prior: What is believed of the designs beforehand; dropped where it misleads.
        """
        self._proposals = Proposals(space, designs, seed)
        own = features or Features(cast(SearchSpace, space), cast(Designs, designs)).of
        choices = Choices(designs.gmacs_N, own, _Near(designs.rows_ND))
        start = int(np.clip(trials // 3, FEWEST, START))
        self._gain = FrontGain(choices, budgets, seed, start, prior)
        self.distributions = self._proposals.distributions
        self.why: dict[str, Any] = {}

    @property
    def exhausted(self) -> bool:
        """Whether every design was proposed."""
        return not self._proposals.free_N.any()

    def record(self, architecture: Architecture | None) -> None:
        """Makes the next proposal this architecture."""
        self._proposals.recorded = architecture

    def decode(self, params: dict[str, Any]) -> Architecture:
        """The architecture that a trial's parameters stand for."""
        return self._proposals.decode(params)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters are proposed together: legality is a matter of all of them."""
        return self.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The design with the largest expected gain."""
        self.why = {}

        def choose() -> int:
            if self._proposals.recorded is not None:
                return -1  # it is decided already
            evidence = self._evidence(study, trial)
            proposal = self._gain.propose(
                evidence.measured, evidence.pending, evidence.failed, self._proposals.free_N, evidence.reached
            )
            if proposal is None:
                raise RuntimeError("every design of the space was proposed")
            self.why = proposal.why
            return proposal.index

        return self._proposals.propose(study, trial, choose)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never needed for our own parameters: they are all proposed together."""
        raise self._proposals.unknown(param_name)

    def reseed_rng(self) -> None:
        """Nothing to do: randomness follows from the seed and the trials."""

    def _evidence(self, study: optuna.Study, trial: FrozenTrial) -> "_Found":
        """What the other trials found, losses being lower where they are better."""
        sign = -1.0 if study.directions[0] == optuna.study.StudyDirection.MAXIMIZE else 1.0
        indices, found = self._proposals.catch_up(study, trial), _Found()
        for other in study.get_trials(deepcopy=False):
            index = indices.get(other.number)
            if index is not None:
                found.add(index, other, sign)
        return found


@dataclass
class _Found:
    """What trials found, by design.

    Attributes:
        losses: Of measurements to the end, one or several.
        pending: Designs that are being measured.
        failed: Designs that could not be.
        reached: Losses by epochs, on the way.
    """

    losses: dict[int, list[float]] = field(default_factory=dict)
    pending: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    reached: dict[int, dict[int, float]] = field(default_factory=dict)

    @property
    def measured(self) -> dict[int, float]:
        """Of one design measured again, with another seed say, the mean."""
        return {index: float(np.mean(found)) for index, found in self.losses.items()}

    def add(self, index: int, trial: FrozenTrial, sign: float) -> None:
        """Takes one trial in."""
        state = trial.state
        reported = {step: sign * value for step, value in trial.intermediate_values.items()}
        reported |= {int(epochs): loss for epochs, loss in trial.user_attrs.get(REACHED, {}).items()}
        on_its_way = {step: loss for step, loss in reported.items() if np.isfinite(loss)}
        if on_its_way and state != TrialState.FAIL:
            self.reached[index] = on_its_way
        if state == TrialState.COMPLETE and np.isfinite(trial.values[0]):
            self.losses.setdefault(index, []).append(sign * trial.values[0])
        elif on_its_way and state in (TrialState.RUNNING, TrialState.PRUNED):
            return
        elif state in (TrialState.RUNNING, TrialState.WAITING):
            self.pending.append(index)
        else:
            self.failed.append(index)


class _Near:
    """Finds the designs that differ from one in at most `STEPS` choices."""

    def __init__(self, rows_ND: NDArray[Any]) -> None:
        self._columns_DN = np.ascontiguousarray(rows_ND.T)

    def __call__(self, index: int) -> NDArray[np.intp]:
        differing_N = np.zeros(self._columns_DN.shape[1], dtype=np.uint8)
        for column_N in self._columns_DN:
            differing_N += column_N != column_N[index]
        return np.flatnonzero(differing_N <= STEPS)
