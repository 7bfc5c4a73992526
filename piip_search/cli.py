"""The command line: wires spec, sampler, ledger, search, workers and tracker. The only place that knows them all."""

import csv
import importlib.util
import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from piip_search import __version__, terminal
from piip_search.architecture import Architecture
from piip_search.choice import choose
from piip_search.cost import CONVENTIONS, breakdown, price
from piip_search.ledger import Ledger
from piip_search.objectives import Objectives, ParetoFront, pareto_front
from piip_search.search import Search, legal_designs, open_search
from piip_search.shipped import find_space, shipped_spaces
from piip_search.spec import SearchSpec, SpecError, load_spec, parse_spec
from piip_search.tracker import Tracker

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


class Place(StrEnum):
    """Where candidates are measured."""

    RAY = "ray"
    LOCAL = "local"


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


class UserError(Exception):
    """Something the user can mend; shown as it is, without a traceback."""


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Turns the import error of an extra into the line that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f'{error.name} is not installed; this needs an extra: pip install "piip-search[{name}]"'
        ) from None


def _find_trainer(address: str | None) -> None:
    """Looks for what a training needs without loading it; on a cluster the workers have it."""
    for name in ("torch", "timm", "mmengine", "mmcv", "mmdet") if address is None else ():
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(name=name)


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
    spec = _checked_spec(find_space(space), trials)
    run_name = name or spec.name
    from piip_workers import data

    with _extra("detection"):
        _find_trainer(address)
        data.prepare(spec.data)
    recipe = spec.recipe(data.fingerprint(spec.data))
    book = Ledger(_ledger_url(ledger, home))
    if resume:
        book.search(run_name)
    measure = _measurement(spec, home, run_name)
    store = _mlflow_uri(mlflow, home)
    drive, usage, at_once = _runner(on, address, spec, measure, home)
    with console.status("opening the search"):
        search = open_search(run_name, spec, book, recipe, _tracker(store, home, mlflow is not None))
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
    book = Ledger(_existing_ledger(ledger, home))
    if run is None:
        for record in book.searches():
            console.print(f"{record.name}: {record.evaluations} of {record.proposals} proposals measured, "
                          f"begun {record.created_at:%Y-%m-%d %H:%M} UTC", markup=False)  # fmt: skip
        return
    history = _history(book, run)
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
    history = _history(Ledger(_existing_ledger(ledger, home)), run)
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
def cost(
    architecture: Annotated[str, typer.Argument(help="Short form of an architecture.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what an architecture costs, exactly, without building it.

    Example: piip-search cost 'vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12'
    """
    parsed = Architecture.parse(architecture)
    if not as_json:
        console.print(terminal.cost_table(parsed))
        return
    costs = {convention: price(parsed, convention) for convention in CONVENTIONS}
    parts = [
        {"convention": convention, "part": part, "gmacs": value.gmacs, "mparams": value.mparams}
        for convention in CONVENTIONS
        for part, value in breakdown(parsed, convention)
    ]
    content = {
        "architecture": parsed.name,
        "fingerprint": parsed.fingerprint,
        "cost": {name: {"gmacs": value.gmacs, "mparams": value.mparams} for name, value in costs.items()},
        "breakdown": parts,
    }
    print(json.dumps(content, indent=2))


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

    history = _history(Ledger(_existing_ledger(ledger, home)), run)
    chosen = choose(history.evaluations, history.objectives, choice)
    spec = history.spec
    with _extra("detection"):
        paths = data.prepare(spec.data)
    value = history.objectives.value(chosen)
    notes = {
        "run": f"{run}, trial {chosen.candidate.number}",
        f"proxy {history.objectives.metric}": f"{value:.4f}",
        **{
            f"GMACs ({name} convention)": f"{price(chosen.candidate.architecture, name).gmacs:.4g}"
            for name in CONVENTIONS
        },
    }
    config = export_mmdet(chosen.candidate.architecture, paths, spec.training, out, notes)
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


@dataclass(frozen=True)
class _History:
    """A run as the ledger holds it."""

    spec: SearchSpec
    objectives: Objectives
    evaluations: list[Any]

    @property
    def fronts(self) -> list[ParetoFront]:
        return [pareto_front(self.evaluations, self.objectives, tier) for tier in self.spec.limit.build().gmacs]


def _history(book: Ledger, run: str) -> _History:
    spec = parse_spec(dict(book.search(run).spec), f"run {run}")
    return _History(spec, Objectives(spec.metric, spec.limit.convention), book.evaluations(run))


def _checked_spec(path: Path, trials: int | None) -> SearchSpec:
    """The spec, once nothing is wrong with it, its limit or its data; all problems are reported at once."""
    from piip_workers import data

    spec = load_spec(path)
    problems: list[str] = []
    try:
        legal_designs(spec, path)
    except SpecError as error:
        problems += error.problems
    problems += data.check(spec.data)
    if problems:
        raise SpecError(path, problems)
    if trials is None:
        return spec
    return spec.model_copy(update={"budget": spec.budget.model_copy(update={"trials": trials})})


def _measurement(spec: SearchSpec, home: Path, run_name: str) -> Any:
    from piip_workers.work import Work

    settings = spec.model_dump(mode="json", include={"data", "training"})
    if spec.data.root is not None:
        settings["data"]["root"] = str(spec.data.root.resolve())  # workers run in folders of their own
    return Work("piip_workers.evaluate:measure", {**settings, "directory": str((home / run_name / "trials").resolve())})


Drive = Callable[[Search, Callable[[], None]], None]


def _runner(
    on: Place, address: str | None, spec: SearchSpec, measure: Any, home: Path
) -> tuple[Drive, Callable[[], str], int]:
    """How to drive the search, what tells the usage, and how many trials run at once."""
    if on is Place.LOCAL:
        from piip_workers import local

        return (lambda search, changed: local.run(search, measure, changed)), (lambda: ""), 1
    with _extra("ray"):
        from piip_workers import ray_tune
    with console.status("starting Ray" if address is None else f"joining Ray at {address}"):
        ray_tune.connect(address)
    cpu, gpu = spec.resources.cpu, spec.resources.gpu

    def drive(search: Search, changed: Callable[[], None]) -> None:
        ray_tune.run(search, measure, home / "ray", changed, cpu, gpu)

    return drive, ray_tune.usage, ray_tune.concurrency(cpu, gpu)


def _ledger_url(given: str | None, home: Path) -> str:
    return given or f"sqlite:///{home / 'ledger.db'}"


def _existing_ledger(given: str | None, home: Path) -> str:
    """The ledger to read; reading makes no new one."""
    path = home / "ledger.db"
    if given is None and not path.exists():
        raise UserError(f"no ledger at {path}; run a search first, or say where it is with --home or --ledger")
    return _ledger_url(given, home)


def _mlflow_uri(given: str | None, home: Path) -> str | None:
    if given == "none":
        return None
    return given or f"sqlite:///{(home / 'mlflow.db').resolve()}"


def _tracker(uri: str | None, home: Path, asked: bool) -> Tracker | None:
    if uri is None:
        return None
    try:
        with _extra("mlflow"):
            from piip_workers.tracking import MlflowTracker
    except UserError as error:
        if asked:
            raise
        errors.print(f"note: not mirrored into MLflow: {error}", markup=False, soft_wrap=True)
        return None
    own_store = uri.startswith("sqlite:")
    return MlflowTracker(uri, (home / "mlartifacts").resolve().as_uri() if own_store else None)


def _announce(search: Search) -> None:
    if search.replayed:
        console.print(f"run {search.run} goes on: {search.replayed} evaluations are in the ledger", markup=False)
    else:
        console.print(f"run {search.run} begins: {search.trials} trials", markup=False)


def _interrupted() -> NoReturn:
    errors.print("stopped; what is measured is kept: the same command goes on where this stopped", markup=False)
    sys.exit(INTERRUPTED)


def _report(search: Search, book: Ledger, store: str | None, home: Path, ledger: str | None) -> None:
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
