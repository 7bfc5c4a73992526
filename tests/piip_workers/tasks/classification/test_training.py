"""Trainings of small classifiers on pictures that differ in colour."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("cv2")

from PIL import Image  # noqa: E402

from piip_search.architecture import Architecture  # noqa: E402
from piip_search.evaluation.evaluation import Candidate, Evaluation, Fidelity  # noqa: E402
from piip_search.models import PIIP, PIIPClassifier  # noqa: E402
from piip_search.tasks.classification.section import ClassificationTraining  # noqa: E402
from piip_workers.tasks.classification.classifier_training import classifier_of, rate_of  # noqa: E402
from piip_workers.tasks.classification.evaluate import measure  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

COLOURS = {"blue": (40, 60, 200), "green": (50, 190, 60), "red": (200, 50, 40)}
LINEAR, LOGITS = "vit_nano@32:g+vit_pico@64:g*1/linear", "vit_nano@32:g+vit_pico@64:g*1/logits"


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    """Six training pictures and three of validation a class."""
    random = np.random.default_rng(0)
    for part, count in (("train", 6), ("val", 3)):
        for name, colour in COLOURS.items():
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = random.normal(colour, 25, (40, 48, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return {"root": str(tmp_path / "data"), "train": {"images": "train"}, "val": {"images": "val"}}


def measured(
    data: dict[str, Any], folder: Path, design: str = LINEAR, epochs: int = 2, horizon: int | None = None, **recipe: Any
) -> Evaluation:
    training = {"batch_size": 6, "learning_rate": 2e-3, **recipe}
    return measure(
        Candidate(0, Architecture.parse(design), Fidelity(epochs, horizon=horizon)), data, training, str(folder)
    )


def weights(folder: Path, epoch: int) -> dict[str, torch.Tensor]:
    (file,) = folder.rglob(f"epoch_{epoch}.pth")
    found: dict[str, torch.Tensor] = torch.load(file, weights_only=True)["state_dict"]
    return found


@pytest.mark.parametrize("design", [LINEAR, LOGITS, "vit_pico@64:g/linear", "convnext_pico@64+vit_nano@96:g*1/logits"])
def test_a_classifier_learns(data: dict[str, Any], tmp_path: Path, design: str) -> None:
    found = measured(data, tmp_path / "runs", design, epochs=6)
    assert found.error == ""
    assert found.history[-1]["loss"] < found.history[0]["loss"]
    assert found.metrics["top1"] > 0.6
    assert "top5" not in found.metrics
    assert found.facts.images == 18
    assert found.facts.trained == design


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"mixup": 0.8, "cutmix": 1.0, "augment": "rand-m9-mstd0.5-inc1", "erase": 0.25},
        {"ema": 0.9, "balance": "sample"},
        {"balance": "weight", "new_parts": 10.0, "layer_decay": 0.85},
    ],
)
def test_a_stopped_training_ends_as_a_straight_one(
    data: dict[str, Any], tmp_path: Path, recipe: dict[str, Any]
) -> None:
    straight = measured(data, tmp_path / "straight", epochs=3, **recipe)
    for epochs in (1, 2):
        measured(data, tmp_path / "cut", epochs=epochs, horizon=3, **recipe)
    cut = measured(data, tmp_path / "cut", epochs=3, **recipe)
    assert cut.metrics == straight.metrics
    assert [row["loss"] for row in cut.history] == [row["loss"] for row in straight.history]
    one, other = weights(tmp_path / "straight", 3), weights(tmp_path / "cut", 3)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_loaders_measure_what_one_process_does(data: dict[str, Any], tmp_path: Path) -> None:
    one = measured(data, tmp_path / "one", augment="rand-m5", epochs=1)
    assert measured(data, tmp_path / "two", augment="rand-m5", epochs=1, loader_workers=1).metrics == one.metrics


def test_halves_of_a_step_train_what_it_trains(
    data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measured(data, tmp_path / "whole", epochs=2)
    forward: Callable[..., Any] = PIIPClassifier.forward

    def small(self: PIIPClassifier, image: torch.Tensor) -> Any:
        if self.training and len(image) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, image)

    monkeypatch.setattr(PIIPClassifier, "forward", small)
    halves = measured(data, tmp_path / "halves", epochs=2)
    assert halves.facts.accumulated == 2
    assert halves.history[-1]["loss"] == pytest.approx(whole.history[-1]["loss"], rel=1e-3)


def test_a_picture_that_cannot_be_decoded_is_replaced_and_told(data: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "data" / "train" / "red" / "2.png").write_bytes(b"no picture")
    found = measured(data, tmp_path / "runs", epochs=1)
    assert found.error == ""
    assert found.facts.unreadable_images == 1
    assert "2.png" in found.facts.unreadable[0]
    (tmp_path / "data" / "val" / "red" / "1.png").write_bytes(b"no picture")
    failed = measured(data, tmp_path / "others", epochs=1)
    assert failed.status == "failed"
    assert "1.png" in failed.error


def test_a_loss_that_is_not_finite_ends_with_a_way_out(data: dict[str, Any], tmp_path: Path) -> None:
    found = measured(data, tmp_path / "runs", learning_rate=1e12, epochs=3)
    assert found.status == "failed"
    assert "lower training.learning_rate" in found.error


def test_an_untrained_network_is_measured(data: dict[str, Any], tmp_path: Path) -> None:
    found = measured(data, tmp_path / "runs", epochs=0)
    assert found.error == ""
    assert found.history == ()
    assert 0 <= found.metrics["top1"] <= 1


def test_a_curve_has_metrics_where_it_was_asked_for(data: dict[str, Any], tmp_path: Path) -> None:
    found = measured(data, tmp_path / "runs", epochs=4, measure_every=2)
    assert ["top1" in row for row in found.history] == [False, True, False, True]


def test_new_parts_have_a_rate_of_their_own() -> None:
    training = ClassificationTraining(new_parts=10.0, layer_decay=0.5)
    for name in (LINEAR, LOGITS):
        design = Architecture.parse(name)
        network = classifier_of(design, 3)
        assert isinstance(network, PIIP if design.merge == "logits" else PIIPClassifier)
        rates = {name: rate_of(name, design, training) for name, _ in network.named_parameters()}
        inner = {name.removeprefix("piip."): rate for name, rate in rates.items()}
        assert inner["branches.0.patch_embed.proj.weight"] < 1
        assert all(rate == 10 for name, rate in inner.items() if name.startswith("interactions."))
        heads = [rate for name, rate in inner.items() if name.startswith(("merges.", "head.", "norm."))]
        assert set(heads) == ({1.0} if design.merge == "logits" else {10.0})


def test_weights_of_a_relative_are_taken_over(data: dict[str, Any], tmp_path: Path) -> None:
    training = {"batch_size": 6, "learning_rate": 2e-3, "inherit": True}
    first = Candidate(0, Architecture.parse(LINEAR), Fidelity(2))
    assert measure(first, data, training, str(tmp_path)).error == ""
    other = Candidate(
        1, Architecture.parse("vit_nano@48:g+vit_pico@64:g*1/linear"), Fidelity(1), parent=f"{first.training}@2"
    )
    found = measure(other, data, training, str(tmp_path))
    assert found.error == ""
    assert "tensors taken over" in str(found.facts.rest.get("inherited", found.facts))
    assert found.history[0]["loss"] < measured(data, tmp_path / "alone", other.architecture.name, 1).history[0]["loss"]


def test_mixup_takes_pairs_of_a_small_batch(data: dict[str, Any], tmp_path: Path) -> None:
    """Eighteen images are fewer than a batch: they are one batch, and nothing is left out of mixup."""
    plain = measured(data, tmp_path / "plain", epochs=1, batch_size=64, smoothing=0.0)
    mixed = measured(data, tmp_path / "mixed", epochs=1, batch_size=64, smoothing=0.0, mixup=0.8)
    assert mixed.error == ""
    assert mixed.history[0]["loss"] != plain.history[0]["loss"]


def test_class_weights_do_not_depend_on_the_parts_of_a_step(
    data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2, 6):
        (tmp_path / "data" / "train" / "red" / f"{number}.png").unlink()
    whole = measured(data, tmp_path / "whole", epochs=1, balance="weight")
    forward: Callable[..., Any] = PIIPClassifier.forward

    def small(self: PIIPClassifier, image: torch.Tensor) -> Any:
        if self.training and len(image) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, image)

    monkeypatch.setattr(PIIPClassifier, "forward", small)
    halves = measured(data, tmp_path / "halves", epochs=1, balance="weight")
    assert halves.facts.accumulated == 2
    assert halves.history[0]["loss"] == pytest.approx(whole.history[0]["loss"], rel=1e-4)


def test_two_checkpoints_are_kept_on_the_way(data: dict[str, Any], tmp_path: Path) -> None:
    measured(data, tmp_path / "runs", epochs=2, horizon=5)
    kept = {file.name for file in (tmp_path / "runs").rglob("epoch_*.pth")}
    assert kept == {"epoch_2.pth"}


@pytest.mark.parametrize("name", ["rnd-m9", "foo", "trivial", ""])
def test_an_unknown_augmentation_is_told(name: str) -> None:
    with pytest.raises(ValueError, match="augment names one of timm's augmentations"):
        ClassificationTraining(augment=name)
