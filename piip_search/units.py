"""Formats every number that has a unit."""

GIB = 2**30
"""Bytes of a GiB."""
GB = 10**9
"""Bytes of a GB."""


def quantity(value: float, unit: str, digits: int = 6) -> str:
    """A number with its unit: `570.16 GMACs`, `250 G`, `1,157,805 MACs`; the number alone without a unit.

    Args:
        value: Number in that unit.
        unit: Unit.
        digits: Significant digits.
    """
    number = f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
    return f"{number} {unit}".rstrip()


def gigabytes(count: float) -> str:
    """Bytes in units of 10^9."""
    return quantity(count / GB, "GB", 3)


def gibibytes(count: float) -> str:
    """Bytes in units of 2^30."""
    return quantity(count / GIB, "GiB", 3)
