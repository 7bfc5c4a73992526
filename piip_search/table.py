"""A table of designs whose results are known: to try samplers on, and to rehearse searches.

A CSV file with a header: columns `choice:NAME` say what a design is, `cost:NAME` what is known of it beforehand, and
`loss:NAME` what a search has to find, lower is better. `loss:NAME@EPOCHS` is the loss after so many epochs, the most of
which are the whole training, and `seconds@EPOCHS` the time until then. Legend: N designs, F features.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from piip_search.front_gain import Choices

Array = NDArray[np.float64]
KINDS = ("choice", "cost", "loss")
FEW = 8
"""Numbers of which there are no more than this may also differ in kind, not only in size."""


@dataclass(frozen=True)
class Table:
    """Designs, costs and losses.

    Attributes:
        choices: Values of each choice, as they are written.
        costs: Known costs by name.
        losses: Losses at the end of the training by name.
        curves: Losses by name and epochs, of those that are given after several.
        seconds: Seconds until so many epochs, where they are given.
    """

    choices: dict[str, tuple[str, ...]]
    costs: dict[str, Array]
    losses: dict[str, Array]
    curves: dict[str, dict[int, Array]] = field(default_factory=dict)
    seconds: dict[int, Array] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Table":
        """Reads a file.

        Raises:
            ValueError: The file is no such table; the message names line and column.
        """
        try:
            with path.open(newline="", encoding="utf-8") as file:
                header, *rows = list(csv.reader(file))
        except (OSError, ValueError, csv.Error) as error:
            raise ValueError(f"{path} cannot be read as a table: {error}; give a CSV file with a header") from None
        found = {kind: [name for name in header if name.startswith(f"{kind}:")] for kind in KINDS}
        if missing := [kind for kind, names in found.items() if not names]:
            raise ValueError(f"{path} has no column {missing[0]}:...; it needs one of each: {', '.join(KINDS)}")
        if len(rows) < 2:
            raise ValueError(f"{path} holds {len(rows)} designs; there is nothing to choose from")
        for line, row in enumerate(rows, 2):
            if len(row) != len(header):
                raise ValueError(f"{path}, line {line}: {len(row)} values under {len(header)} columns")

        def column(name: str) -> tuple[str, ...]:
            place = header.index(name)
            return tuple(row[place] for row in rows)

        def numbers(name: str) -> Array:
            values = np.empty(len(rows))
            for index, text in enumerate(column(name)):
                try:
                    values[index] = float(text)
                except ValueError:
                    values[index] = np.nan
                if not np.isfinite(values[index]):
                    raise ValueError(f"{path}, line {index + 2}, {name}: a finite number is needed, got {text!r}")
            if name.startswith(("cost:", "seconds@")) and values.min() <= 0:
                line = int(values.argmin()) + 2
                raise ValueError(f"{path}, line {line}, {name}: must be greater than 0, got {values.min():g}")
            return values

        def epochs(name: str) -> int:
            text = name.partition("@")[2]
            if not text.isdecimal():
                raise ValueError(f"{path}, column {name}: after the @ stand epochs, a whole number, got {text!r}")
            return int(text)

        losses: dict[str, Array] = {}
        curves: dict[str, dict[int, Array]] = {}
        for name in found["loss"]:
            kind = name.partition(":")[2].partition("@")[0]
            if "@" in name:
                curves.setdefault(kind, {})[epochs(name)] = numbers(name)
            else:
                losses[kind] = numbers(name)
        for kind, curve in curves.items():
            losses.setdefault(kind, curve[max(curve)])
        return cls(
            {name.partition(":")[2]: column(name) for name in found["choice"]},
            {name.partition(":")[2]: numbers(name) for name in found["cost"]},
            losses,
            {kind: dict(sorted(curve.items())) for kind, curve in curves.items()},
            {epochs(name): numbers(name) for name in header if name.startswith("seconds@")},
        )

    def __len__(self) -> int:
        return len(next(iter(self.costs.values())))

    @cached_property
    def codes(self) -> NDArray[np.intp]:
        """Number of each design's value among the values of a choice, shape (N, choices)."""
        return np.stack([np.unique(values, return_inverse=True)[1] for values in self.choices.values()], 1)

    @cached_property
    def features_NF(self) -> Array:
        """A column for each value of a choice, and one for the size of what is a number; each within [0, 1]."""
        columns: list[Array] = []
        for values in self.choices.values():
            kinds, places = np.unique(values, return_inverse=True)
            sizes = _sizes(kinds)
            if sizes is not None:
                columns.append(sizes[places])
            if sizes is None or len(kinds) <= FEW:
                columns.extend((places == place).astype(float) for place in range(len(kinds)))
        return np.stack(columns, 1)

    def offered(self, cost: str) -> Choices:
        """What a sampler may propose, where that cost is traded off."""
        costs_N = self.costs[cost]
        low, high = np.log(costs_N.min()), np.log(costs_N.max())
        own = (np.log(costs_N) - low) / max(high - low, 1e-12)
        features_NF = np.concatenate([self.features_NF, own[:, None]], 1)
        codes = self.codes
        return Choices(
            costs_N,
            lambda indices: features_NF[indices],
            lambda index: np.flatnonzero((codes != codes[index]).sum(1) == 1),
        )


def _sizes(kinds: Iterable[str]) -> Array | None:
    """Values as numbers in [0, 1], on a scale of ratios where they span more than a factor of ten."""
    try:
        sizes = np.array([float(kind) for kind in kinds])
    except ValueError:
        return None
    if sizes.min() > 0 and sizes.max() > 10 * sizes.min():
        sizes = np.log(sizes)
    spread: Array = (sizes - sizes.min()) / max(sizes.max() - sizes.min(), 1e-12)
    return spread
