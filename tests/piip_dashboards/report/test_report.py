"""Reports against the ledger that they are made from."""

import json
import re
import shutil
import sys
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest

from piip_dashboards.report import SearchReport, make_report
from piip_dashboards.report.circumstances import ask
from piip_dashboards.report.paper import BROWSERS
from piip_search.analysis.audit import AuditPlan, audit_candidates
from piip_search.api.runs import history_of, report_source
from piip_search.architecture import Architecture, Branch, Interaction
from piip_search.config import SearchSpec, load_spec, parse_spec
from piip_search.config.shipped import find_space
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.evaluation.objectives import pareto_front
from piip_search.ledger import Ledger
from piip_search.search.history import RunHistory
from piip_search.search.policy import FixedPolicy
from piip_search.search.search import Search, open_search
from support import fakes, small_ledger
from support.four_objectives import drive, four_of
from support.small_ledger import Fill
from support.typed import Cli

html_page = pytest.importorskip("piip_dashboards.report.html", exc_type=ImportError).html_page
markdown = pytest.importorskip("piip_dashboards.report.markdown", exc_type=ImportError)
markdown_page, pictures, plain, code = markdown.markdown_page, markdown.pictures, markdown.plain, markdown.code
NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
EVIL = "<script>alert(1)</script>|`x`[a](b)"


def _report(ledger: Ledger, run: str = "small", within: float = 0.05) -> SearchReport:
    return make_report(report_source(ledger, run), within, NOW)


class _Page(HTMLParser):
    """Tags, addresses and words of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "data", "action")]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_needs_nothing_else(fill: Fill) -> None:
    page = html_page(_report(fill()))
    read = _Page(page)
    assert all(address.startswith("#") for address in read.addresses)
    assert not {"script", "link", "img", "iframe", "object", "embed"} & set(read.tags)
    assert "url(" not in page
    assert "@import" not in page


def test_every_anchor_is_there(fill: Fill) -> None:
    page = html_page(_report(fill()))
    for anchor in _Page(page).addresses:
        assert f'id="{anchor[1:]}"' in page


def test_figures_of_the_front_are_those_of_the_ledger(fill: Fill) -> None:
    ledger = fill()
    history, report = history_of(ledger, "small"), _report(ledger)
    whole = pareto_front(history.finished, history.objectives, 0.06)
    assert [row.trial for row in report.front] == [e.candidate.number for e in whole.evaluations]
    assert [row.value for row in report.front] == [history.objectives.value(e) for e in whole.evaluations]
    words = _Page(html_page(report)).words
    for row in report.front:
        assert f"{row.value:.4f}" in words
        assert row.architecture in words
    for tier, front in zip(report.tiers, history.fronts, strict=True):
        assert (tier.tier, tier.hypervolume) == (front.tier, front.hypervolume)


def test_progress_ends_with_the_hypervolume_of_each_front(fill: Fill) -> None:
    """The replay of a run, front by front, gives the fronts that are worked out anew after each evaluation."""
    ledger = fill(trials=30)
    history, report = history_of(ledger, "small"), _report(ledger)
    counts = range(1, len(history.evaluations) + 1)
    for tier, steps in report.progress:
        anew = [pareto_front(history.evaluations[:count], history.objectives, tier) for count in counts]
        values = [front.hypervolume for front in anew]
        moved = [(n + 1, v) for n, v in enumerate(values) if v != (values[n - 1] if n else 0.0)]
        assert np.array(steps) == pytest.approx(np.array(moved))


def test_chosen_designs_are_the_best_of_each_tier_the_knee_and_a_cheap_one(fill: Fill) -> None:
    report = _report(fill(trials=30))
    said = [why for chosen in report.chosen for why in chosen.why]
    assert {"best within 0.02 G", "best within 0.06 G", "knee of the front"} <= set(said)
    assert any(why.startswith("cheapest within 0.05") for why in said)
    assert len({chosen.trial for chosen in report.chosen}) == len(report.chosen)
    for chosen in report.chosen:
        assert sum(part.share for part in chosen.parts) == pytest.approx(1)
        assert [price.convention for price in chosen.prices] == ["published", "backbone", "whole"]
        assert next(p.gmacs for p in chosen.prices if p.convention == "backbone") == pytest.approx(
            sum(part.gmacs for part in chosen.parts)
        )


def test_the_cheap_design_is_the_cheapest_that_is_nearly_the_best(fill: Fill) -> None:
    ledger = fill(trials=30)
    history = history_of(ledger, "small")
    values = {e.candidate.number: history.objectives.value(e) or 0.0 for e in history.finished}
    costs = {e.candidate.number: history.objectives.cost(e) for e in history.finished}
    inside = {n: cost for n, cost in costs.items() if cost <= 0.06 and values[n] >= max(values.values()) - 0.05}
    near = next(c for c in _report(ledger).chosen if any(why.startswith("cheapest within") for why in c.why))
    assert near.trial == min(inside, key=inside.__getitem__)


def test_an_empty_run_a_failed_one_and_a_running_one_say_so(fill: Fill) -> None:
    words = _Page(html_page(_report(fill("empty", trials=0), "empty"))).words
    assert "Nothing has been proposed yet." in words
    assert "there is no front" in words
    words = _Page(html_page(_report(fill("failed", trials=5, failing=range(5)), "failed"))).words
    assert "Nothing was measured: the failures below say why." in words
    assert "MemoryError: out of memory" in words
    assert "0, 1, 2, 3, 4" in words
    words = _Page(html_page(_report(fill("running", trials=9, leave=4), "running"))).words
    assert "5 evaluations done, 0 failed. 4 unfinished when this was written" in words


@pytest.mark.parametrize("run", ["empty", "failed", "one"])
def test_markdown_and_pictures_of_small_runs(fill: Fill, run: str) -> None:
    trials = {"empty": 0, "failed": 3, "one": 1}[run]
    report = _report(fill(run, trials, failing=range(3) if run == "failed" else ()), run)
    assert "Reproducibility" in markdown_page(report, "files")
    for drawing in pictures(report).values():
        ElementTree.fromstring(drawing)


def test_errors_are_grouped_by_kind(fill: Fill) -> None:
    ledger = fill("kinds", trials=6, failing=(1, 2, 5), error="no memory for 123 MiB")
    kinds = _report(ledger, "kinds").failures
    assert [(kind.count, kind.trials) for kind in kinds] == [(3, (1, 2, 5))]


def test_what_the_ledger_holds_is_never_markup(fill: Fill) -> None:
    report = _report(fill(EVIL, trials=6, failing=(2,), error=f"ValueError: {EVIL}"), EVIL)
    page = html_page(report)
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 3
    assert EVIL in _Page(page).words
    text = markdown_page(report, "files")
    outside = re.sub(r"(`{3,})yaml.*?\1|(`+).*?\2", "", text, flags=re.DOTALL)
    assert "<script" not in outside
    assert "[a](b)" not in outside
    for drawing in pictures(report).values():
        assert "<script" not in drawing
        ElementTree.fromstring(drawing)


def test_markdown_keeps_plain_words_plain() -> None:
    assert plain("0.1, 0.2 and bbox_mAP_50 (best)") == "0.1, 0.2 and bbox_mAP_50 (best)"
    assert plain("a|b *c* <d>\n# e") == "a\\|b \\*c\\* &lt;d&gt; # e"
    assert plain("# heading") == "\\# heading"
    assert plain("12. item") == "12\\. item"
    assert plain("node-1 (16), 3.5.") == "node-1 (16), 3.5."
    assert str(code("a`b|c")) == "``a`b\\|c``"


def test_cells_of_every_markdown_table_are_as_many_as_its_heads(fill: Fill) -> None:
    text = markdown_page(_report(fill("t", trials=20, failing=(3,), error="a|b"), "t"), "files")
    width = 0
    for line in text.splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line))
        if not line.startswith("|"):
            width = 0
            continue
        width = width or cells
        assert cells == width, line


def test_several_metrics_and_costs_have_columns_of_their_own(spec: SearchSpec, tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    search = open_search("small", four_of(spec, 9), ledger, "recipe")
    for _ in drive(search):
        pass
    report = _report(ledger)
    assert report.others == ("bbox_mAP_s", "M params")
    front = search.fronts()[-1].evaluations
    assert [row.others[0] for row in report.front] == [e.metrics["bbox_mAP_s"] for e in front]
    assert report.best.value == max(row.value for row in report.front)
    text = markdown_page(report, "files")
    assert "| | trial | bbox_mAP | GMACs | bbox_mAP_s | M params | M params | within | architecture |" not in text
    assert "| | trial | bbox_mAP | GMACs | bbox_mAP_s | M params | within | architecture |" in text
    assert "more bbox_mAP and more bbox_mAP_s against fewer GMACs (backbone convention) and parameters" in text
    assert "bbox_mAP_s" in _Page(html_page(report)).words


def test_the_audit_of_the_proxies_is_told(fill: Fill, spec: SearchSpec) -> None:
    ledger = fill(trials=30)
    assert "The ledger holds no audit of this run" in _Page(html_page(_report(ledger))).words
    history = history_of(ledger, "small")
    reference = replace(spec.fidelity.build(), epochs=36)
    plan = AuditPlan(6, 2, reference)
    candidates = audit_candidates(history.finished, history.objectives, (0.02, 0.06), plan)
    name, uid = plan.run_name("small"), ledger.search("small").uid
    search = Search(name, history.spec, FixedPolicy(candidates), ledger, "recipe", question=plan.digest, audit_of=uid)
    while (candidate := search.propose()) is not None:
        search.accept(fakes.measure(candidate))
    report = _report(ledger)
    fill(run="small.audit-mine")  # a search that somebody called so
    assert [view.run for view in _report(ledger).audits] == [view.run for view in report.audits] == [name]
    assert "36 epochs" in report.audits[0].reference
    figures = [tier.figures for tier in report.audits[0].tiers]
    assert figures[-1] is not None
    assert figures[-1].proxy.value == pytest.approx(1)  # the fake measures the same for any number of epochs
    words = _Page(html_page(report)).words
    assert report.audits[0].tiers[-1].verdict in words
    assert report.audits[0].costs == ("MACs", "parameters", "the largest image")
    head = "| tier, GMACs | designs | proxy | another seed | MACs | parameters | the largest image |"
    assert f"{head}\n| ---: | ---: | --- | --- | --- | --- | --- |\n| 0.02 |" in markdown_page(report, "files")


def test_texts_name_the_axis_of_the_tiers(tmp_path: Path, by_parameters: SearchSpec) -> None:
    report = _report(small_ledger.fill(tmp_path / "runs", by_parameters))
    assert "parameters alone with" in report.learnt
    text = markdown_page(report, "files")
    assert "MACs alone" not in text
    assert re.search(r"| tier, M params \|", text)
    assert all(why.endswith(" M") for one in report.chosen for why in one.why if why.startswith("best within"))


def test_it_tells_what_it_takes_to_do_it_again(fill: Fill) -> None:
    ledger = fill()
    facts = {fact.name: fact.value for fact in _report(ledger).reproduce}
    record = ledger.search("small")
    assert facts["Fingerprint of the question"] == record.question
    assert facts["Of the data"] == "0123456789abcdef"
    assert facts["Ledger"] == ledger.shown
    assert facts["Measured on"] == "node-1 (14)"
    assert facts["Command"] == "piip-search run space.yaml --name small"


def test_the_space_file_asks_the_same_question(fill: Fill, tmp_path: Path) -> None:
    from piip_search.config import load_spec

    ledger = fill()
    path = tmp_path / "space.yaml"
    path.write_text(_report(ledger).space_file, encoding="utf-8")
    assert load_spec(path).question == ledger.search("small").question


@pytest.mark.slow
def test_the_report_of_ten_thousand_designs_is_small(fill: Fill) -> None:
    source = report_source(fill(), "small")
    old = source.history.spec
    random, designs = np.random.default_rng(0), set()
    while len(designs) < 10_000:
        sizes = sorted(16 * random.integers(2, 98, 2))
        windows = random.integers(4, 30, 2)
        branches = tuple(
            Branch(str(model), int(size), int(window))
            for model, size, window in zip(("vit_nano", "vit_pico"), sizes, windows, strict=True)
        )
        designs.add(Architecture(branches, Interaction(int(random.integers(0, 3)))))
    evaluations = [
        Evaluation(Candidate(n, design, old.fidelity.build()), "done", {"bbox_mAP": random.uniform(0, 0.5)})
        for n, design in enumerate(designs)
    ]
    spec = old.model_copy(update={"limit": old.limit.model_copy(update={"gmacs": (1.0, 100.0)})})
    events = [event for evaluation in evaluations for event in (evaluation.candidate, evaluation)]
    big = replace(source, history=RunHistory(spec, events))
    page = html_page(make_report(big, 0.01, NOW))
    assert len(page) < 600_000


def test_the_command_writes_what_is_asked_for(fill: Fill, run_cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    fill(trials=20)
    ended = run_cli("report", "small", "-o", "out/report.html", "--figures", "figures")
    assert ended.code == 0
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "figures" / "front.png").read_bytes().startswith(b"\x89PNG")
    ElementTree.parse(tmp_path / "figures" / "front.svg")
    assert "wrote out/report.html" in ended.out
    first = (tmp_path / "figures" / "front.svg").read_bytes()
    assert run_cli("report", "small", "--figures", "figures", "--format", "md", "--quiet").code == 0
    assert (tmp_path / "figures" / "front.svg").read_bytes() == first
    text = (tmp_path / "small.md").read_text(encoding="utf-8")
    for linked in re.findall(r"!\[[^]]*]\(([^)]+)\)", text):
        assert (tmp_path / linked).is_file()
    assert "small_files/front.svg" in text


def test_pictures_are_found_whatever_the_report_is_called(fill: Fill, run_cli: Cli, tmp_path: Path) -> None:
    fill(trials=3)
    name = "a report#1 (50%20?) é.md"
    assert run_cli("report", "small", "-o", name).code == 0
    linked = re.findall(r"!\[[^]]*]\(([^)]+)\)", (tmp_path / name).read_text(encoding="utf-8"))
    assert linked
    assert all((tmp_path / unquote(link)).is_file() for link in linked)


def test_the_command_prints_json(fill: Fill, run_cli: Cli, tmp_path: Path) -> None:
    fill(trials=20)
    ended = run_cli("report", "small", "--json")
    content = json.loads(ended.out)
    assert content["run"] == "small"
    assert content["files"] == []
    assert content["front"][0]["architecture"]
    assert not list(tmp_path.glob("*.html"))
    assert json.loads(run_cli("report", "small", "--json", "-o", "r.html").out)["files"] == ["r.html"]


def test_wrong_commands_say_the_way_out(fill: Fill, run_cli: Cli) -> None:
    fill()
    ended = run_cli("report", "small", "-o", "report.doc")
    assert (ended.code, "a report must end in .html, .md or .pdf" in ended.err) == (2, True)
    ended = run_cli("report", "small", "--format", "pdf", "--browser", "/nowhere/chrome")
    assert ended.code == 2
    assert "no browser at /nowhere/chrome" in ended.err
    assert "print it from any browser" in ended.err
    assert "Traceback" not in ended.err
    ended = run_cli("report", "other")
    assert (ended.code, "no run 'other'" in ended.err) == (2, True)


def test_without_its_extra_it_says_what_to_install(
    fill: Fill, run_cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fill()
    for name in [name for name in sys.modules if name.startswith("piip_dashboards.report.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    ended = run_cli("report", "small")
    assert ended.code == 2
    assert 'pip install "piip-search[dashboard]"' in ended.err
    assert not list(tmp_path.glob("small*"))


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="no browser that prints")
def test_a_browser_prints_it(fill: Fill, run_cli: Cli, tmp_path: Path) -> None:
    fill()
    ended = run_cli("report", "small", "-o", "report.pdf")
    assert ended.code == 0, ended.err
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.parametrize(
    ("finish", "said"), [("tuned", "32 epochs that designs share, then 2 of its own"), ("alone", "8 ep")]
)
def test_the_report_tells_how_long_a_design_is_trained(finish: str, said: str) -> None:
    content = load_spec(find_space("quickstart-shared")).model_dump(mode="json")
    spec = parse_spec({**content, "evaluator": {**content["evaluator"], "finish": finish}})
    question, _, _ = ask(spec, spec.objectives)
    facts = {fact.name: fact.value for fact in question}
    assert said in facts["Proxy"]
    assert facts["Schedule"].startswith("rungs (with the parent's weights")
