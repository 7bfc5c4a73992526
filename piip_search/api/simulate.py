"""Simulates a search on a table of known results, without training."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piip_search.api.notices import Notify, ignore
from piip_search.config import SearchSpec, parse_spec

if TYPE_CHECKING:  # these import the database, which a message need not wait for
    from piip_search.search.search import Search
    from piip_search.simulation.simulation import Simulation
    from piip_workers.runners.simulated import SimulationResult

NOTIFY_EVERY = 10
"""Evaluations between two lines of progress."""


@dataclass(frozen=True)
class ClusterOptions:
    """The simulated workers.

    Attributes:
        workers: Number of evaluations at a time.
        failures: Probability that an evaluation fails.
        stragglers: Probability that an evaluation takes 3 to 10 times as long.
        preemptions: Probability that an evaluation loses its worker and restarts.
    """

    workers: int = 1
    failures: float = 0.0
    stragglers: float = 0.0
    preemptions: float = 0.0


@dataclass(frozen=True)
class TierOutcome:
    """The result of a simulation for a loss in a tier, beside the whole table's.

    Attributes:
        tier: The tier, in the unit of the table's cost.
        loss: Name of the loss.
        best: Lowest loss of the search; None without one.
        possible: Lowest loss of the table; None without one.
        regret: Difference of `best` and `possible`.
        hypervolume: Share of the table's hypervolume that the search found.
    """

    tier: float
    loss: str
    best: float | None
    possible: float | None
    regret: float | None
    hypervolume: float


@dataclass(frozen=True)
class SimulationOutcome:
    """A finished simulation.

    Attributes:
        search: Search.
        simulation: Table with the settings of the search.
        result: Simulated time, and events of the workers.
        evaluations: Number of evaluations of each rung, by its epochs.
        tiers: Result of each tier, cheapest first, for each loss.
        seconds: Real time of the simulation.
    """

    search: "Search"
    simulation: "Simulation"
    result: "SimulationResult"
    evaluations: Mapping[int, int]
    tiers: tuple[TierOutcome, ...]
    seconds: float


def simulate_search(
    spec: SearchSpec,
    table: Path,
    losses: Sequence[str] = (),
    costs: Sequence[str] = (),
    cluster: ClusterOptions = ClusterOptions(),
    progress: Notify = ignore,
) -> SimulationOutcome:
    """Simulates a search on a table, by a clock that jumps.

    Args:
        spec: Sampler, schedule, limit, budget and seed of the search.
        table: CSV file with columns choice:*, cost:*, loss:*.
        losses: Names of the losses to lower; the table's first by default.
        costs: Names of the known costs, the first in the unit of the limit; the table's first by default.
        cluster: Simulated workers.
        progress: Called with lines about the progress.

    Raises:
        TableError: The table cannot be read, or cannot be searched with this spec.
        UserError: There is no worker, or a probability is invalid.
    """
    from piip_search.simulation.simulation import Simulation
    from piip_search.simulation.table import Table
    from piip_workers.runners import simulated

    simulation = Simulation.of(spec, Table.read(table), losses, costs)
    workers = simulated.Cluster(
        cluster.workers, cluster.failures, cluster.stragglers, cluster.preemptions, simulation.spec.seed
    )
    clock, started = simulated.Clock(), time.monotonic()
    search = simulation.open("simulation", clock=clock)

    def on_change() -> None:
        if len(search.evaluations) % NOTIFY_EVERY == 0:
            progress(f"simulating: {len(search.evaluations)} of about {search.expected} evaluations")

    result = simulated.run(search, simulation, workers, clock, on_change)
    seconds = time.monotonic() - started
    tiers = tuple(outcome for tier in spec.bounds.tiers for outcome in _outcomes(search, simulation, tier))
    return SimulationOutcome(search, simulation, result, _evaluations(search), tiers, seconds)


def with_changes(
    spec: SearchSpec,
    source: Path | str,
    tiers: Sequence[float] | None = None,
    trials: int | None = None,
    seed: int | None = None,
) -> SearchSpec:
    """The spec with other tiers, trials or seed.

    Args:
        spec: Spec.
        source: Source of the spec, for messages.
        tiers: Tiers in place of the spec's, in the unit of the table's cost.
        trials: Trials in place of the spec's.
        seed: Seed in place of the spec's.

    Raises:
        SpecError: The new values are invalid.
    """
    content: dict[str, Any] = spec.model_dump(mode="json")
    if tiers is not None:
        content["limit"] = {"gmacs": list(tiers)}
    if trials is not None:
        content["budget"]["trials"] = trials
    if seed is not None:
        content["seed"] = seed
    return parse_spec(content, source)


def _evaluations(search: "Search") -> dict[int, int]:
    """Number of evaluations of each rung, by its epochs."""
    fidelities = [evaluation.candidate.fidelity for evaluation in search.evaluations]
    return {rung.epochs: fidelities.count(rung) for rung in search.spec.rungs}


def _outcomes(search: "Search", simulation: "Simulation", tier: float) -> list[TierOutcome]:
    """The outcome of each loss in a tier."""
    front = next(front for front in search.fronts() if front.tier == tier)
    share = simulation.share(search, tier)
    found = [losses for evaluation in front.evaluations if (losses := simulation.losses_of(evaluation)) is not None]
    lowest = [min(values) for values in zip(*found, strict=True)] or [None] * len(simulation.losses)
    return [_outcome(simulation, tier, loss, best, share) for loss, best in zip(simulation.losses, lowest, strict=True)]


def _outcome(simulation: "Simulation", tier: float, loss: str, best: float | None, share: float) -> TierOutcome:
    least = simulation.best(tier, loss)
    possible = least if math.isfinite(least) else None
    return TierOutcome(tier, loss, best, possible, None if best is None else best - least, share)
