"""What people see in a terminal: narrow, without colours, in ASCII, in a pipe, while a search runs."""

import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from piip_search.analysis.error_kinds import kinds
from piip_search.api.runs import health_of, history_of
from piip_search.architecture import Architecture
from piip_search.cli.plain_console import PlainConsole
from piip_search.cli.terminal.front_plot import plot_front
from piip_search.cli.terminal.live import watch
from piip_search.cli.terminal.tables import failures_view, fronts_view, health_view
from piip_search.cli.terminal.widgets import Bar, DesignName, FrontPlot
from piip_search.config import SearchSpec
from piip_search.evaluation.evaluation import Candidate, Evaluation, Fidelity
from piip_search.evaluation.objectives import MetricAxis, pareto_front
from piip_search.ledger import Ledger
from piip_search.search.search import Search, open_search
from support import fakes
from support.small_ledger import Fill
from support.trades import trade
from support.typed import Cli

OBJECTIVES = trade()
TSB = "vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12"


def _written(*shown: object, width: int = 80, encoding: str = "utf-8", terminal: bool = False) -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    console = PlainConsole(file=file, width=width, height=40, force_terminal=terminal, color_system=None)
    console.print(*shown)
    file.flush()
    file.seek(0)
    return file.read()


def _evaluations(values: dict[str, float]) -> list[Evaluation]:
    return [
        Evaluation(Candidate(n, Architecture.parse(form), Fidelity()), "done", {"bbox_mAP": value})
        for n, (form, value) in enumerate(values.items())
    ]


def test_the_steps_of_a_metric_that_falls_go_down() -> None:
    """Its plot is that of the rising one upside down."""
    values = {"vit_t@224:g": 0.2, "vit_s@448:g": 0.5, "vit_b@672:g": 0.9}
    errors = [replace(one, metrics={"error": 1 - one.metrics["bbox_mAP"]}) for one in _evaluations(values)]
    falling = replace(OBJECTIVES, metrics=(MetricAxis("error", best=0.0, worst=1.0),))
    lines = plot_front([pareto_front(errors, falling, 500.0)], errors, falling)
    drawn = [line[11:] for line in lines[1:11]]
    risen = [line[11:] for line in _plot(values, (500.0,))[1:11]]
    assert [line.replace("┐", "┘") for line in reversed(drawn)] == risen
    assert any("┐" in line for line in drawn)
    assert not any("┘" in line for line in drawn)


def _plot(values: dict[str, float], tiers: tuple[float, ...] = (100.0, 500.0), **how: object) -> list[str]:
    measured = _evaluations(values)
    fronts = [pareto_front(measured, OBJECTIVES, tier) for tier in tiers]
    return plot_front(fronts, measured, OBJECTIVES, **how)  # type: ignore[arg-type]


FOUR = {"vit_t@448:w14": 0.1, "vit_s@672:w14": 0.3, "vit_b@448:w14": 0.25, "vit_b@672:w14": 0.5}


def test_the_plot_shows_each_member_of_the_front_once() -> None:
    lines = _plot(FOUR, width=60, height=9)
    assert {len(line) for line in lines} == {60}
    assert sum(line.count("●") for line in lines[1:]) == 3
    assert sum(line.count("·") for line in lines[1:]) == 1
    assert lines[1].startswith("   0.5000 ┤")
    assert lines[9].startswith("   0.1000 ┤")
    assert "100 G" in lines[-1]
    assert "500 G" in lines[-1]


def test_the_plot_rises_to_the_right() -> None:
    lines = _plot(FOUR, width=60, height=9)
    places = [(line.index("●"), -row) for row, line in enumerate(lines) if row and "●" in line]
    assert sorted(places) == sorted(places, key=lambda place: place[1])


def test_the_plot_shows_baselines_beyond_the_measured_designs_too() -> None:
    lines = _plot(FOUR, width=60, height=9, baselines=[(300.0, 0.6), (900.0, 0.2)])
    assert lines[0].rstrip().endswith("● front, · other designs, × baselines")
    marked = [(row, line.index("×")) for row, line in enumerate(lines) if row and "×" in line]
    assert [row for row, _ in marked] == [1, 7]
    assert marked[0][1] < marked[1][1] == 59
    assert sum(line.count("●") for line in lines[1:]) == 3


def test_the_plot_is_ascii_where_it_must_be() -> None:
    lines = _plot(FOUR, ascii_only=True)
    assert all(line.isascii() for line in lines)
    assert sum(line.count("#") for line in lines[1:]) == 3


@pytest.mark.parametrize(
    "values", [{"vit_t@448:w14": 0.1}, {"vit_t@448:w14": 0.0}, {"vit_t@448:w14": 0.2, "vit_s@672:w14": 0.2}]
)
def test_the_plot_of_one_design_or_of_equal_ones(values: dict[str, float]) -> None:
    lines = _plot(values)
    assert sum(line.count("●") for line in lines[1:]) == 1
    labels = [line.split("┤")[0].strip() for line in lines if "┤" in line]
    assert [label for label in labels if label] == [f"{next(iter(values.values())):.4f}"]


def test_there_is_no_plot_of_nothing() -> None:
    assert _plot({}) == []


def test_a_design_is_broken_between_its_branches() -> None:
    assert _written(DesignName(TSB), width=60).splitlines() == [TSB]
    assert [line.rstrip() for line in _written(DesignName(TSB), width=35).splitlines()] == [
        "vit_b@672:w14+vit_s@1120:w14",
        "+vit_t@1568:w14*12",
    ]
    assert "".join(line.rstrip() for line in _written(DesignName(TSB), width=9).splitlines()) == TSB


def test_a_bar_is_written_in_what_can_be_written() -> None:
    assert _written(Bar(0.5, 8)).strip() == "████"
    assert _written(Bar(0.5, 8), encoding="ascii").strip() == "####"


def test_errors_are_neither_markup_nor_control_codes() -> None:
    failed = Evaluation(
        Candidate(3, Architecture.parse("vit_t@448:w14"), Fidelity()),
        "failed",
        error="[red]no[/red] [link=x]y[/link]\x1b[2J\n",
    )
    assert _written(failures_view([failed])) == "1 failed: [red]no[/red] [link=x]y[/link]\\x1b[2J (trial 3)\n"


def test_failures_of_one_kind_are_one_line() -> None:
    design = Architecture.parse("vit_t@448:w14")
    failed = [
        Evaluation(Candidate(n, design, Fidelity()), "failed", error=f"{name} {n}.5 MiB")
        for n, name in enumerate(("memory", "disk", "memory"))
    ]
    assert [(kind.error, kind.trials) for kind in kinds(failed)] == [("memory 0.5 MiB", (0, 2)), ("disk 1.5 MiB", (1,))]


def _search(spec: SearchSpec) -> Search:
    return open_search("small", spec.model_copy(update={"sampler": "random"}), Ledger("sqlite://"), "recipe")


def _step(search: Search) -> None:
    candidate = search.propose()
    assert candidate is not None
    search.accept(fakes.measure(candidate))


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_live_view_fits_the_terminal(
    spec: SearchSpec, monkeypatch: pytest.MonkeyPatch, width: int, encoding: str
) -> None:
    search = _search(spec)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("LINES", "44")
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    console = Console(file=file, force_terminal=True)
    with watch(
        console, search, lambda: "2 of 4 CPUs busy", 2, lambda: health_of(spec, OBJECTIVES, search.evaluations)
    ) as changed:
        for _ in range(8):
            _step(search)
            changed()
        for _ in range(4):
            search.propose()
        changed()
    file.flush()
    file.seek(0)
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.read()).splitlines()
    assert max(map(len, seen)) <= width
    text = "\n".join(seen)
    assert "8/12" in text
    assert "8 done, 4 running, 0 failed" in text
    assert "2 of 4 CPUs busy" in text
    assert "bbox_mAP against GMACs" in text
    assert re.search(r"trial 11 \(0:0\d\): vit", text)


def test_of_many_running_trials_some_are_named(spec: SearchSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    search = _search(spec)
    monkeypatch.setenv("LINES", "20")
    for _ in range(10):
        search.propose()
    file = io.StringIO()
    with watch(Console(file=file, force_terminal=True), search) as changed:
        changed()
    assert "and 4 more" in file.getvalue()
    assert "●" not in file.getvalue()


def test_a_dumb_terminal_and_a_pipe_get_lines(spec: SearchSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    for terminal in (True, False):
        search, file = _search(spec), io.StringIO()
        with watch(Console(file=file, width=80, force_terminal=terminal), search) as changed:
            for _ in range(3):
                _step(search)
                changed()
        lines = file.getvalue().splitlines()
        assert "\x1b" not in file.getvalue()
        assert len(lines) == 3
        assert re.match(r"\[\d\d:\d\d:\d\d\] 1/12 trial 0 bbox_mAP 0\.\d{4}", lines[0])


def test_the_front_of_nothing_says_so(fill: Fill) -> None:
    history = history_of(fill("failed", trials=3, failing=range(3)), "failed")
    assert "there is no front" in _written(fronts_view(history.fronts, history.objectives))


def test_tables_fit_eighty_columns(fill: Fill) -> None:
    history = history_of(fill(trials=30), "small")
    seen = _written(
        fronts_view(history.fronts, history.objectives), FrontPlot(history.fronts, history.finished, OBJECTIVES)
    )
    assert max(len(line.rstrip()) for line in seen.splitlines()) <= 80
    for member in history.fronts[-1].evaluations:
        assert str(member.candidate.number) in seen
    assert _written(health_view(health_of(history.spec, history.objectives, history.evaluations)))


@pytest.mark.parametrize(("run", "trials", "failing"), [("empty", 0, ()), ("failed", 5, range(5)), ("one", 1, ())])
def test_show_and_front_of_small_runs(run_cli: Cli, fill: Fill, run: str, trials: int, failing: range) -> None:
    fill(run, trials, failing)
    for command in ("show", "front"):
        for options in ((), ("--quiet",), ("--json",)):
            ended = run_cli(command, run, *options)
            assert (ended.code, ended.err) == (0, "")
    content = json.loads(run_cli("show", run, "--json").out)
    assert (content["done"], len(content["failed"])) == (trials - len(failing), len(failing))
    assert content["tiers"][-1]["gmacs"] == 0.06


def test_show_in_json_holds_what_the_ledger_holds(run_cli: Cli, fill: Fill) -> None:
    fill(trials=9, failing=(2,), leave=3)
    content = json.loads(run_cli("show", "small", "--json").out)
    assert (content["done"], len(content["unfinished"])) == (5, 3)
    assert content["failed"] == [{"trial": 2, "error": "MemoryError: out of memory"}]
    assert [row["run"] for row in json.loads(run_cli("show", "--json").out)] == ["small"]
    assert run_cli("show", "--quiet").out == "small\n"
    assert run_cli("ledger", "list", "--quiet").out == "small\n"
    assert [row["name"] for row in json.loads(run_cli("ledger", "list", "--json").out)] == ["small"]


def test_quiet_gives_what_a_script_needs(run_cli: Cli, fill: Fill) -> None:
    history = history_of(fill(), "small")
    names = [member.candidate.design.name for member in history.fronts[-1].evaluations]
    assert run_cli("front", "small", "--quiet").out.splitlines() == names
    assert run_cli("show", "small", "-q").out.count("\n") == 1
    assert float(run_cli("cost", TSB, "--convention", "published", "-q").out) == pytest.approx(453.25, abs=0.01)
    assert [len(line.split()) for line in run_cli("plan", "quickstart", "-q").out.splitlines()] == [2, 2, 2]


def test_a_pipe_gets_no_spaces_at_the_end_and_no_broken_lines(run_cli: Cli, fill: Fill) -> None:
    fill(trials=20, failing=(3,), error="x" * 300)
    for command in (("show", "small"), ("front", "small"), ("cost", TSB), ("plan", "quickstart")):
        out = run_cli(*command).out
        assert out
        assert not any(line.endswith(" ") for line in out.splitlines())
        assert "\x1b" not in out
    assert "x" * 300 in run_cli("show", "small").out


def test_a_large_run_is_shown_in_few_lines(run_cli: Cli, fill: Fill) -> None:
    fill(trials=200, failing=range(0, 200, 5))
    seen = run_cli("show", "small").out
    assert len(seen.splitlines()) < 60


def _completed(run_cli: Cli, monkeypatch: pytest.MonkeyPatch, words: str) -> list[str]:
    monkeypatch.setenv("_PIIP_SEARCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    return run_cli().out.split()


@pytest.mark.parametrize("command", ["show", "front", "export", "report", "audit", "mirror"])
def test_a_shell_completes_runs(run_cli: Cli, fill: Fill, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    fill("small")
    fill("other", trials=1)
    assert _completed(run_cli, monkeypatch, f"piip-search {command} sm") == ["small"]


def test_a_shell_completes_runs_of_another_home(run_cli: Cli, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    fill("small")
    assert _completed(run_cli, monkeypatch, "piip-search show --home runs s") == ["small"]
    assert _completed(run_cli, monkeypatch, "piip-search show --home nowhere s") == []


@pytest.mark.parametrize("command", ["run", "plan", "init", "simulate"])
def test_a_shell_completes_spaces(run_cli: Cli, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    assert _completed(run_cli, monkeypatch, f"piip-search {command} qu") == [
        "quickstart",
        "quickstart-classification",
        "quickstart-shared",
    ]


def test_a_shell_completes_files_of_spaces(run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_cli("init", "--to", "mine").code == 0
    assert _completed(run_cli, monkeypatch, "piip-search run mi") == ["mine/"]
    assert _completed(run_cli, monkeypatch, "piip-search run mine/") == [
        "mine/coco.yaml",
        "mine/quickstart-classification.yaml",
        "mine/quickstart-shared.yaml",
        "mine/quickstart.yaml",
    ]
