"""What commands do can be called from Python: values go in, values come out, and nothing is printed."""

import ast
import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from piip_search.api.audit import AuditOptions, open_audit
from piip_search.api.catalogue import copy_spaces
from piip_search.api.cost import price_design, price_trial
from piip_search.api.export import DesignExport, ExportOptions, check_proofs, export_designs
from piip_search.api.jobs import SubmitOptions, find_job, submit_search
from piip_search.api.ledgers import ledger_content, merge_ledgers, write_table
from piip_search.api.mirror import mirror_store
from piip_search.api.page_actions import export_here, page_actions, write_examples
from piip_search.api.plain_data import runs_content, search_content, status_content
from piip_search.api.plan import CPU_THROUGHPUT, check_picture, plan_search
from piip_search.api.report import Form, form_of, report_run
from piip_search.api.runners import Place
from piip_search.api.search import SearchOptions, open_search_run
from piip_search.api.simulate import ClusterOptions, simulate_search, with_changes
from piip_search.api.status import status_of
from piip_search.api.train import TrainingOptions, prepare_training
from piip_search.architecture import Architecture
from piip_search.config import SearchSpec, SpecError
from piip_search.cost import price
from piip_search.errors import (
    ChoiceError,
    ClusterError,
    DataError,
    DesignError,
    ExportError,
    LedgerError,
    StoreError,
    TableError,
    UserError,
    WeightsError,
)
from piip_search.export import Provenance
from piip_search.ledger import Ledger, sqlite_url
from piip_search.tasks.detection.plan import CONFIG
from piip_workers.networks.proof import Proof
from support import ROOT
from support.small_ledger import Fill

TSB = Architecture.parse("vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12")


@pytest.fixture(autouse=True)
def _silent(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert capfd.readouterr() == ("", "")


def test_no_use_case_can_print() -> None:
    files = sorted((ROOT / "piip_search" / "api").glob("*.py"))
    assert len(files) > 10
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else []
            modules += [name.name for name in node.names] if isinstance(node, ast.Import) else []
            assert not any(str(module).split(".")[0] in ("typer", "rich") for module in modules), file
            assert not (isinstance(node, ast.Name) and node.id == "print"), file


def test_a_design_has_its_costs_and_its_place_among_the_published() -> None:
    found = price_design(TSB)
    assert found.costs["published"] == price(TSB)
    assert sum(part.cost.macs for part in found.parts("published")) == price(TSB).macs
    assert found.published
    assert TSB not in [row.architecture for row in found.near]
    assert found.to_dict()["image"] == (1568, 1568)
    assert price_design(TSB, (800, 1333)).image == TSB.image(800, 1333)


def test_a_trial_of_a_design(spec: SearchSpec) -> None:
    design = Architecture.parse("vit_nano@64:g")
    trial = price_trial(design, spec)
    assert (trial.space, trial.fits) == ("small", True)
    assert trial.needed_bytes > trial.training_bytes > 0
    with pytest.raises(DesignError, match="a trial of small is of the task detection"):
        price_trial(Architecture.parse("vit_nano@64:g/logits"), spec)


def test_a_plan_follows_what_is_given(spec: SearchSpec, tmp_path: Path) -> None:
    plan = plan_search(spec, tmp_path / "small.yaml", trials=5, images=(100, 20))
    assert plan.spec.budget.trials == 5
    assert plan.effort is not None
    assert (plan.effort.val_images, plan.effort.throughput) == (20, CPU_THROUGHPUT)
    check_picture(tmp_path / "plan.svg")
    with pytest.raises(UserError, match=r"a picture must end in \.png, \.svg, \.pdf"):
        check_picture(tmp_path / "plan.txt")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text("choice:a,cost:gmacs,loss:x\n0,1,1\n1,2,0.5\n2,3,0.2\n", encoding="utf-8")
    return path


def test_a_simulation_says_how_far_it_is_and_what_it_reached(spec: SearchSpec, table: Path) -> None:
    spec, told = with_changes(spec, "small", tiers=(1, 3), trials=3, seed=7), list[str]()
    assert (spec.bounds.tiers, spec.budget.trials, spec.seed) == ((1, 3), 3, 7)
    outcome = simulate_search(spec, table, cluster=ClusterOptions(workers=2), progress=told.append)
    first, last = outcome.tiers
    assert (first.tier, first.best, first.regret) == (1, 1, 0)
    assert (last.best, last.possible, last.hypervolume) == (pytest.approx(0.2), pytest.approx(0.2), pytest.approx(1))
    assert list(outcome.evaluations.values()) == [3]
    with pytest.raises(UserError, match="workers must be at least 1"):
        simulate_search(spec, table, cluster=ClusterOptions(workers=0))
    with pytest.raises(TableError):
        simulate_search(spec, table, losses=["unknown"])
    with pytest.raises(SpecError):
        with_changes(spec, "small", trials=0)


@pytest.mark.parametrize(
    ("name", "form"), [("a.html", Form.HTML), ("a.HTM", Form.HTML), ("a.markdown", Form.MD), ("a.pdf", Form.PDF)]
)
def test_the_ending_of_a_file_names_the_format_of_a_report(name: str, form: Form) -> None:
    assert form_of(Path(name)) is form


def test_an_ending_that_names_no_format() -> None:
    with pytest.raises(UserError, match=r"a report must end in \.html, \.md or \.pdf, got a\.txt"):
        form_of(Path("a.txt"))


def test_a_report_is_written_where_a_file_is_named(fill: Fill, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    ledger, file = fill(trials=3), tmp_path / "small.md"
    assert report_run(ledger, "small").files == ()
    report = report_run(ledger, "small", file, Form.MD)
    assert report.files[0] == file
    assert file.read_text(encoding="utf-8")
    assert report.content.run == "small"


def test_a_run_without_a_result_has_no_figures(fill: Fill, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    told = list[str]()
    report = report_run(fill(trials=1, failing=(0,)), "small", figures=tmp_path / "figures", notify=told.append)
    assert report.files == ()
    assert told == ["note: no design of small was measured to the end, so there is no front to draw"]


def test_an_export_that_cannot_be_is_refused_before_anything_is_written(fill: Fill, tmp_path: Path) -> None:
    ledger, out = fill(), tmp_path / "exported"
    with pytest.raises(LedgerError):
        export_designs(ledger, "unknown", "best", out, tmp_path)
    with pytest.raises(ChoiceError):
        export_designs(ledger, "small", "9999", out, tmp_path)
    with pytest.raises(WeightsError, match="run small trained from random weights; leave --weights out, or name proxy"):
        export_designs(ledger, "small", "best", out, tmp_path, ExportOptions(weights="pretrained"))
    assert not out.exists()
    out.mkdir()
    (out / "notes.txt").touch()
    with pytest.raises(ExportError, match="a whole front needs a folder of its own"):
        export_designs(ledger, "small", "all", out, tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.xdist_group("export")
def test_an_export_gives_each_design_as_soon_as_it_is_there(fill: Fill, tmp_path: Path) -> None:
    pytest.importorskip("mmdet")
    seen, now = list[Path](), list[str]()
    options = ExportOptions(formats=("torch",), weights="random", register=False)
    exports = export_designs(
        fill(trials=3),
        "small",
        "all",
        tmp_path / "front",
        tmp_path / "runs",
        options,
        progress=now.append,
        done=lambda design: seen.append(design.folder),
    )
    assert [design.folder for design in exports] == seen
    assert now == [f"exporting trial {design.evaluation.candidate.number}" for design in exports]
    for design in exports:
        assert design.proof.passed
        assert design.to_dict()["folder"] == str(design.folder)
        assert Provenance.read(design.folder).weights == "random"


def test_an_audit_that_says_nothing_is_refused(fill: Fill, spec: SearchSpec, tmp_path: Path) -> None:
    ledger, same = fill(), AuditOptions(epochs=spec.fidelity.build().epochs)
    with pytest.raises(UserError, match="the longer training is the proxy itself"):
        open_audit(ledger, "small", tmp_path, same, Place.LOCAL)
    failed = Ledger("sqlite://")
    with pytest.raises(LedgerError):
        open_audit(failed, "small", tmp_path, on=Place.LOCAL)


def test_an_audit_of_an_unfair_comparison_says_so(fill: Fill, tmp_path: Path) -> None:
    pytest.importorskip("mmdet")
    told = list[str]()
    open_audit(fill(images=100), "small", tmp_path / "runs", AuditOptions(2, epochs=9), Place.LOCAL, notify=told.append)
    (said,) = told
    assert re.fullmatch(r"note: merge: \d+ designs of one branch .* under the merge conv after 1,200 images; .*", said)


def test_none_is_no_store_to_write_a_run_into(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="--mlflow none is no store"):
        mirror_store("none", tmp_path)


def test_a_full_training_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="is no export"):
        prepare_training(tmp_path)
    Provenance("small", 3, TSB.name, TSB.fingerprint, "bbox_mAP", {}, {}, "1x", "random").write(tmp_path)
    with pytest.raises(ExportError, match="export the design with --format mmdet"):
        prepare_training(tmp_path)
    (tmp_path / CONFIG).touch()
    with pytest.raises(UserError, match="settings must be KEY=VALUE, got 'lr'"):
        prepare_training(tmp_path, TrainingOptions(settings=("lr",)))
    with pytest.raises(UserError, match="no checkpoint to resume from"):
        prepare_training(tmp_path, TrainingOptions(resume=True))
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "epoch_1.pth").touch()
    with pytest.raises(UserError, match="resume it with --resume"):
        prepare_training(tmp_path)


def test_the_command_line_of_a_full_training(tmp_path: Path) -> None:
    pytest.importorskip("mmdet")
    Provenance("small", 3, TSB.name, TSB.fingerprint, "bbox_mAP", {}, {}, "1x", "random").write(tmp_path)
    (tmp_path / CONFIG).touch()
    told = list[str]()
    training = prepare_training(tmp_path, TrainingOptions(("a=1",), epochs=2), told.append)
    work = tmp_path / "work"
    assert (training.work, training.gpus) == (work, 1)
    asked = ("--work-dir", str(work), "--epochs", "2", "--cfg-options", "a=1")
    assert training.arguments == (str(tmp_path / CONFIG), *asked)
    assert told == ["note: not mirrored into MLflow: the export names no store; --mlflow names one"]


def test_a_search_with_proxies_is_open_before_anything_is_trained(spec: SearchSpec, tmp_path: Path) -> None:
    pytest.importorskip("mmdet")
    url, now = sqlite_url(tmp_path / "ledger.db"), list[str]()
    options = SearchOptions("mine", Place.LOCAL)
    opened = open_search_run(spec, url, tmp_path, options, progress=now.append)
    assert (opened.search.run, opened.search.evaluations, opened.at_once) == ("mine", [], 1)
    assert opened.trials.is_relative_to(tmp_path / "mine")
    assert now[-1] == "starting"
    content = search_content(opened)
    assert (content["run"], content["done"], content["ledger"]) == ("mine", 0, opened.ledger.shown)
    with pytest.raises(LedgerError, match="other"):
        open_search_run(spec, url, tmp_path, SearchOptions("other", Place.LOCAL, resume=True))


def test_a_search_that_cannot_be_opened_leaves_no_ledger_behind(spec: SearchSpec, tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "ledger.db")
    with pytest.raises(UserError, match="a run's name must be up to 100 letters"):
        open_search_run(spec, url, tmp_path, SearchOptions("../elsewhere", Place.LOCAL))
    dear = spec.model_copy(update={"limit": spec.limit.model_copy(update={"gmacs": (1e-6,)})})
    with pytest.raises(SpecError, match="the cheapest costs"):
        open_search_run(dear, url, tmp_path, SearchOptions(on=Place.LOCAL), source="dear.yaml")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("home", "options", "said"),
    [
        ("runs", SubmitOptions(), "--home must be an absolute path"),
        (
            "/shared",
            SubmitOptions(ledger="sqlite:///ledger.db"),
            "--ledger must be a server, or a file by its absolute",
        ),
        (
            "/shared",
            SubmitOptions(mlflow="sqlite:///mlflow.db"),
            "--mlflow must be a server, or a file by its absolute",
        ),
        ("/shared", SubmitOptions(variables=("NO_SUCH_VARIABLE",)), "this shell has no such variable"),
        ("/shared", SubmitOptions(working_dir=Path("nowhere")), "no folder nowhere"),
        ("/shared", SubmitOptions(name="../elsewhere"), "a run's name must be up to 100 letters"),
    ],
)
def test_what_a_cluster_could_not_run_is_not_sent(home: str, options: SubmitOptions, said: str) -> None:
    with pytest.raises(UserError, match=said):
        submit_search("quickstart", Path(home), options=options)


def test_a_cluster_that_does_not_answer_is_one_error() -> None:
    pytest.importorskip("ray")
    pytest.importorskip("aiohttp")
    with pytest.raises(ClusterError, match=r"127\.0\.0\.1:1"):
        find_job("quickstart", "http://127.0.0.1:1")


def test_what_a_page_starts_goes_to_another_process(tmp_path: Path) -> None:
    assert pickle.loads(pickle.dumps(page_actions("sqlite:///ledger.db", tmp_path))).stop is not None


def test_what_a_page_starts_is_refused_as_a_command_is(fill: Fill, tmp_path: Path) -> None:
    ledger, told = fill(), list[str]()
    ledger.close()
    with pytest.raises(ChoiceError):
        export_here(None, tmp_path / "runs", "small", "none", tmp_path / "exported", "someone", told.append)
    with pytest.raises(UserError, match="no ledger at"):
        export_here(None, tmp_path / "nowhere", "small", "none", tmp_path / "exported", "someone", told.append)
    assert told == []


def test_no_examples_of_a_folder_without_a_training(tmp_path: Path) -> None:
    pytest.importorskip("mmdet")
    with pytest.raises(DataError, match=r"no config\.py in"):
        write_examples("detection", tmp_path, list[str]().append)


def test_a_check_that_failed_is_an_error_that_lists_it(fill: Fill, tmp_path: Path) -> None:
    (evaluation,), proof = fill(trials=1).evaluations("small"), Proof()
    exports = [DesignExport(evaluation, tmp_path, proof)]
    assert exports[0].summary == f"wrote {tmp_path}; not proved; {tmp_path / 'README.md'} says how to train it"
    check_proofs(exports)
    proof.check("mmdet: parameters", 3, lambda: 4)
    assert "; proof: 0 of 1 checks passed in " in exports[0].summary
    with pytest.raises(ExportError, match="mmdet: parameters: expected 3, found 4"):
        check_proofs(exports)


def test_a_ledger_as_a_table_and_in_another_one(fill: Fill, tmp_path: Path) -> None:
    ledger, table = fill(trials=3), tmp_path / "tables" / "small.csv"
    assert write_table(ledger, table).rows == 3
    assert len(table.read_text(encoding="utf-8").splitlines()) == 4
    with pytest.raises(UserError, match=r"a table must end in \.csv or \.parquet, got 'small\.txt'"):
        write_table(ledger, tmp_path / "small.txt")
    (content,) = ledger_content(ledger)
    assert (content["name"], content["evaluations"], content["audit_of"]) == ("small", 3, None)
    (merged,) = merge_ledgers(str(tmp_path / "runs"), sqlite_url(tmp_path / "other.db"))
    assert (merged.name, merged.into, merged.rows) == ("small", "small", 6)
    with pytest.raises(UserError, match="no ledger at"):
        merge_ledgers("nowhere", sqlite_url(tmp_path / "other.db"))


def test_spaces_are_copied_and_nothing_is_written_over(tmp_path: Path) -> None:
    (file,) = copy_spaces(["quickstart"], tmp_path / "spaces")
    assert file == tmp_path / "spaces" / "quickstart.yaml"
    with pytest.raises(UserError, match="exists and is kept"):
        copy_spaces([], tmp_path / "spaces")
    assert list(file.parent.iterdir()) == [file]


def test_how_a_run_stands_is_a_value_and_plain_data(fill: Fill, tmp_path: Path) -> None:
    ledger = fill(failing=(2,), leave=1)
    status = status_of(ledger, "small", tmp_path / "runs")
    assert (len(status.history.evaluations), len(status.unfinished), status.is_search) == (13, 1, True)
    assert status.health is not None
    assert status_of(ledger, "small", tmp_path, examine=False).health is None
    content = status_content(status)
    assert (content["done"], [failed["trial"] for failed in content["failed"]]) == (12, [2])
    assert [kind["count"] for kind in content["failures"]] == [1]
    assert json.loads(json.dumps(content))["run"] == "small"
    assert [(run["run"], run["proposals"], run["evaluations"]) for run in runs_content(ledger)] == [("small", 14, 13)]
