"""A row of a table in the place of an architecture, for simulated searches."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class TableDesign:
    """One design of a table, with everything that a search uses of an architecture: name, fingerprint, plain data.

    Attributes:
        choices: Names and values, in the table's order.
        cost: Its known cost, in the table's unit.
        others: Its further known costs, in a search with several.
    """

    choices: tuple[tuple[str, str], ...]
    cost: float
    others: tuple[float, ...] = ()

    @property
    def costs(self) -> tuple[float, ...]:
        """All known costs."""
        return (self.cost, *self.others)

    @cached_property
    def name(self) -> str:
        """A short name for people."""
        return " ".join(f"{choice}={value}" for choice, value in self.choices)

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint, equal for equal choices."""
        return hashlib.sha256(json.dumps(self.choices).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return self.name

    def to_dict(self) -> dict[str, Any]:
        """The design as plain data."""
        others = {"others": list(self.others)} if self.others else {}
        return {"choices": [list(pair) for pair in self.choices], "cost": self.cost, **others}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "TableDesign":
        """The design from the plain data of `to_dict`."""
        return cls(tuple((name, value) for name, value in data["choices"]), data["cost"], tuple(data.get("others", ())))
