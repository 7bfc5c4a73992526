"""The command line as a user meets it: what it prints, and how it ends."""

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import fakes
import pytest
import yaml
from typed import Cli

from piip_search.architecture import Architecture
from piip_search.audit import MARK
from piip_search.evaluation import Evaluation
from piip_search.ledger import Ledger
from piip_search.search import open_search
from piip_search.shipped import find_space, shipped_spaces
from piip_search.spec import SearchSpec, load_spec
from piip_search.wiring import keep_store, kept_store

TSB = "vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12"


@pytest.fixture
def finished(tmp_path: Path, spec: SearchSpec) -> list[str]:
    """Options that lead to the ledger of a finished run named small."""
    search = open_search("small", spec, Ledger(f"sqlite:///{tmp_path}/runs/ledger.db"), "recipe")
    while (candidate := search.propose()) is not None:
        search.accept(fakes.measure(candidate))
    return ["--home", str(tmp_path / "runs")]


@pytest.mark.parametrize(
    "command", ["run", "plan", "show", "front", "audit", "cost", "export", "train", "init", "mirror", "dashboard"]
)
def test_every_command_has_help_with_an_example(run_cli: Cli, command: str) -> None:
    ended = run_cli(command, "--help")
    assert ended.code == 0
    assert re.search(rf"Example: piip-search {command}", ended.out)


def test_cost_as_a_table_and_as_json(run_cli: Cli) -> None:
    table = run_cli("cost", TSB)
    assert table.code == 0
    assert "453.3" in table.out
    content = json.loads(run_cli("cost", TSB, "--json").out)
    assert content["fingerprint"] == Architecture.parse(TSB).fingerprint
    assert content["cost"]["published"]["gmacs"] == pytest.approx(453.25, abs=0.01)
    assert {"NeurIPS 2024 Table 12", "ViTDet-B", "box AP 46.6"} <= set(re.findall(
        "NeurIPS 2024 Table 12|ViTDet-B|box AP 46.6", table.out))  # fmt: skip
    for convention in ("published", "backbone", "detector"):
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
    content = yaml.safe_load(find_space("coco").read_text())
    content["resources"] |= {"gpu": "auto", "gpu_memory": 80}
    (tmp_path / "shared.yaml").write_text(yaml.safe_dump(content))
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


def test_cost_of_what_no_detector_reads(run_cli: Cli) -> None:
    content = json.loads(run_cli("cost", "vit_b@224:g/logits", "--json").out)
    assert set(content["cost"]) == {"published", "backbone"}
    ended = run_cli("cost", "vit_b@224:g/logits", "--convention", "detector")
    assert (ended.code, "no maps that a detector could read" in ended.err) == (2, True)


def test_a_plan_in_three_forms(run_cli: Cli, tmp_path: Path) -> None:
    table = run_cli("plan", "coco", "--images", "118287,5000")
    assert table.code == 0
    assert re.search(r"legal designs +1,\d{3},\d{3}", table.out)
    assert "whole search" in table.out
    content = json.loads(run_cli("plan", "quickstart", "--trials", "5", "--json").out)
    assert sum(content["histogram"]["designs"]) == content["designs"]
    assert content["trials"] == 5
    assert content["effort"]["train_images"] == 160
    pytest.importorskip("matplotlib")
    drawn = run_cli("plan", "quickstart", "--plot", "plan.svg")
    assert drawn.code == 0
    assert "<svg" in (tmp_path / "plan.svg").read_text()


def test_the_front_in_three_forms(run_cli: Cli, finished: list[str], spec: SearchSpec) -> None:
    content = json.loads(run_cli("front", "small", "--json", *finished).out)
    assert [tier["gmacs"] for tier in content["tiers"]] == [0.02, 0.06]
    assert all(row["gmacs"] <= tier["gmacs"] for tier in content["tiers"] for row in tier["front"])
    lines = run_cli("front", "small", "--csv", *finished).out.splitlines()
    assert lines[0] == "tier_gmacs,trial,bbox_mAP,gmacs,mparams,architecture,fingerprint"
    assert len(lines) == 1 + sum(len(tier["front"]) for tier in content["tiers"])
    table = run_cli("front", "small", *finished).out
    assert content["tiers"][-1]["front"][-1]["architecture"] in table


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
    assert re.search(r"what was learnt ranks designs it did not see with tau [+-]\d\.\d\d .*MACs alone with", ended)


def test_an_audit_is_shown_without_an_examination(run_cli: Cli, tmp_path: Path, spec: SearchSpec) -> None:
    book = Ledger(f"sqlite:///{tmp_path}/runs/ledger.db")
    search = open_search(f"small{MARK}123456", spec, book, "recipe")
    while (candidate := search.propose()) is not None:
        search.accept(fakes.measure(candidate))
    ended = run_cli("show", f"small{MARK}123456", "--home", str(tmp_path / "runs")).out
    assert "12 done" in ended
    assert "learnt" not in ended


def test_init_writes_spaces_that_run_as_typed(run_cli: Cli, tmp_path: Path) -> None:
    ended = run_cli("init")
    assert ended.code == 0
    assert {path.stem for path in (tmp_path / "spaces").iterdir()} == set(shipped_spaces())
    assert "piip-search run spaces/coco.yaml" in ended.out
    again = run_cli("init", "coco")
    assert again.code == 2
    assert "exists and is kept" in again.err


BAD = {
    "unknown key": ("smapler: tpe", "smapler: unknown key; did you mean sampler?"),
    "wrong type": ("seed: one", "seed: input should be a valid integer"),
    "resolution": (
        "space: {backbones: [vit_pico], resolutions: [100]}",
        "multiple of a patch of 16 px, got 100",
    ),
    "limit": ("limit: {gmacs: [0.0001]}", "the cheapest costs"),
    "missing data": (
        "data: {root: nowhere, train: {images: a, annotations: b}, val: {images: a, annotations: b}}",
        "data.root: no folder nowhere",
    ),
    "syntax": ("name: [", "not YAML"),
}


@pytest.mark.parametrize("fault", list(BAD))
def test_a_bad_space_ends_with_one_message_and_code_2(run_cli: Cli, tmp_path: Path, fault: str) -> None:
    line, message = BAD[fault]
    text = find_space("quickstart").read_text()
    if fault == "syntax":
        text += line
    else:
        text = yaml.safe_dump({**yaml.safe_load(text), **yaml.safe_load(line)})
    (tmp_path / "bad.yaml").write_text(text)
    ended = run_cli("run", "bad.yaml", "--on", "local")
    assert ended.code == 2
    assert "bad.yaml: 1 problem" in ended.err
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "runs").exists()


def test_a_malformed_coco_file_names_file_and_place(run_cli: Cli, tmp_path: Path) -> None:
    for part in ("train", "val"):
        (tmp_path / "set" / part).mkdir(parents=True)
        (tmp_path / "set" / f"{part}.json").write_text('{"images": [{}], "annotations": [], "categories": []}')
    content = yaml.safe_load(find_space("quickstart").read_text())
    content["limit"]["gmacs"] = [0.0001]
    content["data"] = {
        "root": "set",
        **{part: {"images": part, "annotations": f"{part}.json"} for part in ("train", "val")},
    }
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(content))
    ended = run_cli("run", "bad.yaml", "--on", "local")
    assert ended.code == 2
    assert "5 problems" in ended.err
    assert "set/train.json: images[0]: needs id (int), file_name (str)" in ended.err
    assert "limit.gmacs" in ended.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "quikstart"], "did you mean quickstart"),
        (["run", "none.yaml"], "no file none.yaml"),
        (["run", "quickstart", "--on", "local", "--address", "auto"], "leave it out with --on local"),
        (["run", "quickstart", "--name", "../up"], "a run's name has up to 100 letters"),
        (["cost", "vit_b"], "write it like"),
        (["cost", TSB, "--image", "800"], "height x width in pixels"),
        (["plan", "quickstart", "--images", "5"], "two counts, of training and of validation"),
        (["plan", "quickstart", "--plot", "x.gif"], "change its ending"),
        (["show"], "run a search first"),
        (["front", "small", "--ledger", "nonsense"], "cannot be opened"),
        (["init", "cocoa"], "no shipped space cocoa"),
        (["front", "small", "--json", "--csv"], "not both"),
    ],
)
def test_what_a_user_can_mend_ends_with_code_2(run_cli: Cli, arguments: list[str], message: str) -> None:
    ended = run_cli(*arguments)
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err


def test_an_unknown_run_and_choice(run_cli: Cli, finished: list[str]) -> None:
    assert "it holds: small" in run_cli("front", "other", *finished).err
    ended = run_cli("export", "small", "best<=0.0000001G", "-o", "out", *finished)
    assert ended.code == 2
    assert "the cheapest costs" in ended.err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.xdist_group("training")
def test_the_main_job_runs_goes_on_and_exports(run_cli: Cli, tmp_path: Path) -> None:
    for package in ("mmdet", "mlflow"):
        pytest.importorskip(package)
    content = yaml.safe_load(find_space("quickstart").read_text())
    content["space"] = {"backbones": ["vit_nano", "vit_pico"], "resolutions": [32, 64], "branches": [1, 2]}
    content["limit"]["gmacs"] = [0.05]
    content["fidelity"] = {"epochs": 1, "data_fraction": 0.05}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    first = run_cli("run", "tiny.yaml", "--on", "local", "--trials", "1")
    assert first.code == 0, first.err
    assert "1 done, 0 failed, 1 new" in first.out
    more = run_cli("run", "tiny.yaml", "--on", "local", "--trials", "2", "--resume")
    assert "goes on: 1 evaluations" in more.out
    assert "2 done, 0 failed, 1 new" in more.out
    again = run_cli("run", "tiny.yaml", "--on", "local", "--trials", "2")
    assert "2 done, 0 failed, 0 new" in again.out
    plain = run_cli("run", "tiny.yaml", "--on", "local", "--trials", "2", "--json")
    ended = json.loads(plain.out)
    assert (ended["done"], ended["failed"], ended["new"]) == (2, 0, 0)
    assert "goes on: 2 evaluations" in plain.err
    quiet = run_cli("run", "tiny.yaml", "--on", "local", "--trials", "2", "--quiet")
    best = ended["tiers"][0]["front"][-1]
    assert quiet.out == f"0.05 {best['bbox_mAP']:.4f} {best['architecture']}\n"
    audit = ["audit", "quickstart", "--on", "local", "--epochs", "2"]
    audited = run_cli(*audit)
    assert audited.code == 0, audited.err
    assert "2 designs were measured in full, too few to say" in audited.out
    assert json.loads(run_cli(*audit, "--json").out)["tiers"][0]["designs"] == 2
    assert run_cli(*audit, "--quiet").out.startswith("up to 0.05 GMACs: 2 designs were measured in full")
    refused = run_cli("audit", "quickstart", "--epochs", "1")
    assert refused.code == 2
    assert "the longer training is the proxy itself" in refused.err
    command = re.search(r"next: piip-search (export .*)", again.out)
    assert command is not None
    exported = run_cli(*command[1].split())
    assert exported.code == 0, exported.err
    assert (tmp_path / "exported/quickstart/config.py").is_file()
    assert json.loads((tmp_path / "exported/quickstart/proof.json").read_text())["passed"]
    _the_export_trains_in_full(run_cli, tmp_path)
    front = run_cli("export", "quickstart", "all", "-o", "front", "--format", "torch", "--weights", "random", "--json")
    assert front.code == 0, front.err
    assert [Path(one["folder"]).parent.name for one in json.loads(front.out)["exports"]] == ["front"] * len(
        list((tmp_path / "front").iterdir())
    )
    for folder in (tmp_path / "front").iterdir():
        assert {path.name for path in folder.iterdir()} >= {"architecture.yaml", "proof.json", "torch"}
        refused = run_cli("train", str(folder))
        assert (refused.code, "export the design with --format mmdet" in refused.err) == (2, True)
    pretrained = run_cli("export", "quickstart", "best", "-o", "other", "--weights", "pretrained")
    assert pretrained.code == 2
    assert "trained from random weights" in pretrained.err
    other = run_cli("run", "tiny.yaml", "--on", "local", "--name", "never", "--resume")
    assert other.code == 2
    _another_recipe_is_trained_anew(run_cli, tmp_path, content)


def _another_recipe_is_trained_anew(run_cli: Cli, tmp_path: Path, content: dict[str, Any]) -> None:
    """Under the name of a run whose ledger is gone: its checkpoints are no answer."""
    content["training"]["learning_rate"] *= 0.1
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    anew = run_cli(
        "run", "tiny.yaml", "--on", "local", "--trials", "1", "--ledger", "sqlite:///anew.db", "--mlflow", "none"
    )
    assert "1 done, 0 failed, 1 new" in anew.out
    first, second = (
        Ledger(f"sqlite:///{tmp_path}/{file}").evaluations("quickstart")[0] for file in ("runs/ledger.db", "anew.db")
    )
    assert first.candidate == second.candidate
    assert first.history[0]["loss"] != second.history[0]["loss"]
    assert first.facts["folder"] != second.facts["folder"]


def _the_export_trains_in_full(run_cli: Cli, tmp_path: Path) -> None:
    """One epoch and one more; MLflow shows the training beside its proxy."""
    from mlflow.tracking import MlflowClient

    few = [f"{part}_dataloader.{setting}" for part in ("train", "val")
           for setting in ("num_workers=0", "persistent_workers=False", "dataset.indices=8")]  # fmt: skip
    folder = "exported/quickstart"
    provenance = json.loads((tmp_path / folder / "provenance.json").read_text())
    assert provenance["mlflow"] == f"sqlite:///{tmp_path}/runs/mlflow.db"
    early = run_cli("train", folder, "--resume")
    assert (early.code, "no checkpoint to go on from" in early.err) == (2, True)
    trained = run_cli("train", folder, "--epochs", "1", "--", *few)
    assert trained.code == 0, trained.err
    assert re.search(r"bbox_mAP 0\.\d+ after 1 epochs \(the proxy reached 0\.\d+\)", trained.out)
    twice = run_cli("train", folder, "--", *few)
    assert (twice.code, "holds a training; go on with it by --resume" in twice.err) == (2, True)
    more = run_cli("train", folder, "--epochs", "2", "--resume", "--", *few)
    assert "after 2 epochs" in more.out, more.err
    again = run_cli("export", "quickstart", "best", "-o", folder)
    assert (again.code, "holds other files (work)" in again.err) == (2, True)

    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    experiment = client.get_experiment_by_name("piip-search")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.data.tags["piip.role"] == "search" and run.info.run_name == "quickstart"]
    (training,) = [run for run in runs if run.data.tags["piip.role"] == "training"]
    assert training.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert training.info.status == "FINISHED"
    assert "proxy_bbox_mAP" in training.data.metrics
    measured = client.get_metric_history(training.info.run_id, "bbox_mAP")
    assert [metric.step for metric in measured] == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nowhere"], "is no export"),
        (["train", "made", "--", "lr"], "settings are written KEY=VALUE, got 'lr'"),
        (["train", "made", "--gpus", "64"], "this machine has"),
    ],
)
def test_a_training_that_cannot_start_says_why(
    run_cli: Cli, tmp_path: Path, arguments: list[str], message: str
) -> None:
    pytest.importorskip("mmdet")
    from piip_search.export import Provenance

    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "config.py").write_text("")
    Provenance("small", 3, TSB, "0" * 16, "bbox_mAP", {"bbox_mAP": 0.2}, {"epochs": 1}, "1x", "random").write(
        tmp_path / "made"
    )
    ended = run_cli(*arguments)
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err


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
    assert "s3cret" not in (tmp_path / "run" / "mlflow.txt").read_text()


def test_a_search_without_a_result_suggests_no_export(
    run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mmdet")
    from piip_workers import data

    spec = load_spec(find_space("quickstart"))
    few = spec.model_copy(update={"budget": spec.budget.model_copy(update={"trials": 2})})
    ledger = Ledger(f"sqlite:///{tmp_path}/runs/ledger.db")
    search = open_search("quickstart", few, ledger, spec.recipe(data.fingerprint(spec.data)))
    while (candidate := search.propose()) is not None:
        search.accept(Evaluation(candidate, "failed", error="MemoryError: too large"))
    ledger.close()
    ended = run_cli("run", "quickstart", "--trials", "2", "--on", "local", "--mlflow", "none")
    assert "0 done, 2 failed, 0 new" in ended.out
    report = "next: piip-search report quickstart -o quickstart.html"
    assert f"{report}\n" in ended.out
    assert "piip-search export" not in ended.out
    # A ledger that the environment names is found there again; one that was typed has to be typed again.
    again = ["run", "quickstart", "--trials", "2", "--on", "local", "--mlflow", "none"]
    assert f"{report} --ledger {ledger.url}\n" in run_cli(*again, "--ledger", ledger.url).out.replace("\n  ", " ")
    monkeypatch.setenv("PIIP_SEARCH_LEDGER", ledger.url)
    assert f"{report}\n" in run_cli(*again).out


def test_missing_weights_are_said_before_anything_starts(run_cli: Cli, tmp_path: Path) -> None:
    content = yaml.safe_load(find_space("quickstart").read_text())
    content["space"] = {"backbones": ["vit_t", "vit_pico"], "resolutions": [32]}
    content["limit"] = {"gmacs": [1.0]}
    content["training"]["pretrained"] = "weights"
    (tmp_path / "pretrained.yaml").write_text(yaml.safe_dump(content))
    ended = run_cli("run", "pretrained.yaml", "--on", "local")
    assert ended.code == 2
    assert "2 problems" in ended.err
    assert "no weights of vit_t in weights; place https://huggingface.co/timm/deit_tiny" in ended.err
    assert "as weights/deit_tiny_patch16_224.fb_in1k.safetensors" in ended.err
    assert "vit_pico has no pre-trained weights; leave it out of space.backbones" in ended.err


def test_what_no_candidate_could_be_measured_with_is_said_before_anything_starts(run_cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("mmdet")
    content = yaml.safe_load(find_space("quickstart").read_text())
    content["data"] = {
        "root": "set",
        **{part: {"images": part, "annotations": f"{part}.json"} for part in ("train", "val")},
    }
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 8}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}],
        "categories": [{"id": 1, "name": "thing"}],
    }
    for part in ("train", "val"):
        (tmp_path / "set" / part).mkdir(parents=True)
        (tmp_path / "set" / part / "a.png").write_bytes(b"no picture")
        (tmp_path / "set" / f"{part}.json").write_text(json.dumps(coco))
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    ended = run_cli("run", "own.yaml", "--on", "local")
    assert (ended.code, "Traceback" in ended.err) == (2, False)
    assert "no candidate could be measured with these validation images" in ended.err
    assert "set/val/a.png cannot be decoded; restore the file" in ended.err
    assert not (tmp_path / "runs").exists()
    content["training"] |= {"detector": "mask_rcnn", "anchor_scale": None}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    masks = run_cli("run", "own.yaml", "--on", "local")
    assert masks.code == 2
    assert "mask_rcnn learns masks, and 1 of 1 objects in" in masks.err
