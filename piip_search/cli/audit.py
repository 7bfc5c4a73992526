"""`piip-search audit`: audits a run's proxies."""

import sys
from typing import Annotated

import typer
from rich.table import Table

from piip_search.analysis.audit import LONGER, RankFigures
from piip_search.analysis.rank_correlation import Interval
from piip_search.api.audit import AuditOptions, AuditRun, open_audit
from piip_search.api.notices import ignore
from piip_search.api.plain_data import audit_content
from piip_search.api.runners import Place
from piip_search.api.stores import existing_ledger, mlflow_uri, open_ledger
from piip_search.cli.application import HALTED, errors, note, print_json, print_result, progress
from piip_search.cli.driving import drive_to_end, end_search
from piip_search.cli.options import DEFAULT_HOME, Home, Json, LedgerUrl, Mlflow, Quiet, RunName, TakeOver, Trust
from piip_search.cli.terminal import tables


def audit(
    run: RunName,
    designs: Annotated[int, typer.Option(min=1, help="Designs to draw from each tier.")] = 12,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each proxy, the run's own included.")] = 2,
    epochs: Annotated[
        int | None, typer.Option(min=1, help=f"Epochs of the longer training; {LONGER} times the proxy's by default.")
    ] = None,
    data_fraction: Annotated[
        float | None, typer.Option(min=1e-6, max=1, help="Share of the images in it; the proxy's by default.")
    ] = None,
    image_scale: Annotated[
        float | None, typer.Option(min=1e-6, max=1, help="Factor on its image sizes; the proxy's by default.")
    ] = None,
    on: Annotated[Place, typer.Option(help="Place where candidates are measured.")] = Place.RAY,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to join: auto or ray://HOST:10001; none starts one here.")
    ] = None,
    take_over: TakeOver = False,
    trust: Trust = False,
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
    mlflow: Mlflow = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Audit a run's proxies: do they rank designs as a longer training does, and better than cost alone?

    Some designs of each tier are trained again: with other seeds, and for longer. An interrupted audit goes on where it
    stopped, and trains nothing twice. With --quiet, only the verdict of each tier is printed.

    Example: piip-search audit quickstart --designs 8 --seeds 3
    """
    store = mlflow_uri(mlflow, home)
    book = open_ledger(existing_ledger(ledger, home))
    options = AuditOptions(designs, seeds, epochs, data_fraction, image_scale, trust)
    shown_on, notify = progress(as_json, quiet), ignore if quiet else note
    with shown_on.status("reading the run") as status:
        opened = open_audit(
            book,
            run,
            home,
            options,
            on,
            address,
            store,
            mlflow is not None,
            take_over,
            notify=notify,
            progress=status.update,
        )
    search = opened.search
    drive_to_end(opened, shown_on, examined=False)
    if search.halted:
        errors.print(f"halted: {search.ending}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(HALTED)
    if as_json:
        print_json(audit_content(opened, run))
    else:
        _print_tiers(opened, quiet)
    end_search(search, opened.trials, as_json, quiet)


def _print_tiers(opened: AuditRun, quiet: bool) -> None:
    """Prints the verdict of each tier and metric, with its table unless only the bare result is wanted."""
    search = opened.search
    several = len(search.objectives.metrics) > 1
    for tier in opened.tiers:
        within = f"up to {search.objectives.axis.format(tier.tier)}{f' by {tier.metric}' if several else ''}"
        if tier.figures is not None and not quiet:
            print_result(_table(within, tier.designs, tier.figures, tier.metric))
        print_result(f"{within}: {tier.verdict}")
    if not quiet:
        failed = f"; {len(search.failures)} failed, see piip-search show {search.run}" if search.failures else ""
        print_result(
            f"audit {search.run}: {len(search.evaluations)} measurements in {tables.clock(search.elapsed)}{failed}"
        )


def _table(within: str, designs: int, found: RankFigures, metric: str) -> Table:
    """Tau and its interval, one row a score."""
    spread = "" if found.spread is None else f"; seeds differ by {found.spread:.4f} {metric} (median of deviations)"
    table = Table(title=f"{within}: {designs} designs{spread}", title_justify="left", box=None, pad_edge=False)
    for heading in ("score", "Kendall's tau", "90 % interval", "compared with"):
        table.add_column(heading)
    shared = found.tuned is not None
    longer = f"{metric} after {'a training alone' if shared else 'the longer training'}"
    rows: list[tuple[str, Interval | None, str]] = [
        (f"{metric} with the parent's weights" if shared else f"proxy {metric}", found.proxy, longer),
        (f"tuned {metric}", found.tuned, longer),
        (f"proxy {metric}", found.seeds, "itself with another seed"),
        *((cost.noun, cost.tau, longer) for cost in found.costs),
        *((f"{metric} after epoch {epoch}", tau, "that at its end") for epoch, tau in found.rungs),
    ]
    for score, tau, against in rows:
        if tau is not None:
            table.add_row(score, f"{tau.value:+.2f}", f"{tau.low:+.2f} to {tau.high:+.2f}", against)
    if found.alike is not None:
        share, pairs = found.alike
        table.add_row("the same", f"{share:+.2f}", f"{pairs} pairs", f"{longer}, within one largest image")
    return table
