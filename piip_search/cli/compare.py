"""`piip-search compare`: groups of measured designs at equal cost."""

from typing import Annotated

import typer
from rich.table import Table

from piip_search.api.compare import GroupReport, compare_groups
from piip_search.api.stores import read_ledger
from piip_search.cli.application import print_json, print_result
from piip_search.cli.options import DEFAULT_HOME, Home, Json, LedgerUrl, Quiet, run_names
from piip_search.plain_text import printable


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Names of runs.", autocompletion=run_names)],
    by: Annotated[
        str | None,
        typer.Option(
            help="Groups: pairing, branches, interactions, windows, family, merge or run. By default what the sampler "
            "matched of the first run compares, or pairing."
        ),
    ] = None,
    within: Annotated[
        float | None, typer.Option(min=0.0, help="Largest share by which costs of a pair may differ; 0.1 by default.")
    ] = None,
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare groups of designs at equal cost, such as inverted pyramids with direct ones.

    Each design is matched with one of the other group that costs as much. Random designs answer what a group is worth
    on average, and a search what its best designs are worth. With --quiet, only the verdicts are printed.

    Example: piip-search compare quickstart --by branches
    """
    found = compare_groups(read_ledger(ledger, home), runs, by, within)
    if as_json:
        print_json(found.to_dict())
        return
    if not quiet:
        _print_groups(found)
    print_result(*map(printable, found.verdicts))


def _print_groups(found: GroupReport) -> None:
    """Prints the best design of each group within each tier."""
    metric, axis = found.objectives.metrics[0], found.objectives.axis
    noise = "" if found.noise is None else f"; seeds differ by {found.noise:.4f} {metric.name} (median of deviations)"
    table = Table(title=f"best of each group by {found.by}{noise}", title_justify="left", box=None, pad_edge=False)
    for heading in (f"up to {axis.label.unit}".strip(), found.by, "designs", metric.name, "cost", "design"):
        table.add_column(heading)
    for one in found.best:
        if one.design is None:
            continue
        value = one.design.merit if metric.rises else -one.design.merit
        cells = (axis.format(one.tier), one.group, str(len(found.groups[one.group])), f"{value:.4f}")
        name = one.design.architecture.name
        table.add_row(*map(printable, (*cells, axis.format(2**one.design.doublings, 4), name)))
    print_result(table)
    if not found.one_training:
        print_result("these runs were trained differently (data, recipe or epochs): their metrics differ by that too")
    for run, count in found.copies.items():
        print_result(printable(f"{count} evaluations of {run} are also those of an earlier run, and count once"))
