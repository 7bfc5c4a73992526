"""The command line as a user meets it: what it prints, and how it ends."""

import inspect
import json
import re
import shlex
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from piip_search.analysis.audit import LONGER, AuditPlan, audit_candidates
from piip_search.api.runs import history_of
from piip_search.api.stores import keep_store, kept_store
from piip_search.architecture import Architecture
from piip_search.config import SearchSpec, load_spec
from piip_search.config.shipped import find_space
from piip_search.config.yaml_file import write_yaml
from piip_search.evaluation.evaluation import Evaluation, trials_folder
from piip_search.ledger import Ledger
from piip_search.search.policy import FixedPolicy
from piip_search.search.search import Search, open_search
from support import fakes, small_ledger
from support.commands import every_command, problems_of
from support.typed import Cli

TSB = "vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12"


@pytest.mark.parametrize("words", [pytest.param(words, id=" ".join(words)) for words, _ in every_command()])
def test_every_command_has_help_with_an_example_that_parses(run_cli: Cli, words: list[str]) -> None:
    command = next(command for name, command in every_command() if name == words)
    ended = run_cli(*words, "--help")
    assert ended.code == 0
    examples = re.findall(r"Example: (.*)", inspect.cleandoc(command.help))
    assert examples
    for example in examples:
        assert example.startswith(f"piip-search {' '.join(words)}")
        assert problems_of(example) == []
        for line in re.split(r"&&|>", example):
            if line.strip().startswith("piip-search"):
                parsed(line)
    bare = [parameter.name for parameter in command.params if not getattr(parameter, "help", None)]
    assert bare == [], f"without help: {bare}"


def parsed(line: str) -> None:
    """Reads a line as the command line does, and runs nothing.

    Raises:
        UsageError: An argument is missing, or a value is of another kind.
    """
    words = shlex.split(line)[1:]
    matching = [(name, one) for name, one in every_command() if words[: len(name)] == name]
    name, command = max(matching, key=lambda pair: len(pair[0]))
    command.make_context(" ".join(name), words[len(name) :])


def test_an_example_that_does_not_parse_is_found() -> None:
    for line in ("piip-search plan", "piip-search run quickstart --trials many", "piip-search init --nothing"):
        with pytest.raises(Exception, match=r"Missing|valid integer|No such option"):
            parsed(line)


def test_the_groups_of_commands_have_help(run_cli: Cli) -> None:
    words = {tuple(name[:length]) for name, _ in every_command() for length in range(len(name))}
    assert words == {(), ("ledger",), ("tokens",)}
    for group in words:
        ended = run_cli(*group, "--help")
        assert ended.code == 0
        assert all(name[len(group)] in ended.out for name, _ in every_command() if tuple(name[: len(group)]) == group)


def test_cost_as_a_table_and_as_json(run_cli: Cli) -> None:
    table = run_cli("cost", TSB)
    assert table.code == 0
    assert "453.3" in table.out
    content = json.loads(run_cli("cost", TSB, "--json").out)
    assert content["fingerprint"] == Architecture.parse(TSB).fingerprint
    assert content["cost"]["published"]["gmacs"] == pytest.approx(453.25, abs=0.01)
    assert {"NeurIPS 2024 Table 12", "ViTDet-B", "box AP 46.6"} <= set(
        re.findall("NeurIPS 2024 Table 12|ViTDet-B|box AP 46.6", table.out)
    )
    for convention in ("published", "backbone", "whole"):
        parts = [part["gmacs"] for part in content["breakdown"] if part["convention"] == convention]
        assert sum(parts) == pytest.approx(content["cost"][convention]["gmacs"])


def test_cost_at_a_real_image_shape(run_cli: Cli) -> None:
    table = run_cli("cost", TSB, "--image", "800x1333", "--detector", "retinanet", "--convention", "backbone")
    assert "one image of 896x1344 px" in table.out
    assert "padded from 800x1333: grids are exact at multiples of 112 px" in table.out
    content = json.loads(run_cli("cost", TSB, "--image", "800x1333", "--json").out)
    assert content["image"] == [896, 1344]
    assert content["cost"]["backbone"]["gmacs"] < 570.16


def test_cost_of_a_trial(run_cli: Cli, tmp_path: Path) -> None:
    content = yaml.safe_load(find_space("coco").read_text(encoding="utf-8"))
    content["resources"] |= {"gpu": "auto", "gpu_memory": 80}
    (tmp_path / "shared.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    trial = json.loads(run_cli("cost", TSB, "--space", "shared.yaml", "--json").out)["trial"]
    assert trial["fits"]
    assert 0.05 < trial["gpu"] < 1
    assert trial["needed_bytes"] == round(1.25 * trial["training_bytes"] + 2**30)
    table = run_cli("cost", TSB, "--space", "shared.yaml")
    assert re.search(
        rf"a trial of coco: .* GB at 8 images a step, bfloat16; .* {trial['gpu']:g} of a GPU of 80 GiB", table.out
    )
    planned = run_cli("plan", "shared.yaml", "--images", "118287,5000")
    assert re.search(r"on a GPU +0\.\d+ to \S+ a trial, .* of 80 GiB", planned.out)


def test_the_former_words_of_cost(run_cli: Cli) -> None:
    present = run_cli("cost", "vit_nano@64:g", "--convention", "whole", "--head", "fcos", "--quiet")
    former = run_cli("cost", "vit_nano@64:g", "--convention", "detector", "--detector", "fcos", "--quiet")
    assert (former.code, former.out) == (0, present.out)
    assert "note: --convention: detector is called whole now" in former.err
    assert run_cli("cost", "vit_nano@64:g", "--convention", "half").code == 2
    refused = run_cli("cost", "vit_nano@64:g", "--head", "fcosx")
    assert (refused.code, "did you mean fcos" in refused.err) == (2, True)


def test_cost_of_what_no_head_reads(run_cli: Cli) -> None:
    content = json.loads(run_cli("cost", "vit_b@224:g/logits", "--json").out)
    assert set(content["cost"]) == {"published", "backbone"}
    ended = run_cli("cost", "vit_b@224:g/logits", "--convention", "whole")
    assert (ended.code, "no head reads what the merge logits gives" in ended.err) == (2, True)


def test_a_plan_in_three_forms(run_cli: Cli, tmp_path: Path) -> None:
    table = run_cli("plan", "coco", "--images", "118287,5000")
    assert table.code == 0
    assert re.search(r"legal designs +2,\d{3},\d{3}", table.out)
    assert "whole search" in table.out
    content = json.loads(run_cli("plan", "quickstart", "--trials", "5", "--json").out)
    assert sum(content["histogram"]["designs"]) == content["designs"]
    assert content["trials"] == 5
    assert content["effort"]["train_images"] == 160
    pytest.importorskip("matplotlib")
    drawn = run_cli("plan", "quickstart", "--plot", "plan.svg")
    assert drawn.code == 0
    assert "<svg" in (tmp_path / "plan.svg").read_text(encoding="utf-8")


def test_the_front_in_three_forms(run_cli: Cli, finished: list[str], spec: SearchSpec) -> None:
    content = json.loads(run_cli("front", "small", "--json", *finished).out)
    assert [tier["gmacs"] for tier in content["tiers"]] == [0.02, 0.06]
    assert all(row["gmacs"] <= tier["gmacs"] for tier in content["tiers"] for row in tier["front"])
    lines = run_cli("front", "small", "--csv", *finished).out.splitlines()
    assert lines[0] == "tier_gmacs,trial,bbox_mAP,gmacs,mparams,training_gib,architecture,fingerprint"
    assert len(lines) == 1 + sum(len(tier["front"]) for tier in content["tiers"])
    table = run_cli("front", "small", *finished).out
    assert content["tiers"][-1]["front"][-1]["architecture"] in table


def test_a_front_on_axes_that_were_not_searched(run_cli: Cli, finished: list[str]) -> None:
    content = json.loads(run_cli("front", "small", "--json", "--cost", "mparams", *finished).out)
    (tier,) = content["tiers"]
    members = [(row["mparams"], row["bbox_mAP"]) for row in tier["front"]]
    assert members == sorted(members)
    assert all(row["mparams"] <= tier["mparams"] for row in tier["front"])
    table = run_cli("front", "small", "--cost", "gmacs", "--cost", "mparams", *finished).out
    assert "bbox_mAP against GMACs (backbone convention) and parameters" in table
    for options, message in (
        (("--cost", "watts"), "no cost 'watts' is known; known: gmacs, mparams, training_gib"),
        (("--metric", "bbox_map"), "no bbox_map was measured; did you mean bbox_mAP?"),
    ):
        ended = run_cli("front", "small", *options, *finished)
        assert (ended.code, message in ended.err) == (2, True)


def test_show_lists_runs_and_one_run(run_cli: Cli, finished: list[str]) -> None:
    assert "small: 12 of 12 proposals measured" in run_cli("show", *finished).out
    assert "small: 12 done, 0 failed, 0 unfinished" in run_cli("show", "small", *finished).out


def test_show_says_how_healthy_a_run_is(run_cli: Cli, tmp_path: Path, spec: SearchSpec) -> None:
    book = Ledger(f"sqlite:///{tmp_path}/runs/ledger.db")
    search = open_search("small", spec, book, "recipe")
    shown = ("show", "small", "--home", str(tmp_path / "runs"))
    for _ in range(6):
        candidate = search.propose()
        assert candidate is not None
        search.accept(fakes.measure(candidate))
    assert "judged from 12 finished designs on" in run_cli(*shown).out
    hung = search.propose()
    assert hung is not None
    with sqlite3.connect(tmp_path / "runs" / "ledger.db") as database:
        database.execute("DROP TRIGGER proposal_no_update")  # a ledger is append-only
        database.execute("UPDATE proposal SET proposed_at = '2020-01-01 00:00:00' WHERE number = ?", (hung.number,))
    database.close()
    assert re.search(rf"straggler: trial {hung.number} has run for \d{{9}} s", run_cli(*shown).out)
    search.accept(fakes.measure(hung))
    while (candidate := search.propose()) is not None:
        search.accept(fakes.measure(candidate))
    ended = run_cli(*shown).out
    assert "straggler" not in ended
    assert re.search(r"the surrogate ranks unseen designs with tau [+-]\d\.\d\d .*MACs alone with", ended)


def test_texts_name_the_axis_of_the_tiers(run_cli: Cli, tmp_path: Path, by_parameters: SearchSpec) -> None:
    small_ledger.fill(tmp_path / "runs", by_parameters).close()
    home = ("--home", str(tmp_path / "runs"))
    shown = run_cli("show", "small", *home).out
    assert re.search(r"the surrogate ranks unseen designs with tau .*, parameters alone with", shown)
    assert "MACs" not in shown
    chosen = run_cli("export", "small", "worst", "-o", "out", *home)
    assert "give best, best<=250M, knee, a trial number" in chosen.err


def test_an_audit_is_shown_without_an_examination(run_cli: Cli, tmp_path: Path, spec: SearchSpec) -> None:
    book = Ledger(f"sqlite:///{tmp_path}/runs/ledger.db")
    search = open_search("small", spec, book, "recipe")
    candidates = []
    while (candidate := search.propose()) is not None:
        candidates.append(candidate)
        search.accept(fakes.measure(candidate))
    audited = Search("audited", spec, FixedPolicy(candidates), book, "recipe", question="123456", audit_of=search.uid)
    while (candidate := audited.propose()) is not None:
        audited.accept(fakes.measure(candidate))
    ended = run_cli("show", "audited", "--home", str(tmp_path / "runs")).out
    assert "12 done" in ended
    assert "learnt" not in ended


def test_a_search_that_is_called_like_an_audit_is_none(run_cli: Cli, tmp_path: Path, spec: SearchSpec) -> None:
    search = open_search("small.audit-123456", spec, Ledger(f"sqlite:///{tmp_path}/runs/ledger.db"), "recipe")
    while (candidate := search.propose()) is not None:
        search.accept(fakes.measure(candidate))
    assert "learnt" in run_cli("show", "small.audit-123456", "--home", str(tmp_path / "runs")).out


def test_init_writes_spaces_that_run_as_typed(run_cli: Cli, tmp_path: Path) -> None:
    ended = run_cli("init")
    assert ended.code == 0
    assert {path.stem for path in (tmp_path / "spaces").iterdir()} == {
        "coco",
        "quickstart",
        "quickstart-classification",
        "quickstart-shared",
    }
    assert run_cli("init", "experiments/pairing").code == 0
    assert (tmp_path / "spaces/experiments/pairing.yaml").is_file()
    assert "piip-search run spaces/coco.yaml" in ended.out
    again = run_cli("init", "coco")
    assert again.code == 2
    assert "exists and is kept" in again.err


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://mlflow:5000", "http://mlflow:5000"),
        ("https://ada:s3cret@mlflow.example/track?token=s3cret#s3cret", "https://mlflow.example/track"),
        ("postgresql://ada:s3cret@db/mlflow", "postgresql://db/mlflow"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("databricks", "databricks"),
    ],
)
def test_the_store_of_a_run_is_kept_without_secrets(tmp_path: Path, given: str, kept: str) -> None:
    assert kept_store(tmp_path, "run") is None
    (tmp_path / "mlflow.db").touch()
    assert kept_store(tmp_path, "run") == f"sqlite:///{tmp_path}/mlflow.db"
    keep_store(given, tmp_path, "run")
    assert kept_store(tmp_path, "run") == kept
    assert "s3cret" not in (tmp_path / "run" / "mlflow.txt").read_text(encoding="utf-8")


def test_unknown_baselines_are_one_error(run_cli: Cli, tmp_path: Path, spec: SearchSpec) -> None:
    content = {**spec.model_dump(mode="json", exclude_defaults=True), "baselines": ["yolox_tny@64", "published"]}
    (tmp_path / "space.yaml").write_text(write_yaml(content), encoding="utf-8")
    ended = run_cli("run", "space.yaml", "--on", "local")
    assert ended.code == 2
    assert "1 problem" in ended.err
    assert "baselines[0]: unknown baseline 'yolox_tny@64'; did you mean yolox_tiny?" in " ".join(ended.err.split())
    assert not (tmp_path / "runs").exists()


def test_a_search_without_a_result_suggests_no_export(
    run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mmdet")
    from piip_workers.tasks.detection import data

    spec = load_spec(find_space("quickstart"))
    few = spec.model_copy(update={"budget": spec.budget.model_copy(update={"trials": 2})})
    ledger = Ledger(f"sqlite:///{tmp_path}/runs/ledger.db")
    search = open_search("quickstart", few, ledger, spec.recipe(data.fingerprint(spec.data)))
    while (candidate := search.propose()) is not None:
        search.accept(Evaluation(candidate, "failed", error="MemoryError: too large"))
    ledger.close()
    ended = run_cli("run", "quickstart", "--trials", "2", "--on", "local", "--mlflow", "none")
    assert ended.code == 1
    assert "0 done, 2 failed, 0 new" in ended.out
    assert "every trial failed\n2 failed: MemoryError: too large (trials 0, 1)\n" in ended.out
    report = "next: piip-search report quickstart -o quickstart.html"
    assert f"{report}\n" in ended.out
    assert "piip-search export" not in ended.out
    # A ledger that the environment names is found there again; one that was typed has to be typed again.
    again = ["run", "quickstart", "--trials", "2", "--on", "local", "--mlflow", "none"]
    assert f"{report} --ledger {ledger.url}\n" in run_cli(*again, "--ledger", ledger.url).out.replace("\n  ", " ")
    monkeypatch.setenv("PIIP_SEARCH_LEDGER", ledger.url)
    assert f"{report}\n" in run_cli(*again).out


def everything_fails(folder: Path, errors: Sequence[str]) -> tuple[str, ...]:
    """A ledger in which every trial of the quick start ended, and the command that ends at once for it.

    Args:
        folder: Where the home folder is made.
        errors: Of the trials, in their order; an empty one was measured.
    """
    from piip_workers.tasks.detection import data

    spec = load_spec(find_space("quickstart"))
    few = spec.model_copy(update={"budget": spec.budget.model_copy(update={"trials": len(errors)})})
    recipe = spec.recipe(data.fingerprint(spec.data))
    ledger = Ledger(f"sqlite:///{folder}/runs/ledger.db")
    search = open_search("quickstart", few, ledger, recipe)
    for error in errors:
        candidate = search.propose()
        assert candidate is not None
        search.accept(Evaluation(candidate, "failed", error=error) if error else fakes.measure(candidate))
        trained = trials_folder(folder / "runs", "quickstart", recipe) / candidate.training
        trained.mkdir(parents=True)
        (trained / "error.txt").touch()
    ledger.close()
    return ("run", "quickstart", "--trials", str(len(errors)), "--on", "local", "--mlflow", "none")


def test_the_commonest_reason_is_said_first_with_a_place_to_look(run_cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("mmdet")
    command = everything_fails(tmp_path, ["once", "twice 1 image", "twice 2 images", "twice 3 image"])
    said = run_cli(*command)
    assert said.code == 1
    lines = said.out.splitlines()[said.out.splitlines().index("every trial failed") :]
    assert lines[1] == "2 failed: twice 1 image (trials 1, 3)"
    assert re.fullmatch(r"  its log and traceback are in runs/quickstart/trials/\w+/[\w-]+", lines[2])
    assert [line for line in lines if "failed: " in line][1:] == [
        "1 failed: once (trial 0)",
        "1 failed: twice 2 images (trial 2)",
    ]
    assert (tmp_path / lines[2].split()[-1] / "error.txt").is_file()
    quiet = run_cli(*command, "--quiet")
    assert (quiet.code, quiet.out) == (1, "")
    assert "2 failed: twice 1 image (trials 1, 3)" in quiet.err
    shown = run_cli(*command, "--json")
    failures = json.loads(shown.out)["failures"]
    assert (shown.code, [(kind["count"], kind["error"], kind["trials"]) for kind in failures]) == (
        1,
        [(2, "twice 1 image", [1, 3]), (1, "once", [0]), (1, "twice 2 images", [2])],
    )
    assert (tmp_path / failures[0]["folder"] / "error.txt").is_file()
    assert lines[2] in run_cli("show", "quickstart").out
    assert json.loads(run_cli("show", "quickstart", "--json").out)["failures"] == failures


def test_a_search_of_which_something_was_measured_ends_well(run_cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("mmdet")
    command = everything_fails(tmp_path, ["no", "", "no"])
    assert run_cli(*command).code == 0
    assert json.loads(run_cli(*command, "--json").out)["failures"][0]["count"] == 2


def test_an_audit_of_which_every_trial_failed(run_cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("mmdet")
    everything_fails(tmp_path, ["", "", ""])
    ledger = Ledger(f"sqlite:///{tmp_path}/runs/ledger.db")
    history, record = history_of(ledger, "quickstart"), ledger.search("quickstart")
    spec, proxy = history.spec, history.spec.fidelity.build()
    plan = AuditPlan(2, 2, replace(proxy, epochs=LONGER * proxy.epochs, horizon=None, seeds=1), spec.seed)
    candidates = audit_candidates(history.finished, history.objectives, spec.bounds.tiers, plan)
    audited = Search(
        plan.run_name("quickstart"),
        spec,
        FixedPolicy(candidates),
        ledger,
        record.recipe,
        question=plan.digest,
        audit_of=record.uid,
        fresh=True,
    )
    while (candidate := audited.propose()) is not None:
        audited.accept(Evaluation(candidate, "failed", error="no luck"))
    ledger.close()
    command = ("audit", "quickstart", "--designs", "2", "--on", "local", "--mlflow", "none")
    ended = run_cli(*command)
    assert (ended.code, "every trial failed" in ended.out, "failed: no luck" in ended.out) == (1, True, True)
    content = run_cli(*command, "--json")
    assert (content.code, json.loads(content.out)["failures"][0]["error"]) == (1, "no luck")
    assert run_cli(*command, "--quiet").code == 1


def test_a_simulation_of_which_every_trial_fails(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("choice:a,cost:gmacs,loss:x\n0,1,1\n1,2,0.5\n2,3,0.2\n", encoding="utf-8")
    command = ("simulate", "quickstart", "--table", "table.csv", "--tiers", "1,3", "--trials", "3")
    assert run_cli(*command).code == 0
    ended = run_cli(*command, "--failures", "0.999999")
    assert (ended.code, "every trial failed\n3 failed: " in ended.out) == (1, True)
    content = run_cli(*command, "--failures", "0.999999", "--json")
    assert (content.code, json.loads(content.out)["failures"][0]["count"]) == (1, 3)
    assert run_cli(*command, "--failures", "0.999999", "--quiet").code == 1
