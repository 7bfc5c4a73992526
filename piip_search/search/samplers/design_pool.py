"""The designs of a search, of which each is proposed once."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture.design import Design
from piip_search.errors import SpaceError


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


class DesignPool:
    """The designs of a search, with those that are still free. Legend: N designs, D dimensions.

    Attributes:
        rows_ND: Rows of the designs.
        free_N: Whether each design is not proposed yet; only `take` changes it.
        free: Number of free designs.
    """

    def __init__(self, space: RowSpace, designs: PricedDesigns, seed: int) -> None:
        """Prepares the pool.

        Args:
            space: Space of the designs.
            designs: All designs that may be proposed.
            seed: Seed of draws, and of ties between equally near designs.
        """
        self._space = space
        self.rows_ND = designs.rows_ND
        self.free_N = np.ones(len(designs), dtype=bool)
        self.free = len(designs)
        self._random = np.random.RandomState(seed)
        sizes = np.array([size for _, size in space.dimensions])
        self._scale_D = 1 / np.maximum(1, sizes - 1)
        keys_N = _keys(self.rows_ND)
        self._order_N = np.argsort(keys_N, kind="stable")
        self._keys_N = keys_N[self._order_N]

    def take(self, index: int) -> None:
        """Makes a design no longer free."""
        self.free -= int(self.free_N[index])
        self.free_N[index] = False

    def design(self, index: int) -> Design:
        """The design at an index."""
        return self._space.decode(self.rows_ND[index])

    def place(self, design: Design) -> int:
        """Index of a design.

        Raises:
            SpaceError: It is none of these designs.
        """
        return self.index_of(self._space.encode(design))

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

    def draw(self) -> int:
        """A free design at random."""
        return self.nearest(self.free_N, None)

    def skip_draw(self) -> None:
        """Advances the random numbers as `draw` does, in a time that does not depend on the number of designs."""
        self._random.randint(self.free)


def _keys(rows_ND: NDArray[Any]) -> NDArray[Any]:
    """Rows as single sortable values."""
    rows_ND = np.ascontiguousarray(rows_ND)
    keys: NDArray[Any] = rows_ND.view(np.dtype((np.void, rows_ND.dtype.itemsize * rows_ND.shape[1])))[:, 0]
    return keys
