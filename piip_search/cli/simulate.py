"""`piip-search simulate`: simulates a search on a table of known results."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table as View
from rich.text import Text

from piip_search.api.notices import ignore
from piip_search.api.plain_data import simulation_content
from piip_search.api.simulate import ClusterOptions, SimulationOutcome, TierOutcome, simulate_search, with_changes
from piip_search.cli.application import note, print_json, print_result, progress
from piip_search.cli.driving import end_search
from piip_search.cli.options import Json, Quiet, SpaceName
from piip_search.cli.terminal import tables
from piip_search.config import load_spec
from piip_search.config.shipped import find_space
from piip_search.errors import UserError

if TYPE_CHECKING:  # these import the database, which a message need not wait for
    from piip_search.search.search import Search
    from piip_search.simulation.simulation import Simulation


def simulate(
    space: SpaceName,
    table: Annotated[Path, typer.Option(help="CSV file with columns choice:*, cost:*, loss:*; see the guide.")],
    loss: Annotated[
        list[str] | None, typer.Option(help="Loss to lower; the table's first by default. Repeat it for several.")
    ] = None,
    cost: Annotated[
        list[str] | None,
        typer.Option(help="Known cost; the table's first by default. Repeat it for several; the first has the tiers."),
    ] = None,
    tiers: Annotated[
        str | None, typer.Option(help="Tiers in the unit of that cost, such as 20,40,80, instead of the space's.")
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials, instead of the space's number.")] = None,
    workers: Annotated[int, typer.Option(help="Evaluations at a time.")] = 1,
    failures: Annotated[float, typer.Option(help="Probability that an evaluation fails.")] = 0.0,
    stragglers: Annotated[float, typer.Option(help="Probability that it takes 3 to 10 times as long.")] = 0.0,
    preemptions: Annotated[float, typer.Option(help="Probability that it loses its worker and restarts.")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="Seed, instead of the space's.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Simulate a search on a table of known results, by a clock that jumps.

    Sampler, schedule, limit, budget and seed come from the space; designs, costs, results and times from the table.
    With --quiet, one line a tier: its limit, the best of each loss, and the share of the possible hypervolume.

    Example: piip-search simulate quickstart --table macro.csv --tiers 30,60,106 --workers 16 --failures 0.05
    """
    spec = load_spec(find_space(space), ignore if quiet else note)
    spec = with_changes(spec, space, None if tiers is None else _numbers(tiers), trials, seed)
    cluster = ClusterOptions(workers, failures, stragglers, preemptions)
    with progress(as_json, quiet).status("simulating") as status:
        outcome = simulate_search(spec, table, loss or (), cost or (), cluster, status.update)
    if as_json:
        print_json(simulation_content(outcome))
    elif quiet:
        for tier, rows in itertools.groupby(outcome.tiers, lambda row: (row.tier, row.hypervolume)):
            print_result(f"{tier[0]:g} {' '.join(_shown(row.best) for row in rows)} {tier[1]:.1%}")
    else:
        _report(outcome, workers)
    end_search(outcome.search, None, as_json, quiet)


def _report(outcome: SimulationOutcome, workers: int) -> None:
    """Prints the front, the tiers beside the whole table, and the use of the workers."""
    search, simulation, result = outcome.search, outcome.simulation, outcome.result
    print_result(_front(search, simulation), Text(), _summary(outcome.tiers), Text())
    idle = 1 - result.busy / max(result.seconds * workers, 1e-9)
    counts = ", ".join(f"{count} of {epochs} epochs" for epochs, count in outcome.evaluations.items())
    print_result(
        f"{search.ending or 'ended'}: {counts}; {len(search.failures)} failed, {result.preempted} preempted, "
        f"{result.stragglers} stragglers",
        f"{tables.clock(result.seconds)} on {workers} workers, {idle:.0%} of it idle; "
        f"simulated in {outcome.seconds:.1f} s",
    )


def _front(search: "Search", simulation: "Simulation") -> View:
    """The front within the largest tier, with the table's losses and costs."""
    view = View(box=None, pad_edge=False, title="Front", title_justify="left")
    for title in ("trial", *simulation.losses, *simulation.costs):
        view.add_column(Text(title), justify="right", no_wrap=True)
    view.add_column("design", overflow="fold")
    for evaluation in search.fronts()[-1].evaluations:
        candidate = evaluation.candidate
        losses = map(_shown, simulation.losses_of(evaluation) or ())
        costs = (f"{axis.of(candidate.design):.4g}" for axis in search.objectives.costs)
        view.add_row(str(candidate.number), *losses, *costs, Text(str(candidate.design)))
    return view


def _summary(tiers: Sequence[TierOutcome]) -> View:
    view = View(box=None, pad_edge=False, title="Against the whole table", title_justify="left")
    several = len({row.loss for row in tiers}) > 1
    best = ("loss", "best") if several else (f"best {tiers[0].loss}",)
    for title in ("tier", *best, "possible", "regret", "of the hypervolume"):
        view.add_column(title, justify="right")
    for tier in tiers:
        shown = [_shown(value) for value in (tier.best, tier.possible, tier.regret)]
        view.add_row(f"{tier.tier:g}", *([tier.loss] if several else []), *shown, f"{tier.hypervolume:.1%}")
    return view


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--tiers must be numbers with commas between them, such as 20,40,80, got {text!r}") from None
