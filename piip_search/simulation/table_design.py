"""A row of a table in the place of an architecture: what a simulated search proposes."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class TableDesign:
    """One design of a table. It has what a search asks of an architecture: a name, a fingerprint, plain data.

    Attributes:
        choices: Names and values, in the table's order.
        cost: Its known cost, in the table's unit.
    """

    choices: tuple[tuple[str, str], ...]
    cost: float

    @cached_property
    def name(self) -> str:
        """Short, for people."""
        return " ".join(f"{choice}={value}" for choice, value in self.choices)

    @cached_property
    def fingerprint(self) -> str:
        """Equal for equal choices."""
        return hashlib.sha256(json.dumps(self.choices).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return self.name

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"choices": [list(pair) for pair in self.choices], "cost": self.cost}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "TableDesign":
        """The design that `to_dict` wrote."""
        return cls(tuple((name, value) for name, value in data["choices"]), data["cost"])
