"""`piip-search export`: a chosen design leaves."""

from pathlib import Path
from typing import Annotated

import typer

from piip_search.choice import choose
from piip_search.cli.application import DEFAULT_HOME, Home, LedgerUrl, console
from piip_search.cost import conventions_of, price
from piip_search.wiring import absolute, existing_ledger, extra, history_of, open_ledger


def export(
    run: Annotated[str, typer.Argument(help="Name of a run.")],
    choice: Annotated[
        str, typer.Argument(help="best, best<=250G, knee, a trial number, or a fingerprint's beginning.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; new, or an earlier export.")],
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
) -> None:
    """Write the training config of a chosen design: an mmdet config with the full schedule.

    Example: piip-search export quickstart best -o exported/best
    """
    from piip_search.export import export_mmdet
    from piip_workers import data

    history = history_of(open_ledger(existing_ledger(ledger, home)), run)
    chosen = choose(history.evaluations, history.objectives, choice)
    spec, design = history.spec, chosen.candidate.architecture
    with extra("detection"):
        paths = data.prepare(spec.data)
    value = history.objectives.value(chosen)
    notes = {
        "run": f"{run}, trial {chosen.candidate.number}",
        f"proxy {history.objectives.metric}": f"{value:.4f}",
        **{
            f"GMACs ({name} convention)": f"{price(design, name, detector=spec.detector).gmacs:.4g}"
            for name in conventions_of(design)
        },
    }
    training = spec.training.model_copy(update={"pretrained": absolute(spec.training.pretrained)})
    config = export_mmdet(design, paths, training, out, notes)
    console.print(f"wrote {config}; {config.parent / 'README.md'} says how to train it", markup=False, soft_wrap=True)
