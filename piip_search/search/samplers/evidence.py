"""The results of a search so far, as a sampler learns from them: final losses of each metric, with their errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from piip_search.search.samplers.rung_extrapolation import extrapolated


@dataclass(frozen=True, slots=True)
class Evidence:
    """The results so far, in an order that does not depend on the order of ends.

    Attributes:
        known: Designs with a result.
        losses: Final losses of each metric, measured or extrapolated.
        deviations: Standard deviations of these losses; zero for full measurements.
        pending: Designs in their first measurement.
    """

    known: tuple[int, ...]
    losses: tuple[tuple[float, ...], ...]
    deviations: tuple[tuple[float, ...], ...]
    pending: tuple[int, ...]

    @classmethod
    def of(
        cls,
        measured: Mapping[int, Sequence[float]],
        pending: Sequence[int],
        failed: Sequence[int],
        reached: Mapping[int, Mapping[int, Sequence[float]]],
        metrics: int,
    ) -> "Evidence":
        found = [_final_losses(_metric_of(place, measured, reached), failed) for place in range(metrics)]
        known = tuple(sorted(found[0]))
        waiting = (*sorted(pending), *(() if known else sorted(failed)))
        losses = tuple(tuple(results[index][0] for index in known) for results in found)
        return cls(known, losses, tuple(tuple(results[index][1] for index in known) for results in found), waiting)

    @property
    def taken(self) -> NDArray[np.intp]:
        """Indices of all designs with a result or in measurement."""
        return np.array([*self.known, *self.pending], dtype=np.intp)

    @property
    def asked(self) -> int:
        """Number of proposed designs."""
        return len(self.known) + len(self.pending)

    @property
    def varies(self) -> bool:
        """Whether designs differ, in one metric at least."""
        return any(len(set(losses)) > 1 for losses in self.losses)


def _metric_of(
    place: int, measured: Mapping[int, Sequence[float]], reached: Mapping[int, Mapping[int, Sequence[float]]]
) -> tuple[dict[int, float], dict[int, dict[int, float]]]:
    """Final losses, and losses by epochs, of one metric."""
    final = {index: losses[place] for index, losses in measured.items()}
    lower = {index: {epochs: losses[place] for epochs, losses in rungs.items()} for index, rungs in reached.items()}
    return final, lower


def _final_losses(
    results: tuple[dict[int, float], dict[int, dict[int, float]]], failed: Sequence[int]
) -> dict[int, tuple[float, float]]:
    """Final losses with standard deviations, measured or extrapolated, of one metric."""
    measured, reached = results
    guessed = extrapolated(reached, measured)
    found = {index: (loss, 0.0) for index, loss in measured.items()}
    found |= {index: guess for index, guess in guessed.items() if index not in failed}
    if found:  # failures count as the worst loss, once there is one
        worst = max(loss for loss, _ in found.values())
        found |= dict.fromkeys(failed, (worst, 0.0))
    return found
