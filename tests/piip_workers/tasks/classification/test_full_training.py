"""The full training of an exported classifier."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("cv2")

from PIL import Image  # noqa: E402

from piip_search.errors import UserError  # noqa: E402
from piip_search.tasks.classification.section import ClassificationTraining  # noqa: E402
from piip_workers.tasks.classification import full_training  # noqa: E402
from piip_workers.tasks.classification.full_training import main, read_full_classifier  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for part in ("train", "val"):
        for name, level in {"dark": 60, "light": 190}.items():
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            for number in range(4):
                pixels = random.normal(level, 20, (32, 32, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    training = ClassificationTraining(batch_size=4, learning_rate=1e-3).model_dump(mode="json")
    content: dict[str, Any] = {
        "architecture": "vit_nano@32:g+vit_pico@48:g*0/linear",
        "epochs": 3,
        "seed": 0,
        "weights": None,
        "data": {"root": str(tmp_path / "data"), "train": "train", "val": "val", "classes": ["dark", "light"]},
        "training": training,
    }
    (tmp_path / "classifier.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return tmp_path / "classifier.yaml"


def history(folder: Path) -> list[dict[str, float]]:
    found: list[dict[str, float]] = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    return found


def test_it_trains_measures_each_epoch_and_goes_on(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(file), "--work-dir", str(tmp_path / "straight")]) == 0
    assert "epoch 3 of 3: loss" in capsys.readouterr().out
    rows = history(tmp_path / "straight")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all("top1" in row for row in rows)
    again = [str(file), "--work-dir", str(tmp_path / "straight")]
    assert main(again) == 2
    assert "resume it with --resume" in capsys.readouterr().err
    assert main([*again, "--resume"]) == 0
    assert history(tmp_path / "straight") == rows


def test_settings_are_changed_by_their_names(file: Path) -> None:
    full = read_full_classifier(file, ["training.learning_rate=1e-4", "epochs=7", "training.augment=rand-m5"])
    assert (full.training.learning_rate, full.epochs, full.training.augment) == (1e-4, 7, "rand-m5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.rate=1", "unknown setting 'training.rate'"),
        ("nosuch.rate=1", "unknown setting 'nosuch.rate'"),
        ("training.augment=[", "a setting's value must be YAML"),
        ("training.batch_size=many", "is no classifier's training"),
        ("architecture=vit_nosuch@32", "is no classifier's training|unknown backbone"),
    ],
)
def test_a_wrong_setting_is_one_message(file: Path, change: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_full_classifier(file, [change])


def test_a_step_that_does_not_fit_is_computed_in_parts(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = full_training.train_classifier

    def small(run: Any, *others: Any, **named: Any) -> Any:
        if run.accumulated < 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(run, *others, **named)

    monkeypatch.setattr(full_training, "train_classifier", small)
    assert main([str(file), "--work-dir", str(tmp_path / "work"), "--epochs", "1"]) == 0
    assert "it is computed in 4 parts" in capsys.readouterr().err


def test_images_that_cannot_be_decoded_are_told(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data" / "train" / "dark" / "1.png").write_bytes(b"no picture")
    assert main([str(file), "--work-dir", str(tmp_path / "work"), "--epochs", "2"]) == 0
    assert "note: 1 training images cannot be decoded" in capsys.readouterr().err
