"""The command line: what a user types, and what is printed."""

import csv
import io
import json
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from piip_search import __version__, terminal
from piip_search.architecture import Architecture
from piip_search.choice import choose
from piip_search.cost import (
    Convention,
    Cost,
    Detector,
    DetectorName,
    Memory,
    breakdown,
    conventions_of,
    memory,
    price,
)
from piip_search.objectives import Objectives, ParetoFront
from piip_search.plan import make_plan
from piip_search.published import published_as, published_near
from piip_search.shipped import find_space, shipped_spaces
from piip_search.spec import NAME, SearchSpec, load_spec
from piip_search.wiring import (
    Place,
    UserError,
    absolute,
    checked_spec,
    existing_ledger,
    extra,
    find_trainer,
    history_of,
    image_counts,
    ledger_url,
    measurement,
    mlflow_uri,
    open_ledger,
    open_tracker,
    runner,
    with_trials,
)

if TYPE_CHECKING:  # they bring the database with them, for which cost and plan need not wait
    from piip_search.ledger import Ledger
    from piip_search.search import Search

SHOWN = 5
"""Published designs listed beside one."""
PICTURES = (".png", ".svg", ".pdf")
USER_ERROR = 2
INTERRUPTED = 130

app = typer.Typer(
    name="piip-search",
    help="Choose a PIIP network by machine: search, look at the front, export a design that trains.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
# A table that goes into a file or a pipe is not wrapped at the width of a terminal that is not there.
console = Console(width=None if sys.stdout.isatty() else 200)
errors = Console(stderr=True)


Home = Annotated[
    Path, typer.Option("--home", envvar="PIIP_SEARCH_HOME", help="Folder of ledger, checkpoints and MLflow store.")
]
LedgerUrl = Annotated[
    str | None,
    typer.Option(
        "--ledger", envvar="PIIP_SEARCH_LEDGER", help="Database URL; by default ledger.db in the home folder."
    ),
]
DEFAULT_HOME = Path("runs")


@app.command()
def run(
    space: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped space such as quickstart.")],
    name: Annotated[str | None, typer.Option(help="Name of the run; the space's name by default.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials to measure, in place of the space's.")] = None,
    on: Annotated[Place, typer.Option(help="Where candidates are measured.")] = Place.RAY,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to join: auto or ray://HOST:10001; none starts one here.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Fail unless there is a run of that name to go on with.")
    ] = False,
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
    mlflow: Annotated[
        str | None,
        typer.Option(
            envvar="MLFLOW_TRACKING_URI", help="MLflow store or server, or none; by default mlflow.db in the home."
        ),
    ] = None,
) -> None:
    """Search a space: start a run, or go on with the one of that name.

    A run that was cut off goes on where it stopped; nothing that is already measured is trained again.

    Example: piip-search run quickstart --on local --trials 4
    """
    if on is Place.LOCAL and address:
        raise UserError("--address names a Ray cluster; leave it out with --on local")
    spec = checked_spec(find_space(space), trials)
    run_name = name or spec.name
    if not re.fullmatch(NAME, run_name):
        raise UserError(f"a run's name has up to 100 letters, digits, dots, dashes and underscores, got {run_name!r}")
    from piip_search.search import open_search
    from piip_workers import data

    with extra("detection"):
        find_trainer(address)
        data.prepare(spec.data)
    recipe = spec.recipe(data.fingerprint(spec.data))
    book = open_ledger(ledger_url(ledger, home))
    if resume:
        book.search(run_name)
    measure = measurement(spec, home, run_name)
    store = mlflow_uri(mlflow, home)
    with console.status("starting"):
        drive, usage, at_once = runner(on, address, spec, measure, home)
        tracker = open_tracker(store, home, mlflow is not None, _note)
        search = open_search(run_name, spec, book, recipe, tracker)
    _announce(search)
    try:
        with terminal.watch(console, search, usage, at_once) as changed:
            drive(search, changed)
    except KeyboardInterrupt:
        _interrupted()
    if search.running:  # Ray ends quietly when it is interrupted
        _interrupted()
    _report(search, book, store, home, ledger)


@app.command()
def show(
    run: Annotated[str | None, typer.Argument(help="Name of a run; without it, all runs are listed.")] = None,
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
) -> None:
    """Show what the ledger holds: all runs, or one with its fronts and failures.

    Example: piip-search show quickstart
    """
    book = open_ledger(existing_ledger(ledger, home))
    if run is None:
        for record in book.searches():
            console.print(f"{record.name}: {record.evaluations} of {record.proposals} proposals measured, "
                          f"begun {record.created_at:%Y-%m-%d %H:%M} UTC", markup=False)  # fmt: skip
        return
    history = history_of(book, run)
    failed = [e for e in history.evaluations if e.status == "failed"]
    pending = book.search(run).proposals - len(history.evaluations)
    console.print(
        f"{run}: {len(history.evaluations) - len(failed)} done, {len(failed)} failed, {pending} unfinished; "
        f"{history.objectives.metric} against GMACs ({history.objectives.convention} convention)",
        markup=False,
    )
    for front in history.fronts:
        console.print(terminal.front_table(front, history.objectives))
    for evaluation in failed:
        console.print(f"trial {evaluation.candidate.number} failed: {evaluation.error}", markup=False, soft_wrap=True)


@app.command()
def front(
    run: Annotated[str, typer.Argument(help="Name of a run.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    home: Home = DEFAULT_HOME,
    ledger: LedgerUrl = None,
) -> None:
    """Show the Pareto front of each tier of a run.

    Example: piip-search front quickstart --csv > front.csv
    """
    if as_json and as_csv:
        raise UserError("give --json or --csv, not both")
    history = history_of(open_ledger(existing_ledger(ledger, home)), run)
    if as_json:
        tiers = [
            {"gmacs": f.budget, "hypervolume": f.hypervolume, "front": _rows(f, history.objectives)}
            for f in history.fronts
        ]
        print(json.dumps({"run": run, "metric": history.objectives.metric, "tiers": tiers}, indent=2))
    elif as_csv:
        rows = [{"tier_gmacs": f.budget, **row} for f in history.fronts for row in _rows(f, history.objectives)]
        print(_csv(rows), end="")
    else:
        for item in history.fronts:
            console.print(terminal.front_table(item, history.objectives))


@app.command()
def plan(
    space: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped space such as coco.")],
    trials: Annotated[int | None, typer.Option(min=1, help="Trials to measure, in place of the space's.")] = None,
    throughput: Annotated[
        float | None,
        typer.Option(
            min=1e-6,
            help="10^12 multiply-accumulates a second that a trial's device sustains in training: by default 20 with a "
            "GPU (a tenth of an A100's bfloat16 peak), 0.03 without one (measured on one core).",
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(help="Training and validation images, such as 118287,5000, where the data is not here."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the spread of costs into this file (png, svg, pdf).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a search will be like: its designs, their cost, and what measuring them takes.

    Example: piip-search plan coco --images 118287,5000 --plot coco.png
    """
    path = find_space(space)
    spec = with_trials(load_spec(path), trials)
    if plot is not None and plot.suffix not in PICTURES:
        raise UserError(f"a picture is {', '.join(PICTURES)}, got {plot}; change its ending")
    drawn = make_plan(spec, path, _image_counts(images) or image_counts(spec), throughput or _usual_throughput(spec))
    if as_json:
        print(json.dumps(drawn.to_dict(), indent=2))
    else:
        console.print(f"{spec.name}: cost under the {spec.limit.convention} convention", markup=False)
        console.print(terminal.plan_view(drawn, console.width))
    if plot is not None:
        with extra("plots"):
            from piip_dashboards.plan_figure import draw_plan
        draw_plan(drawn, plot)
        _note(f"wrote {plot}")


def _usual_throughput(spec: SearchSpec) -> float:
    return 20.0 if spec.resources.gpu else 0.03


def _image_counts(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+),(\d+)", text)
    if match is None or min(int(match[1]), int(match[2])) < 1:
        raise UserError(f"images are two counts, of training and of validation, such as 118287,5000, got {text!r}")
    return int(match[1]), int(match[2])


@app.command()
def cost(
    architecture: Annotated[str, typer.Argument(help="Short form of an architecture.")],
    image: Annotated[
        str | None, typer.Option(help="Height x width in pixels of the image given to the network, such as 800x1333.")
    ] = None,
    convention: Annotated[
        Convention | None, typer.Option(help="How the parts are counted; all totals are shown.")
    ] = None,
    detector: Annotated[
        DetectorName, typer.Option(help="What reads the maps under the detector convention.")
    ] = "mask_rcnn",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what an architecture costs, exactly, without building it.

    Example: piip-search cost 'vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12'
    """
    design = Architecture.parse(architecture)
    sides = None if image is None else _image(image)
    reader = Detector(detector)
    known = conventions_of(design)
    if convention is not None and convention not in known:
        raise UserError(f"the merge {design.merge} gives no maps that a detector could read; leave --convention out")
    costs = {name: price(design, name, sides, reader) for name in known}
    memories = {name: memory(design, name, sides, reader) for name in known}
    if as_json:
        print(json.dumps(_cost_content(design, sides, reader, costs, memories), indent=2))
        return
    chosen = convention or known[-1]
    padded = (design.resolution,) * 2 if sides is None else design.image(*sides)
    console.print(f"{design}\none image of {padded[0]}x{padded[1]} px, fingerprint {design.fingerprint}", markup=False,
                  soft_wrap=True)  # fmt: skip
    if sides is not None and padded != sides:
        console.print(f"padded from {sides[0]}x{sides[1]}: grids are exact at multiples of {design.multiple} px")
    console.print(terminal.totals_table(costs, memories))
    console.print(
        "memory in float32 at one image a step, training with AdamW; about half of it in bfloat16", style="dim"
    )
    console.print(f"\nparts under the {chosen} convention:", markup=False)
    console.print(terminal.parts_table(breakdown(design, chosen, sides, reader)))
    _compare(design)


def _image(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    sides = (int(match[1]), int(match[2])) if match else (0, 0)
    if min(sides) < 1:
        raise UserError(f"an image is height x width in pixels, such as 800x1333, got {text!r}")
    return sides


def _cost_content(
    design: Architecture,
    sides: tuple[int, int] | None,
    reader: Detector,
    costs: dict[Convention, Cost],
    memories: dict[Convention, Memory],
) -> dict[str, Any]:
    def numbers(value: Cost) -> dict[str, Any]:
        return {"macs": value.macs, "params": value.params, "gmacs": value.gmacs, "mparams": value.mparams}

    return {
        "architecture": design.name,
        "fingerprint": design.fingerprint,
        "image": (design.resolution,) * 2 if sides is None else design.image(*sides),
        "cost": {
            name: {**numbers(value), "training_bytes": memories[name].training,
                   "inference_bytes": memories[name].inference}
            for name, value in costs.items()
        },
        "breakdown": [
            {"convention": name, "part": part.group, "kind": part.kind, "share": part.cost.macs / costs[name].macs,
             **numbers(part.cost)}
            for name in costs
            for part in breakdown(design, name, sides, reader)
        ],
        "published_as": [row.id for row in published_as(design)],
    }  # fmt: skip


def _compare(design: Architecture) -> None:
    """The rows that the authors published of this design, and what they chose at the same cost."""
    gmacs = price(design, "published").gmacs
    for row in published_as(design):
        console.print(f"published as {row.summary}: here {gmacs / row.gmacs - 1:+.2%}", markup=False, soft_wrap=True)
    task = {"logits": "classification", "tokens": "multimodal"}.get(design.merge, "detection")
    near = [row for row in published_near(gmacs, task) if row.architecture != design]
    if near:
        console.print(f"\nthe authors' designs within 10 % of its published {gmacs:.4g} GMACs:", markup=False)
    for row in near[:SHOWN]:
        console.print(f"  {row.summary}\n    {row.architecture}", markup=False, soft_wrap=True)


@app.command()
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


@app.command()
def init(
    names: Annotated[list[str] | None, typer.Argument(help="Shipped spaces; all of them by default.")] = None,
    to: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("spaces"),
) -> None:
    """Copy shipped search spaces to start from.

    Example: piip-search init coco && piip-search run spaces/coco.yaml
    """
    shipped = shipped_spaces()
    wanted = names or list(shipped)
    unknown = [name for name in wanted if name not in shipped]
    if unknown:
        raise UserError(f"no shipped space {', '.join(unknown)}; there are {', '.join(shipped)}")
    kept = [to / f"{name}.yaml" for name in wanted if (to / f"{name}.yaml").exists()]
    if kept:
        raise UserError(f"{', '.join(map(str, kept))} exists and is kept; remove it, or write elsewhere with --to")
    to.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        target = to / f"{name}.yaml"
        shutil.copyfile(shipped[name], target)
        console.print(f"wrote {target}; start it with: piip-search run {target}", markup=False, soft_wrap=True)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"piip-search {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Choose a PIIP network by machine: search, look at the front, export a design that trains."""


def main() -> NoReturn:
    """Runs the command line; what the user can mend ends with exit code 2 and no traceback."""
    try:
        app()
    except (UserError, ValueError, OSError) as error:
        errors.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(USER_ERROR)
    sys.exit(0)


def _note(text: str) -> None:
    errors.print(text, markup=False, soft_wrap=True)


def _announce(search: "Search") -> None:
    if search.replayed:
        console.print(f"run {search.run} goes on: {search.replayed} evaluations are in the ledger", markup=False)
    else:
        console.print(f"run {search.run} begins: {search.trials} trials", markup=False)


def _interrupted() -> NoReturn:
    errors.print("stopped; what is measured is kept: the same command goes on where this stopped", markup=False)
    sys.exit(INTERRUPTED)


def _report(search: "Search", book: "Ledger", store: str | None, home: Path, ledger: str | None) -> None:
    """What a search ends with: the front of each tier, where everything is, and what to type next."""
    for item in search.fronts():
        console.print(terminal.front_table(item, search.objectives))
    answered = f"; {search.answered} answered from other runs" if search.answered else ""
    done = len(search.evaluations) - len(search.failures)
    console.print(
        f"{search.ending or 'ended'}: {done} done, {len(search.failures)} failed, "
        f"{len(search.evaluations) - search.replayed} new in {terminal.clock(search.elapsed)}{answered}",
        markup=False,
    )
    lines = [f"ledger: {book.url}"]
    if store is not None:
        lines.append(f"MLflow: {store} (look at it with: mlflow ui --backend-store-uri {store})")
    where = (
        ""
        if home == DEFAULT_HOME and ledger is None
        else f" --home {home}"
        if ledger is None
        else f" --ledger {ledger}"
    )
    lines.append(f"next: piip-search export {search.run} best -o exported/{search.run}{where}")
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _rows(item: ParetoFront, objectives: Objectives) -> list[dict[str, Any]]:
    return [
        {
            "trial": evaluation.candidate.number,
            objectives.metric: objectives.value(evaluation),
            "gmacs": objectives.cost(evaluation).gmacs,
            "mparams": objectives.cost(evaluation).mparams,
            "architecture": evaluation.candidate.architecture.name,
            "fingerprint": evaluation.candidate.architecture.fingerprint,
        }
        for evaluation in item.evaluations
    ]


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


if __name__ == "__main__":
    main()
