"""Real trainings of the smallest kind."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from piip_search.architecture import Architecture
from piip_search.evaluation import Candidate, Evaluation, Fidelity
from piip_search.spec import Data, Training
from piip_workers import data as data_sets

pytest.importorskip("torch")
pytest.importorskip("mmdet")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("training")]

from piip_workers.evaluate import measure  # noqa: E402

TRAINING = {"detector": "retinanet", "channels": 32, "batch_size": 4, "learning_rate": 1e-3, "anchor_scale": 2.5}
CANDIDATE = Candidate(0, Architecture.parse("vit_nano@32:g+vit_pico@64:g*2"), Fidelity(2), seed=3)


@pytest.fixture
def small(tmp_path: Path, cache: Path) -> Data:
    """A dozen images of the embedded set."""
    source = data_sets.prepare(Data(embedded="digits"))
    root = tmp_path / "small"
    for name, split, count in (("train", source.train, 12), ("val", source.val, 6)):
        content = json.loads(split.annotations.read_text())
        content["images"] = content["images"][:count]
        kept = {image["id"] for image in content["images"]}
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] in kept]
        (root / name).mkdir(parents=True)
        for image in content["images"]:
            shutil.copy(split.images / image["file_name"], root / name)
        (root / f"{name}.json").write_text(json.dumps(content))
    part = {name: {"images": name, "annotations": f"{name}.json"} for name in ("train", "val")}
    return Data.model_validate({"root": root, **part})


def train(data: Data, folder: Path, candidate: Candidate = CANDIDATE, **changes: Any) -> Evaluation:
    evaluation = measure(candidate, data.model_dump(mode="json"), {**TRAINING, **changes}, str(folder))
    return evaluation


def comparable(evaluation: Evaluation) -> tuple[Any, ...]:
    return evaluation.status, dict(evaluation.metrics), evaluation.history


def test_equal_seeds_train_equally_and_a_cut_training_ends_the_same(
    small: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = train(small, tmp_path / "a")
    assert straight.error == ""
    assert comparable(straight) == comparable(train(small, tmp_path / "b"))
    assert [row["epoch"] for row in straight.history] == [1.0, 2.0]
    assert straight.history[1]["loss"] < straight.history[0]["loss"]
    assert straight.facts["trained"] == CANDIDATE.architecture.name
    assert straight.facts["images"] == 12
    other = train(small, tmp_path / "c", dataclasses.replace(CANDIDATE, seed=4))
    assert comparable(other) != comparable(straight)

    # The process goes away in the middle of the second epoch, after the first one's checkpoint.
    from piip_workers import training

    after = training._Observer.after_train_iter

    def cut(self: Any, runner: Any, *args: Any, **kwargs: Any) -> None:
        if runner.epoch == 1:
            raise KeyboardInterrupt
        after(self, runner, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(training._Observer, "after_train_iter", cut)
        with pytest.raises(KeyboardInterrupt):
            train(small, tmp_path / "d")
    assert comparable(train(small, tmp_path / "d")) == comparable(straight)

    # Checkpoints that a dying process left half written are passed over.
    for number, left in enumerate((["epoch_2.pth"], ["epoch_1.pth", "epoch_2.pth"])):
        shutil.copytree(tmp_path / "a", tmp_path / f"e{number}")
        for name in left:
            file = next((tmp_path / f"e{number}").rglob(name))
            file.write_bytes(file.read_bytes()[:1000])
        assert comparable(train(small, tmp_path / f"e{number}")) == comparable(straight)


def test_two_processes_never_train_in_one_folder(small: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from piip_workers import evaluate

    monkeypatch.setattr(evaluate, "LONGEST_WAIT", 0.1)
    folder = tmp_path / f"0000-{CANDIDATE.architecture.fingerprint}"
    folder.mkdir()
    with evaluate._alone(folder):
        evaluation = train(small, tmp_path)
    assert evaluation.error.startswith("TimeoutError: another process trains in")


def test_a_proxy_uses_less_and_says_what_it_trained(small: Data, tmp_path: Path) -> None:
    fidelity = Fidelity(epochs=1, data_fraction=0.5, image_scale=0.5)
    candidate = dataclasses.replace(CANDIDATE, fidelity=fidelity)
    evaluation = train(small, tmp_path, candidate)
    assert evaluation.error == ""
    assert evaluation.candidate == candidate
    assert evaluation.facts["trained"] == "vit_nano@16:g+vit_pico@32:g*2"
    assert evaluation.facts["images"] == 6


def test_no_epoch_measures_the_untrained_model(small: Data, tmp_path: Path) -> None:
    evaluation = train(small, tmp_path, dataclasses.replace(CANDIDATE, fidelity=Fidelity(epochs=0)))
    assert evaluation.error == ""
    assert evaluation.metrics["bbox_mAP"] < 0.01
    assert evaluation.history == ()


@pytest.mark.parametrize("detector", ["fcos", "mask_rcnn"])
def test_the_other_detectors_train(small: Data, tmp_path: Path, detector: str) -> None:
    candidate = dataclasses.replace(CANDIDATE, fidelity=Fidelity(epochs=1))
    evaluation = train(small, tmp_path, candidate, detector=detector, anchor_scale=None)
    assert evaluation.error == ""
    assert ("segm_mAP" in evaluation.metrics) == (detector == "mask_rcnn")


def test_a_loss_that_explodes_fails_with_the_reason(small: Data, tmp_path: Path) -> None:
    evaluation = train(small, tmp_path, learning_rate=1e30, warmup=0.0, clip_norm=1e30)
    assert evaluation.status == "failed"
    assert evaluation.error.startswith("FloatingPointError: the loss is")
    assert "lower training.learning_rate" in evaluation.error
    assert "Traceback" in next(tmp_path.rglob("error.txt")).read_text()


def test_a_corrupt_image_fails_with_the_reason(small: Data, tmp_path: Path) -> None:
    assert small.root is not None
    (small.root / "train" / "0003.png").write_bytes(b"no picture")
    evaluation = train(small, tmp_path / "run")
    assert evaluation.status == "failed"
    assert evaluation.error


def test_an_export_loads_builds_and_trains_a_step(small: Data, tmp_path: Path) -> None:
    from mmengine.config import Config
    from mmengine.runner import Runner

    from piip_search.export import export_mmdet
    from piip_workers.openmmlab import install

    paths = data_sets.prepare(small)
    for detector in ("retinanet", "fcos", "mask_rcnn"):
        training = Training(detector=detector, channels=32)
        config_path = export_mmdet(CANDIDATE.architecture, paths, training, tmp_path / detector, {"GMACs": "1"})
        install()
        config = Config.fromfile(config_path)
        config.work_dir = str(tmp_path / f"{detector}-work")
        config.train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
        config.train_dataloader.dataset.indices = 2
        config.train_cfg = {"type": "EpochBasedTrainLoop", "max_epochs": 1, "val_interval": 5}
        runner = Runner.from_cfg(config)
        before = {name: value.clone() for name, value in runner.model.state_dict().items()}
        runner.train()
        moved = [name for name, value in runner.model.state_dict().items() if not value.equal(before[name])]
        assert any(name.startswith("backbone.network.piip.branches") for name in moved)
        assert runner.iter == 1


def test_the_command_of_the_readme_trains_and_measures(small: Data, tmp_path: Path) -> None:
    from piip_search.export import export_mmdet
    from piip_workers.train import main

    config = export_mmdet(CANDIDATE.architecture, data_sets.prepare(small), Training(channels=32), tmp_path / "out")
    work = tmp_path / "work"
    loaders = [
        f"{part}_dataloader.{key}" for part in ("train", "val") for key in ("num_workers=0", "persistent_workers=0")
    ]
    command = [str(config), "--work-dir", str(work), "--cfg-options", "train_cfg.max_epochs=1", *loaders]
    assert main(command) == 0
    assert (work / "epoch_1.pth").is_file()
    assert main([str(tmp_path / "none.py")]) == 2
