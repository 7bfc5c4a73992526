"""What a training's lower rungs say of its end, learnt from the designs that went on."""

from collections.abc import Iterable, Mapping

import numpy as np

PRIOR = 2.0
"""Pairs that the assumption before any evidence counts as: ranks and differences stay as they are."""


def extrapolated(
    reached: Mapping[int, Mapping[int, float]], final: Mapping[int, float]
) -> dict[int, tuple[float, float]]:
    """What designs that were paused may reach in the end: loss and its standard deviation, by design.

    From each rung to the next a line is fitted to the designs that were measured at both, and drawn towards the line
    that changes no difference by `PRIOR` pairs. What is left over is how wrong it may be; from rung to rung that adds
    up. Who goes on is chosen by what was reached, and a regression on that is not bent by the choice, as a comparison
    of the rungs' means would be. Where nothing is final yet, the highest rung that anything reached stands for it.

    Args:
        reached: Losses of designs by epochs, of those with a final one as well.
        final: Losses at the end.
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
    """Slope, shift and variance of what is left over, of one rung's losses as a function of the rung's before it."""
    both = [design for design in before if design in after]
    spread = float(np.var(list(before.values())))
    if not both:
        return 1.0, _mean(after.values()) - _mean(before.values()), spread
    x, y = np.array([(before[design], after[design]) for design in both]).T
    own, common = float(((x - x.mean()) ** 2).sum()), float(((x - x.mean()) * (y - y.mean())).sum())
    slope = max((common + PRIOR * spread) / max(own + PRIOR * spread, 1e-12), 0.0)
    shift = float(y.mean() - slope * x.mean())
    left = float(((y - slope * x - shift) ** 2).sum())
    # A first guess: half of what distinguishes designs is noise.
    return slope, shift, (left + PRIOR * slope**2 * spread / 4) / (len(both) + PRIOR)


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
