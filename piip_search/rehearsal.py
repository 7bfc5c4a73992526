"""A search over the designs of a table: the same sampler, schedule, ledger and search, and no training.

Legend: N designs, D choices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture import Architecture
from piip_search.evaluation import Fidelity
from piip_search.ledger import Ledger
from piip_search.objectives import Objectives
from piip_search.pareto import hypervolume
from piip_search.sampler import make_sampler
from piip_search.search import Search, policy_of
from piip_search.space import Designs
from piip_search.spec import SearchSpec
from piip_search.table import Table
from piip_search.table_design import TableDesign
from piip_search.tracker import Tracker

SECONDS_AN_EPOCH = 60.0
"""Of a design of mean cost, where the table gives no times; others take as many times more as they cost."""


@dataclass(frozen=True)
class Rehearsal:
    """A table seen through a search's settings.

    Attributes:
        spec: Limits, budget, schedule, sampler and seed of the search.
        table: Designs and results.
        loss: Name of the loss that is lowered.
        cost: Name of the cost that is known, in whose unit the limits are.
    """

    spec: SearchSpec
    table: Table
    loss: str
    cost: str

    @classmethod
    def of(cls, spec: SearchSpec, table: Table, loss: str | None = None, cost: str | None = None) -> "Rehearsal":
        """Checks that the search can be played on the table.

        Args:
            spec: The search.
            table: The table.
            loss: Name of one of its losses; the first by default.
            cost: Name of one of its costs; the first by default.

        Raises:
            ValueError: There is no such loss or cost, no design fits a tier, or the table lacks a rung.
        """
        chosen_loss, chosen_cost = _one_of("loss", loss, table.losses), _one_of("cost", cost, table.costs)
        costs = table.costs[chosen_cost]
        empty = [tier for tier in spec.bounds.gmacs if tier < costs.min()]
        if empty:
            raise ValueError(
                f"limit.gmacs: no design of the table has a {chosen_cost} of {empty[0]:g} or less; it goes from "
                f"{costs.min():g} to {costs.max():g}; give tiers in its unit, with --budgets"
            )
        curve = table.curves.get(chosen_loss, {})
        epochs = [rung.epochs for rung in spec.rungs]
        missing = [count for count in epochs if curve and count not in curve]
        if missing or (len(epochs) > 1 and not curve):
            known = f"has it after {', '.join(map(str, curve))}" if curve else "has it at the end alone"
            raise ValueError(
                f"the search measures {chosen_loss} after {', '.join(map(str, epochs))} epochs, and the table {known}; "
                "set fidelity.epochs and schedule.rungs to these, or leave the schedule out"
            )
        return cls(spec, table, chosen_loss, chosen_cost)

    @cached_property
    def objectives(self) -> Objectives:
        """One minus a loss that is a share, or else what is missing from the loss, which is minus it."""
        losses = self.table.losses[self.loss]
        share = losses.min() >= 0 and losses.max() <= 1
        top = 1.0 if share else 0.0
        name = f"1-{self.loss}" if share else f"-{self.loss}"
        return Objectives(name, self.spec.limit.convention, top=top, span=1.0 if share else float(losses.max()))

    @property
    def dimensions(self) -> tuple[tuple[str, int], ...]:
        """Name and number of values of each choice."""
        names, codes = self.table.choices, self.table.codes
        return tuple((name, int(codes[:, place].max()) + 1) for place, name in enumerate(names))

    @cached_property
    def designs(self) -> Designs:
        """The table's designs within the limit, each combination of choices once."""
        _, first = np.unique(self.table.codes, axis=0, return_index=True)
        fits = np.sort(first[self.table.costs[self.cost][first] <= self.spec.bounds.gmacs[-1]])
        costs = self.table.costs[self.cost][fits]
        return Designs(self.table.codes[fits], np.round(costs * 1e9).astype(np.int64), np.zeros(len(fits), np.int64))

    def decode(self, row_D: NDArray[Any]) -> Architecture:
        """The design of a row, in the place of an architecture: a search asks for nothing that it has not."""
        return cast(Architecture, self._design(self._place[tuple(int(code) for code in row_D)]))

    def encode(self, architecture: Architecture) -> NDArray[Any]:
        """The row of a design."""
        row: NDArray[Any] = self.table.codes[self.place(architecture)]
        return row

    def place(self, architecture: Architecture) -> int:
        """Number of a design in the table."""
        return self._by_choices[cast(TableDesign, architecture).choices]

    def loss_after(self, architecture: Architecture, fidelity: Fidelity) -> float:
        """What the table says of a design after so many epochs."""
        curve = self.table.curves.get(self.loss)
        losses = self.table.losses[self.loss] if curve is None else curve[fidelity.epochs]
        return float(losses[self.place(architecture)])

    def seconds_until(self, architecture: Architecture, epochs: int) -> float:
        """Time until so many epochs, from the start."""
        place = self.place(architecture)
        if epochs in self.table.seconds:
            return float(self.table.seconds[epochs][place])
        costs = self.table.costs[self.cost]
        return float(SECONDS_AN_EPOCH * max(epochs, 1) * costs[place] / costs.mean())

    def best(self, budget: float) -> float:
        """The lowest loss within a budget."""
        return float(self.table.losses[self.loss][self.table.costs[self.cost] <= budget].min())

    def share(self, search: Search, budget: float) -> float:
        """Hypervolume of a search's front over that of the whole table's, within a budget."""
        reference = np.array([self.objectives.span, budget])
        points = np.stack([self.table.losses[self.loss], self.table.costs[self.cost]], 1)
        whole = hypervolume(points[points[:, 1] <= budget], reference)
        found = hypervolume(self.objectives.losses(self.objectives.measured(search.finished)), reference)
        return found / whole if whole else 1.0

    def open(self, run: str, ledger: Ledger, tracker: Tracker | None = None, clock: Any = None) -> Search:
        """The search, with the sampler and the schedule of its space.

        Args:
            run: Its name.
            ledger: Where it is kept.
            tracker: Who mirrors it.
            clock: Gives seconds.
        """
        spec, designs = self.spec, self.designs
        places = np.array([self._place[tuple(row)] for row in designs.rows_ND.tolist()])
        features_NF = self.table.features_NF[places]
        own = np.log(designs.macs_N / 1e9)
        features_NF = np.concatenate([features_NF, ((own - own.min()) / max(np.ptp(own), 1e-12))[:, None]], 1)
        sampler = make_sampler(
            spec.sampler, self, designs, spec.budget.trials, spec.seed, spec.bounds.gmacs,
            lambda indices: features_NF[indices],
        )  # fmt: skip
        policy = policy_of(spec, sampler, self.objectives)
        keywords = {} if clock is None else {"clock": clock}
        recipe = f"{self.loss}/{self.cost}"[:16]
        return Search(run, spec, policy, ledger, recipe, tracker, objectives=self.objectives, **keywords)

    @cached_property
    def _place(self) -> dict[tuple[int, ...], int]:
        """Number of the first design with each row."""
        return {tuple(row): place for place, row in reversed(list(enumerate(self.table.codes.tolist())))}

    @cached_property
    def _by_choices(self) -> dict[tuple[tuple[str, str], ...], int]:
        return {self._design(place).choices: place for place in self._place.values()}

    def _design(self, place: int) -> TableDesign:
        choices = tuple((name, values[place]) for name, values in self.table.choices.items())
        return TableDesign(choices, float(self.table.costs[self.cost][place]))


def _one_of(kind: str, name: str | None, known: Mapping[str, Any]) -> str:
    names: Sequence[str] = list(known)
    if name is not None and name not in names:
        raise ValueError(f"the table has no {kind} {name!r}; it has {', '.join(names)}")
    return names[0] if name is None else name
