"""Extrapolates final losses from lower rungs, by the designs that were promoted."""

from collections.abc import Iterable, Mapping

import numpy as np

PRIOR = 2.0
"""Weight, in pairs of measurements, of the assumption that ranks and differences stay unchanged."""


def extrapolated(
    reached: Mapping[int, Mapping[int, float]], final: Mapping[int, float]
) -> dict[int, tuple[float, float]]:
    """Extrapolated final losses of paused designs with standard deviations, by design.

    For each rung a line to the next one is fitted to the designs measured at both, and shrunk by `PRIOR` pairs towards
    the line that changes no difference. The residuals give its error; errors of successive rungs add up. Promotion
    selects designs by the lower rung's loss, which leaves a regression on it unbiased, unlike a comparison of the
    rungs' means. Without final losses the highest rung of any design stands in.

    Args:
        reached: Losses of designs by epochs, including designs with a final loss.
        final: Final losses.
    """
    rungs = sorted({epochs for losses in reached.values() for epochs in losses})
    steps = [{design: losses[epochs] for design, losses in reached.items() if epochs in losses} for epochs in rungs]
    steps += [dict(final)] if final else []
    slope, shift, variance = 1.0, 0.0, 0.0
    found: dict[int, tuple[float, float]] = {}
    for place in range(len(steps) - 1, -1, -1):
        if place + 1 < len(steps):
            own_slope, own_shift, own_variance = _line(steps[place], steps[place + 1])
            shift += slope * own_shift
            variance += slope**2 * own_variance
            slope *= own_slope
        for design, loss in steps[place].items():
            if design not in final and design not in found:
                found[design] = (slope * loss + shift, float(np.sqrt(variance)))
    return found


def _line(before: Mapping[int, float], after: Mapping[int, float]) -> tuple[float, float, float]:
    """Slope, shift and residual variance of a rung's losses as a function of the previous rung's."""
    both = [design for design in before if design in after]
    spread = float(np.var(list(before.values())))
    if not both:
        return 1.0, _mean(after.values()) - _mean(before.values()), spread
    x, y = np.array([(before[design], after[design]) for design in both]).T
    own, common = float(((x - x.mean()) ** 2).sum()), float(((x - x.mean()) * (y - y.mean())).sum())
    slope = max((common + PRIOR * spread) / max(own + PRIOR * spread, 1e-12), 0.0)
    shift = float(y.mean() - slope * x.mean())
    left = float(((y - slope * x - shift) ** 2).sum())
    # A first guess: half of the differences between designs is noise.
    return slope, shift, (left + PRIOR * slope**2 * spread / 4) / (len(both) + PRIOR)


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
