"""`piip-search simulate`: simulate a search on a table of known results."""

import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table as View
from rich.text import Text

from piip_search.cli.application import progress, put, put_json
from piip_search.cli.options import Json, Quiet, SpaceName
from piip_search.cli.run import end
from piip_search.cli.show import failures_of
from piip_search.cli.terminal import tables
from piip_search.config import load_spec, parse_spec
from piip_search.config.shipped import find_space
from piip_search.errors import UserError

if TYPE_CHECKING:  # they bring the database with them, for which a message need not wait
    from piip_search.search.search import Search
    from piip_search.simulation.simulation import Simulation


def simulate(
    space: SpaceName,
    table: Annotated[Path, typer.Option(help="CSV file with columns choice:*, cost:*, loss:*; see the guide.")],
    loss: Annotated[str | None, typer.Option(help="Which of its losses is lowered; the first by default.")] = None,
    cost: Annotated[str | None, typer.Option(help="Which of its costs is known; the first by default.")] = None,
    tiers: Annotated[
        str | None, typer.Option(help="Tiers in the unit of that cost, such as 20,40,80, in place of the space's.")
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials, in place of the space's.")] = None,
    workers: Annotated[int, typer.Option(help="Evaluations at a time.")] = 1,
    failures: Annotated[float, typer.Option(help="Chance that an evaluation fails.")] = 0.0,
    stragglers: Annotated[float, typer.Option(help="Chance that it takes 3 to 10 times as long.")] = 0.0,
    preemptions: Annotated[float, typer.Option(help="Chance that its worker is taken away and it begins anew.")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="Seed, in place of the space's.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Simulate a search on a table of known results, by a clock that jumps.

    The sampler, schedule, limit, budget and seed are the space's; designs, costs, results and times are the table's.
    With --quiet, a line a tier: its limit, the best loss found, and the share of the possible hypervolume.

    Example: piip-search simulate quickstart --table macro.csv --tiers 30,60,106 --workers 16 --failures 0.05
    """
    from piip_search.ledger import Ledger
    from piip_search.simulation.simulation import Simulation
    from piip_search.simulation.table import Table
    from piip_workers.runners import simulated

    spec = load_spec(find_space(space))
    changes: dict[str, Any] = {}
    if tiers is not None:
        changes["limit"] = {"gmacs": _numbers(tiers)}
    if trials is not None:
        changes["budget"] = {**spec.budget.model_dump(mode="json"), "trials": trials}
    if seed is not None:
        changes["seed"] = seed
    spec = parse_spec({**spec.model_dump(mode="json"), **changes}, space)
    simulation = Simulation.of(spec, Table.read(table), loss, cost)
    cluster = simulated.Cluster(workers, failures, stragglers, preemptions, spec.seed)
    clock, started = simulated.Clock(), time.monotonic()
    search = simulation.open("simulation", Ledger("sqlite://"), clock=clock)
    with progress(as_json, quiet).status("simulating") as status:

        def changed() -> None:
            if len(search.evaluations) % 10 == 0:
                status.update(f"simulating: {len(search.evaluations)} of about {search.expected} evaluations")

        played = simulated.run(search, simulation, cluster, clock, changed)
    took = time.monotonic() - started
    rungs = {rung.epochs: sum(e.candidate.fidelity == rung for e in search.evaluations) for rung in search.spec.rungs}
    results = [_tier(search, simulation, tier) for tier in spec.bounds.gmacs]
    if as_json:
        facts = {**asdict(played), "ending": search.ending, "evaluations": rungs, "failed": len(search.failures)}
        put_json({**facts, "tiers": results, "failures": failures_of(search.failures)})
        end(search, None, as_json, quiet)
        return
    if quiet:
        for result in results:
            put(f"{result['tier']:g} {_shown(result['best'])} {result['hypervolume']:.1%}")
        end(search, None, as_json, quiet)
        return
    put(_front(search, simulation), Text(), _summary(results, simulation.loss), Text())
    idle = 1 - played.busy / max(played.seconds * workers, 1e-9)
    counts = ", ".join(f"{count} of {epochs} epochs" for epochs, count in rungs.items())
    put(
        f"{search.ending or 'ended'}: {counts}; {len(search.failures)} failed, {played.preempted} preempted, "
        f"{played.stragglers} stragglers",
        f"{tables.clock(played.seconds)} on {workers} workers, {idle:.0%} of it idle; simulated in {took:.1f} s",
    )
    end(search, None, as_json, quiet)


def _tier(search: "Search", simulation: "Simulation", tier: float) -> dict[str, Any]:
    front = next(front for front in search.fronts() if front.tier == tier)
    best = None if front.best is None else simulation.loss_of(front.best)
    least = simulation.best(tier)
    return {
        "tier": tier,
        "best": best,
        "possible": least if math.isfinite(least) else None,
        "regret": None if best is None else best - least,
        "hypervolume": simulation.share(search, tier),
    }


def _front(search: "Search", simulation: "Simulation") -> View:
    """The front within the largest tier, in the table's own terms."""
    view = View(box=None, pad_edge=False, title="Front", title_justify="left")
    for title in ("trial", simulation.loss, simulation.cost):
        view.add_column(Text(title), justify="right", no_wrap=True)
    view.add_column("design", overflow="fold")
    for evaluation in search.fronts()[-1].evaluations:
        candidate, cost = evaluation.candidate, search.objectives.cost(evaluation).gmacs
        loss = _shown(simulation.loss_of(evaluation))
        view.add_row(str(candidate.number), loss, f"{cost:.4g}", Text(str(candidate.architecture)))
    return view


def _summary(tiers: list[dict[str, Any]], loss: str) -> View:
    view = View(box=None, pad_edge=False, title="Against the whole table", title_justify="left")
    for title in ("tier", f"best {loss}", "possible", "regret", "of the hypervolume"):
        view.add_column(title, justify="right")
    for tier in tiers:
        shown = [_shown(tier[name]) for name in ("best", "possible", "regret")]
        view.add_row(f"{tier['tier']:g}", *shown, f"{tier['hypervolume']:.1%}")
    return view


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--tiers are numbers with commas between them, such as 20,40,80, got {text!r}") from None
