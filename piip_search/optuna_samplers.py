"""Optuna samplers that propose legal designs alone, each once: ours, and any other inside the limits.

Whatever `InsideLimits` is told by the sampler that it wraps, it moves to the nearest design that is legal, fits the
limit and was never proposed before. So no proposal is ever thrown away, and a search ends by itself when nothing new
is left.
"""

from collections.abc import Callable, Sequence
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
STEPS = 2
"""Most choices in which a design's neighbours differ from it."""


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


class Proposals:
    """What may be proposed and what was, as parameters of a study. Legend: N designs, D dimensions.

    Attributes:
        distributions: One integer parameter for each dimension in which there is a choice.
        rows_ND: The designs.
        free_N: Which were not proposed yet.
        recorded: What is to be proposed next, whatever a sampler says.
    """

    def __init__(self, space: Space, designs: Designs, seed: int) -> None:
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

    def row_of(self, params: dict[str, Any]) -> NDArray[np.int64]:
        """The row that parameters stand for."""
        return np.array([params.get(name, 0) for name in self.names])

    def decode(self, params: dict[str, Any]) -> Architecture:
        """The architecture that parameters stand for."""
        return self._space.decode(self.row_of(params))

    def encode(self, architecture: Architecture) -> NDArray[Any]:
        """The row of an architecture."""
        return self._space.encode(architecture)

    def index_of(self, row_D: NDArray[np.integer]) -> int:
        """The design with that row.

        Raises:
            ValueError: No design has it.
        """
        found = np.flatnonzero((self.rows_ND == row_D).all(axis=1))
        if not len(found):
            raise ValueError(f"no legal design has the choices {row_D.tolist()}; propose designs of this space alone")
        return int(found[0])

    def nearest(self, wish_D: NDArray[np.float64] | None) -> int:
        """The free design nearest to a wish, or any: in steps from choice to choice, each range counting as one."""
        free = np.flatnonzero(self.free_N)
        if not len(free):
            raise RuntimeError("every design of the space was proposed")
        if wish_D is not None:
            distance_N = np.abs(self.rows_ND[free] - wish_D) @ self._scale_D
            free = free[distance_N <= distance_N.min() + 1e-9]
        return int(free[self._random.randint(len(free))])

    def take(self, index: int) -> dict[str, Any]:
        """A design's parameters; it is not free any more."""
        self.free_N[index] = False
        row_D = self.rows_ND[index]
        return {name: int(value) for name, value in zip(self.names, row_D, strict=True) if name in self.distributions}

    def unknown(self, name: str) -> ValueError:
        """The error of a parameter that is none of the space's."""
        return ValueError(f"{name!r} is no dimension of this space; its parameters are {list(self.distributions)}")


class InsideLimits(BaseSampler):
    """An Optuna sampler whose every proposal is one of the given designs, and each at most once.

    It works in any Optuna study whose parameters are `distributions`. Legend: N designs, D dimensions.

    Attributes:
        distributions: One integer parameter for each dimension in which there is a choice.
    """

    def __init__(self, inner: BaseSampler | None, space: Space, designs: Designs, seed: int) -> None:
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
        index = self._proposals.nearest(self._wish(study, trial, search_space))
        if self._proposals.recorded is not None:
            index = self._proposals.index_of(self._proposals.encode(self._proposals.recorded))
        return self._proposals.take(index)

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

    It works in any Optuna study whose parameters are `distributions` and whose first value is the loss; further
    values are not looked at, as costs are known. What a running trial reached on its way may stand in its user
    attribute `REACHED`, a loss by epochs: it is evidence of what will become of it. What else runs counts as measured
    at what is expected of it, and what failed as the worst. A function of the study's trials alone: nothing of it
    needs to be kept.
    """

    def __init__(
        self,
        space: Space,
        designs: Designs,
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
            budgets: Tiers of cost in GMACs.
            trials: How many proposals are planned; a third of them, but no more than needed, spread out first.
            seed: Of the spread at the beginning, and of draws.
            features: Of some of the designs, by index; those of PIIP networks by default.
            prior: What is believed of the designs beforehand; dropped where it misleads.
        """
        self._proposals = Proposals(space, designs, seed)
        columns_DN = np.ascontiguousarray(designs.rows_ND.T)

        def near(index: int) -> NDArray[np.intp]:
            differing_N = np.zeros(len(designs), dtype=np.uint8)
            for column_N in columns_DN:
                differing_N += column_N != column_N[index]
            return np.flatnonzero(differing_N <= STEPS)

        choices = Choices(
            designs.macs_N / 1e9,
            features or Features(cast(SearchSpace, space), designs).of,
            near,
        )
        start = int(np.clip(trials // 3, FEWEST, START))
        self._gain = FrontGain(choices, budgets, seed, start, prior)
        self._indices: dict[int, int] = {}
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
        if self._proposals.recorded is None:
            measured, pending, failed, reached = self._evidence(study, trial)
            proposal = self._gain.propose(measured, pending, failed, self._proposals.free_N, reached)
            if proposal is None:
                raise RuntimeError("every design of the space was proposed")
            index, self.why = proposal.index, proposal.why
        else:
            self.why = {}
            index = self._proposals.index_of(self._proposals.encode(self._proposals.recorded))
        self._indices[trial.number] = index
        return self._proposals.take(index)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never needed for our own parameters: they are all proposed together."""
        raise self._proposals.unknown(param_name)

    def reseed_rng(self) -> None:
        """Nothing to do: randomness follows from the seed and the trials."""

    def _evidence(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> tuple[dict[int, float], list[int], list[int], dict[int, dict[int, float]]]:
        measured: dict[int, list[float]] = {}
        pending: list[int] = []
        failed: list[int] = []
        reached: dict[int, dict[int, float]] = {}
        for other in study.get_trials(deepcopy=False):
            if other.number == trial.number:
                continue
            if other.number not in self._indices:
                if set(other.params) != set(self.distributions):
                    continue  # it proposes nothing yet, or belongs to another space
                self._indices[other.number] = self._proposals.index_of(self._proposals.row_of(other.params))
                self._proposals.take(self._indices[other.number])
            index = self._indices[other.number]
            on_its_way = {int(epochs): loss for epochs, loss in other.user_attrs.get(REACHED, {}).items()}
            if other.state in (TrialState.COMPLETE, TrialState.RUNNING) and on_its_way:
                reached[index] = on_its_way
            if other.state == TrialState.COMPLETE and other.values is not None:
                measured.setdefault(index, []).append(float(other.values[0]))
            elif other.state == TrialState.RUNNING:
                if not on_its_way:
                    pending.append(index)
            else:
                failed.append(index)
        # Of one design measured again, with another seed say, the mean.
        return {index: float(np.mean(found)) for index, found in measured.items()}, pending, failed, reached
