"""Examples of a small classifier on pictures that differ in colour."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("cv2")

from PIL import Image  # noqa: E402

from piip_search.architecture import Architecture  # noqa: E402
from piip_search.errors import DataError  # noqa: E402
from piip_search.evaluation.evaluation import (  # noqa: E402
    EXAMPLES_FILE,
    EXAMPLES_FOLDER,
    Candidate,
    Evaluation,
    Fidelity,
)
from piip_workers.tasks.classification.evaluate import measure  # noqa: E402
from piip_workers.tasks.classification.examples import (  # noqa: E402
    SHOWN_SIDE,
    TRIAL_FILE,
    main,
    note_trial,
    read_trial,
    write_examples,
)

pytestmark = pytest.mark.filterwarnings("ignore")

COLOURS = {"blue": (40, 60, 200), "green": (50, 190, 60), "red": (200, 50, 40), "rust": (190, 60, 40)}
DESIGN = "vit_nano@32:g+vit_pico@64:g*1/linear"
TRAINING = {"batch_size": 6, "learning_rate": 2e-3}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evaluation]:
    """A folder with data and a trial of three epochs, and its evaluation; two of four classes are nearly alike."""
    home = tmp_path_factory.mktemp("trained")
    random = np.random.default_rng(0)
    for part, count in (("train", 6), ("val", 4)):
        for name, colour in COLOURS.items():
            folder = home / "data" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = random.normal(colour, 25, (40, 480, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    data = {"root": str(home / "data"), "train": {"images": "train"}, "val": {"images": "val"}}
    candidate = Candidate(0, Architecture.parse(DESIGN), Fidelity(3), seed=1)
    evaluation = measure(candidate, data, TRAINING, str(home / "runs"))
    assert evaluation.error == ""
    note_trial(home / "runs" / candidate.training, data, TRAINING, 1, candidate.fidelity.to_dict())
    return home, evaluation


@pytest.fixture
def trial(trained: tuple[Path, Evaluation], tmp_path: Path) -> Path:
    """A copy of the trial's folder, with its data beside it."""
    home, evaluation = trained
    shutil.copytree(home / "data", tmp_path / "data")
    folder = tmp_path / "trial"
    shutil.copytree(home / "runs" / evaluation.candidate.training, folder)
    note = json.loads((folder / TRIAL_FILE).read_text(encoding="utf-8"))
    note["data"]["root"] = str(tmp_path / "data")
    (folder / TRIAL_FILE).write_text(json.dumps(note), encoding="utf-8")
    return folder


def written(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / EXAMPLES_FOLDER / EXAMPLES_FILE).read_text(encoding="utf-8"))
    return found


def test_all_measured_images_are_counted_and_some_are_written(trial: Path, trained: tuple[Path, Evaluation]) -> None:
    assert write_examples(trial, 7) == 7
    content = written(trial)
    assert content["epochs"] == 3
    assert [one["name"] for one in content["classes"]] == list(COLOURS)
    assert [one["images"] for one in content["classes"]] == [4, 4, 4, 4]
    counts = {(true, answer): count for true, answer, count in content["confusion"]}
    assert sum(counts.values()) == 16
    right = sum(count for (true, answer), count in counts.items() if true == answer)
    assert right / 16 == trained[1].metrics["top1"]
    assert [one["recall"] for one in content["classes"]] == [counts.get((at, at), 0) / 4 for at in range(4)]
    assert len(content["pictures"]) == 7


def test_the_surest_mistakes_are_first_and_right_ones_are_of_many_classes(trial: Path) -> None:
    write_examples(trial, 6)
    pictures = written(trial)["pictures"]
    mistakes = [one["answers"][0]["label"] != one["truth"] for one in pictures]
    assert mistakes == sorted(mistakes, reverse=True)
    assert 0 < sum(mistakes) < 6
    surest = [one["answers"][0]["probability"] for one in pictures if one["answers"][0]["label"] != one["truth"]]
    assert surest == sorted(surest, reverse=True)
    right = [one["truth"] for one, mistake in zip(pictures, mistakes, strict=True) if not mistake]
    assert len(set(right)) > 1
    for one in pictures:
        shares = [answer["probability"] for answer in one["answers"]]
        assert len(shares) == 3
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) <= 1.001
        with Image.open(trial / EXAMPLES_FOLDER / one["file"]) as picture:
            assert picture.size == (one["width"], one["height"])
            assert max(picture.size) == SHOWN_SIDE
        assert one["name"].startswith(f"{one['truth']}/")


def test_more_images_than_there_are_write_all(trial: Path) -> None:
    assert write_examples(trial, 100) == 16
    names = [one["name"] for one in written(trial)["pictures"]]
    assert len(set(names)) == 16


def test_only_the_images_that_the_trial_measured_are_counted(trial: Path) -> None:
    note = json.loads((trial / TRIAL_FILE).read_text(encoding="utf-8"))
    note["training"]["val_images"] = 8
    (trial / TRIAL_FILE).write_text(json.dumps(note), encoding="utf-8")
    write_examples(trial)
    assert [one["images"] for one in written(trial)["classes"]] == [2, 2, 2, 2]


def test_new_examples_replace_old_ones(trial: Path) -> None:
    write_examples(trial, 3)
    (trial / EXAMPLES_FOLDER / "99.jpg").write_bytes(b"old")
    write_examples(trial, 2)
    assert {path.name for path in (trial / EXAMPLES_FOLDER).iterdir()} == {"0.jpg", "1.jpg", EXAMPLES_FILE}
    assert not [path for path in trial.iterdir() if path.name.startswith(".")]


def test_a_note_gives_back_what_a_trial_was_trained_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fidelity = Fidelity(2, data_fraction=0.5, horizon=6)
    note_trial(tmp_path, {"root": "here", "train": "a", "val": "b"}, TRAINING, 7, fidelity.to_dict())
    trial = read_trial(tmp_path)
    assert trial.data.root == tmp_path / "here"
    assert trial.training.batch_size == 6
    assert (trial.seed, trial.fidelity) == (7, fidelity)


def refused(folder: Path, images: int = 12) -> str:
    """The single line by which examples are refused; they leave nothing behind."""
    before = sorted(folder.iterdir())
    with pytest.raises(DataError) as caught:
        write_examples(folder, images)
    assert sorted(folder.iterdir()) == before
    (line,) = str(caught.value).splitlines()
    return line


def test_what_is_missing_is_told(trial: Path, tmp_path: Path) -> None:
    assert refused(trial, 0) == "images must be at least 1, got 0"
    (tmp_path / "data" / "val" / "red" / "0.png").write_bytes(b"no picture")
    assert "red/0.png cannot be decoded: it is no image" in refused(trial)
    shutil.rmtree(tmp_path / "data" / "val")
    assert "the data of the trial cannot be used: data.val: no folder" in refused(trial)
    shutil.rmtree(tmp_path / "data")
    assert "the data of the trial cannot be used: data.root: no folder" in refused(trial)
    (trial / "epoch_3.pth").unlink()
    assert "no checkpoint in" in refused(trial)
    for text in ("{", "[]", '{"data": {"embedded": "digits"}, "training": {}, "seed": 0, "fidelity": {"epoch": 1}}'):
        (trial / TRIAL_FILE).write_text(text, encoding="utf-8")
        assert "cannot be read" in refused(trial)
    (trial / TRIAL_FILE).unlink()
    assert "no trial.json in" in refused(trial)


def test_an_image_that_a_loader_process_cannot_decode_is_told(trial: Path, tmp_path: Path) -> None:
    note = json.loads((trial / TRIAL_FILE).read_text(encoding="utf-8"))
    note["training"]["loader_workers"] = 1
    (trial / TRIAL_FILE).write_text(json.dumps(note), encoding="utf-8")
    (tmp_path / "data" / "val" / "red" / "0.png").write_bytes(b"no picture")
    start = "an image of the trial is gone or damaged: "
    assert refused(trial).startswith(f"{start}{tmp_path / 'data' / 'val' / 'red' / '0.png'} cannot be decoded")


def test_other_classes_than_those_of_the_training_are_told(trial: Path, tmp_path: Path) -> None:
    for part in ("train", "val"):
        shutil.copytree(tmp_path / "data" / part / "red", tmp_path / "data" / part / "ruby")
    assert "does not fit" in refused(trial)
    assert "with the 5 classes of the data" in refused(trial)


def test_the_command_writes_or_ends_with_one_line(
    trial: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(trial), "--images", "2"]) == 0
    assert capsys.readouterr().out.startswith("wrote 2 images to ")
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: no trial.json in ")
