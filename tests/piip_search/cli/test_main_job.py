"""The main job by the command line: a search runs, goes on, is audited and exported, and its export trains."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from piip_search.config.shipped import find_space
from piip_search.ledger import Ledger
from support.typed import Cli

TSB = "vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.xdist_group("training")
def test_the_main_job_runs_goes_on_and_exports(run_cli: Cli, tmp_path: Path) -> None:
    for package in ("mmdet", "mlflow"):
        pytest.importorskip(package)
    content = yaml.safe_load(find_space("quickstart").read_text(encoding="utf-8"))
    content["space"] = {"backbones": ["vit_nano", "vit_pico"], "resolutions": [32, 64], "branches": [1, 2]}
    content["limit"]["gmacs"] = [0.05]
    content["fidelity"] = {"epochs": 1, "data_fraction": 0.05}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
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
    assert run_cli(*audit, "--quiet").out.startswith("up to 0.05 G: 2 designs were measured in full")
    refused = run_cli("audit", "quickstart", "--epochs", "1")
    assert refused.code == 2
    assert "the longer training is the proxy itself" in refused.err
    command = re.search(r"next: piip-search (export .*)", again.out)
    assert command is not None
    exported = run_cli(*command[1].split())
    assert exported.code == 0, exported.err
    assert (tmp_path / "exported/quickstart/config.py").is_file()
    assert json.loads((tmp_path / "exported/quickstart/proof.json").read_text(encoding="utf-8"))["passed"]
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
    assert pretrained.code == 0, pretrained.err
    assert "tensors of miniature" in (tmp_path / "other" / "README.md").read_text(encoding="utf-8")
    other = run_cli("run", "tiny.yaml", "--on", "local", "--name", "never", "--resume")
    assert other.code == 2
    _another_recipe_is_trained_anew(run_cli, tmp_path, content)


def _another_recipe_is_trained_anew(run_cli: Cli, tmp_path: Path, content: dict[str, Any]) -> None:
    """Under the name of a run whose ledger is gone: its checkpoints are no answer."""
    content["training"]["learning_rate"] *= 0.1
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    anew = run_cli(
        "run", "tiny.yaml", "--on", "local", "--trials", "1", "--ledger", "sqlite:///anew.db", "--mlflow", "none"
    )
    assert "1 done, 0 failed, 1 new" in anew.out
    first, second = (
        Ledger(f"sqlite:///{tmp_path}/{file}").evaluations("quickstart")[0] for file in ("runs/ledger.db", "anew.db")
    )
    assert first.candidate == second.candidate
    assert first.history[0]["loss"] != second.history[0]["loss"]
    assert first.facts.folder != second.facts.folder


def _the_export_trains_in_full(run_cli: Cli, tmp_path: Path) -> None:
    """One epoch and one more; MLflow shows the training beside its proxy."""
    from mlflow.tracking import MlflowClient

    few = [
        f"{part}_dataloader.{setting}"
        for part in ("train", "val")
        for setting in ("num_workers=0", "persistent_workers=False", "dataset.indices=8")
    ]
    folder = "exported/quickstart"
    provenance = json.loads((tmp_path / folder / "provenance.json").read_text(encoding="utf-8"))
    assert provenance["mlflow"] == f"sqlite:///{tmp_path}/runs/mlflow.db"
    early = run_cli("train", folder, "--resume")
    assert (early.code, "no checkpoint to resume from" in early.err) == (2, True)
    trained = run_cli("train", folder, "--epochs", "1", "--", *few)
    assert trained.code == 0, trained.err
    assert re.search(r"bbox_mAP 0\.\d+ after 1 epochs \(the proxy reached 0\.\d+\)", trained.out)
    twice = run_cli("train", folder, "--", *few)
    assert (twice.code, "has a training; resume it with --resume" in twice.err) == (2, True)
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
        (["train", "made", "--", "lr"], "settings must be KEY=VALUE, got 'lr'"),
        (["train", "made", "--gpus", "64"], "this machine has"),
    ],
)
def test_a_training_that_cannot_start_says_why(
    run_cli: Cli, tmp_path: Path, arguments: list[str], message: str
) -> None:
    pytest.importorskip("mmdet")
    from piip_search.export import Provenance

    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "config.py").write_text("", encoding="utf-8")
    Provenance("small", 3, TSB, "0" * 16, "bbox_mAP", {"bbox_mAP": 0.2}, {"epochs": 1}, "1x", "random").write(
        tmp_path / "made"
    )
    ended = run_cli(*arguments)
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err
