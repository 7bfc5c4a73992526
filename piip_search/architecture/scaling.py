"""Image sides of branches: their common multiple, and their scaling for a cheap proxy."""

import math
from collections.abc import Sequence
from functools import lru_cache


def common_multiple(sides: Sequence[int], patches: Sequence[int]) -> int:
    """The number of `Architecture.multiple`, for branches of these sides and patches in pixels."""
    whole = max(sides)
    steps = [patch * whole // math.gcd(patch * whole, side) for side, patch in zip(sides, patches, strict=True)]
    return math.lcm(*steps)


@lru_cache(maxsize=10_000)
def scaled_sides(sides: tuple[int, ...], patches: tuple[int, ...], scale: float) -> tuple[int, ...]:
    """Sides of `Architecture.scaled` in pixels; none grows, and a larger side stays larger.

    Args:
        sides: Sides of the branches, in pixels.
        patches: Patches of the branches, in pixels.
        scale: Factor on every side, in (0, 1].
    """
    unit = math.lcm(*patches)
    meant = [side * scale for side in sides]

    def stepped(step: int) -> tuple[int, ...]:
        found: dict[int, int] = {}
        last = 0
        for side in sorted(set(sides)):
            last = found[side] = min(side, max(last // step + 1, round(side * scale / step)) * step)
        return tuple(found[side] for side in sides)

    def loss(chosen: tuple[int, ...]) -> tuple[float, float]:
        error = 2 * max(abs(math.log(side / wanted)) for side, wanted in zip(chosen, meant, strict=True))
        return common_multiple(chosen, patches) / max(chosen) + error, error

    most = max(1, round(max(meant) / unit))
    return min((stepped(unit * times) for times in range(1, most + 1)), key=loss)
