"""Networks of a library that a search is compared with; they are no PIIP designs."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from piip_search.errors import DesignError

OWN_FILE = "file:"
"""Beginning of the configuration of a network from a user's own file; the digest of its content follows."""
MOST_SIDE = 2**17
"""Longest side of an image in pixels."""
MOST_COUNT = 2**53
"""Largest count that JSON holds exactly."""


@dataclass(frozen=True, slots=True)
class StockNetwork:
    """A network of a library at one image size.

    It has no closed form: its cost is counted on the built network. The counts are no part of its identity.

    Attributes:
        config: Name of the library's configuration, or `OWN_FILE` with the digest of a user's own. It never is a path:
            networks are read from ledgers, and a path of a ledger must not be run.
        side: Image side in pixels, the long one.
        label: Name for people.
        macs: Counted multiply-accumulates of one image; None before the count.
        params: Counted parameters; None before the count.
    """

    config: str
    side: int
    label: str = field(default="", compare=False)
    macs: int | None = field(default=None, compare=False)
    params: int | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """A short form for people."""
        return f"{self.label or self.config}@{self.side}"

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits, equal for equal configurations and image sizes."""
        return hashlib.sha256(json.dumps([self.config, self.side]).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return self.name

    def to_dict(self) -> dict[str, Any]:
        """The network as plain data."""
        return {
            "stock": self.label,
            "config": self.config,
            "side": self.side,
            "macs": self.macs,
            "params": self.params,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "StockNetwork":
        """The counted network from the plain data of `to_dict`.

        Raises:
            DesignError: The data is no stock network.
        """
        label, config, side = (data.get(name) for name in ("stock", "config", "side"))
        if not isinstance(label, str) or not isinstance(config, str):
            raise DesignError("a stock network needs a name and a configuration")
        if not _is_count(side, MOST_SIDE):
            raise DesignError(f"the image side of a stock network must be from 1 to {MOST_SIDE}, got {str(side)[:80]}")
        macs, params = data.get("macs"), data.get("params")
        if not (_is_count(macs, MOST_COUNT) and _is_count(params, MOST_COUNT)):
            given = f"{macs} and {params}"[:80]
            raise DesignError(f"the counts of a stock network must be from 1 to {MOST_COUNT}, got {given}")
        return cls(config, side, label, macs, params)


def _is_count(value: Any, most: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most
