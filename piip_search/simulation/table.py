"""A table of designs with known results, to compare samplers and to simulate searches.

A CSV file with a header. Columns `choice:NAME` describe a design, `cost:NAME` are costs known beforehand, and
`loss:NAME` are the results to find, lower is better. `loss:NAME@EPOCHS` is the loss after so many epochs, of which the
most are the full training, and `seconds@EPOCHS` the time until then. An empty loss marks a design that cannot be
measured. Only columns in use are checked. Legend: N designs, F features, K values of a choice.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from piip_search.errors import TableError
from piip_search.file_paths import located
from piip_search.search.samplers.acquisition import AcquisitionPool, cost_feature

_Array = NDArray[np.float64]
COLUMN_KINDS = ("choice", "cost", "loss")
FEW = 8
"""Numeric choices with at most this many values are one-hot encoded as well."""
MOST_KINDS = 64
"""Most one-hot columns of a choice; rarer values share one."""


@dataclass(frozen=True)
class Table:
    """Designs, costs and losses of a table; values that are not finite are NaN.

    Attributes:
        path: Path of the file.
        lines_N: Line of each design in the file.
        choices: Values of each choice as text.
        costs: Known costs by name.
        losses: Final losses by name.
        curves: Losses by name and epochs, for losses given after several.
        seconds: Seconds until so many epochs, if given.
    """

    path: Path
    lines_N: NDArray[np.intp]
    choices: dict[str, tuple[str, ...]]
    costs: dict[str, _Array]
    losses: dict[str, _Array]
    curves: dict[str, dict[float, _Array]] = field(default_factory=dict)
    seconds: dict[float, _Array] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Table":
        """Reads a file.

        Raises:
            TableError: The file is invalid; the message names line and column.
        """
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.reader(file)
                found = [(reader.line_num, row) for row in reader if any(text.strip() for text in row)]
        except (OSError, ValueError, csv.Error) as error:
            raise TableError(
                f"{located(path)} cannot be read as a table: {error}; give a CSV file with a header"
            ) from None
        header = [name.strip() for name in found[0][1]] if found else []
        lines, rows = [line for line, _ in found[1:]], [row for _, row in found[1:]]
        kinds = {kind: [name for name in header if name.startswith(f"{kind}:")] for kind in COLUMN_KINDS}
        if missing := [kind for kind, names in kinds.items() if not names]:
            raise TableError(f"{path} has no column {missing[0]}:...; it needs one of each: {', '.join(COLUMN_KINDS)}")
        if twice := sorted({name for name in header if header.count(name) > 1 and name}):
            raise TableError(f"{path} has the column {twice[0]} more than once; give each a name of its own")
        if len(rows) < 2:
            raise TableError(f"{path} has {len(rows)} designs; there is nothing to choose from")
        for line, row in zip(lines, rows, strict=True):
            if len(row) != len(header):
                raise TableError(f"{path}, line {line}: {len(row)} values under {len(header)} columns")
        columns = dict(zip(header, zip(*rows, strict=True), strict=True))

        def epochs(name: str) -> float:
            value = _number(name.partition("@")[2])
            if not value > 0:
                raise TableError(f"{path}, column {name}: after the @ stand epochs, a number greater than 0")
            return value

        losses: dict[str, _Array] = {}
        curves: dict[str, dict[float, _Array]] = {}
        for name in kinds["loss"]:
            kind = name.partition(":")[2].partition("@")[0]
            if "@" in name:
                curves.setdefault(kind, {})[epochs(name)] = _numbers(columns[name])
            else:
                losses[kind] = _numbers(columns[name])
        for kind, curve in curves.items():
            losses.setdefault(kind, curve[max(curve)])
        return cls(
            path,
            np.array(lines, dtype=np.intp),
            {name.partition(":")[2]: tuple(map(str.strip, columns[name])) for name in kinds["choice"]},
            {name.partition(":")[2]: _numbers(columns[name]) for name in kinds["cost"]},
            losses,
            {kind: dict(sorted(curve.items())) for kind, curve in curves.items()},
            {epochs(name): _numbers(columns[name]) for name in header if name.startswith("seconds@")},
        )

    def __len__(self) -> int:
        return len(self.lines_N)

    def loss(self, name: str | None = None) -> str:
        """The name of a usable loss: the given one, or the first.

        Raises:
            TableError: The table lacks it, or fewer than two designs have it.
        """
        chosen = _one_of("loss", name, list(self.losses))
        known = self.losses[chosen][np.isfinite(self.losses[chosen])]
        if len(np.unique(known)) < 2:
            raise TableError(f"{self.path}: loss:{chosen} is equal for all designs; there is nothing to find")
        return chosen

    def cost(self, name: str | None = None) -> str:
        """The name of a usable cost: the given one, or the first.

        Raises:
            TableError: The table lacks it, or it is unknown for some design.
        """
        chosen = _one_of("cost", name, list(self.costs))
        self._check(f"cost:{chosen}", self.costs[chosen])
        return chosen

    def times(self, epochs: float) -> _Array | None:
        """Seconds until so many epochs; None if the table has no times.

        Raises:
            TableError: They are unknown for some design.
        """
        if epochs not in self.seconds:
            return None
        self._check(f"seconds@{epochs:g}", self.seconds[epochs])
        return self.seconds[epochs]

    def _check(self, column: str, values_N: _Array) -> None:
        for place in np.flatnonzero(~(values_N >= 0))[:1]:
            raise TableError(
                f"{self.path}, line {self.lines_N[place]}, {column}: a number of at least 0 is needed, got "
                f"{values_N[place]:g}"
            )

    @cached_property
    def codes(self) -> NDArray[np.intp]:
        """Index of each design's value among the values of a choice, shape (N, choices)."""
        return np.stack([np.unique(values, return_inverse=True)[1] for values in self.choices.values()], 1)

    @cached_property
    def features_NF(self) -> _Array:
        """Features: a column for each value of a choice, and one for the size of numbers; each within [0, 1]."""
        columns: list[_Array] = []
        for values in self.choices.values():
            kinds, places_N = np.unique(values, return_inverse=True)
            sizes_K = sizes_of(kinds)
            if sizes_K is not None:
                columns.append(np.nan_to_num(sizes_K, nan=0.5)[places_N])
                columns.extend((places_N == place).astype(float) for place in np.flatnonzero(np.isnan(sizes_K)))
            if sizes_K is None or np.isfinite(sizes_K).sum() <= FEW:
                common = np.argsort(-np.bincount(places_N), kind="stable")[:MOST_KINDS]
                columns.extend((places_N == place).astype(float) for place in sorted(common))
        return np.stack(columns, 1)

    def offered(self, *costs: str) -> AcquisitionPool:
        """The pool of designs for a sampler that trades off costs, of which the first has the tiers."""
        codes = self.codes
        features_NF = np.concatenate([self.features_NF, cost_feature(self.costs[costs[0]])[:, None]], 1)
        return AcquisitionPool.of(
            np.stack([self.costs[cost] for cost in costs], 1),
            lambda indices: features_NF[indices],
            lambda index: np.flatnonzero((codes != codes[index]).sum(1) == 1),
        )


def sizes_of(kinds: Iterable[str]) -> _Array | None:
    """Values as numbers in [0, 1], on a logarithmic scale if they span more than a factor of ten.

    An empty value is NaN; returns None if another is not a number, or if fewer than two are numbers.
    """
    texts = list(kinds)
    sizes_K = np.array([_number(text) for text in texts])
    there_K = np.isfinite(sizes_K)
    if there_K.sum() < 2 or any(text and not there for text, there in zip(texts, there_K, strict=True)):
        return None
    known = sizes_K[there_K]
    if known.min() > 0 and known.max() > 10 * known.min():
        sizes_K = np.log(sizes_K)
        known = sizes_K[there_K]
    spread_K: _Array = (sizes_K - known.min()) / max(known.max() - known.min(), 1e-12)
    return spread_K


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return np.nan
    return value if np.isfinite(value) else np.nan


def _numbers(column: Iterable[str]) -> _Array:
    return np.array([_number(text) for text in column])


def _one_of(kind: str, name: str | None, known: list[str]) -> str:
    if name is not None and name not in known:
        raise TableError(f"the table has no {kind} {name!r}; it has {', '.join(known)}")
    return known[0] if name is None else name
