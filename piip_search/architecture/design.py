"""The interface of designs for a search, a ledger and a front.

A design is an architecture, a stock network, or a row of a table.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from piip_search.architecture.architecture import Architecture
from piip_search.architecture.stock import StockNetwork


class Design(Protocol):
    """One point of a space; equal designs are equal values with equal hashes."""

    @property
    def name(self) -> str:
        """A short form for people."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hexadecimal digits, equal exactly for equal designs."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """The design as plain data, for other processes."""
        ...

    def __hash__(self) -> int: ...


ReadDesign = Callable[[Mapping[str, Any]], Design]
"""Reads a design from the plain data of `Design.to_dict`."""


def design_from_dict(data: Mapping[str, Any]) -> Design:
    """The architecture or stock network from its plain data.

    Raises:
        DesignError: The data is neither.
    """
    return StockNetwork.from_dict(data) if "stock" in data else Architecture.from_dict(data)


def as_architecture(design: Design) -> Architecture:
    """The design as the architecture of a network.

    Raises:
        TypeError: It is another kind of design, which has no network.
    """
    if not isinstance(design, Architecture):
        raise TypeError(f"{design.name} is a {type(design).__name__}, of which no network can be built")
    return design
