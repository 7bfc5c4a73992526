"""What is said of a loss that is not finite, and that a setting is named only where it is at fault."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
structures = pytest.importorskip("mmengine.structures")
pytestmark = pytest.mark.filterwarnings("ignore")

from piip_workers.mmlab.loss_watch import NOT_FINITE, LossWatch  # noqa: E402


def batch(boxes: Sequence[Sequence[float]] = ((1, 2, 3, 4),), value: float = 7.0) -> dict[str, Any]:
    """Two images as mmdet packs them."""
    samples = []
    for name in ("a.jpg", "b.jpg"):
        objects = SimpleNamespace(bboxes=torch.tensor(boxes))
        samples.append(structures.BaseDataElement(metainfo={"img_path": name}))
        samples[-1].gt_instances = structures.InstanceData(bboxes=objects.bboxes)
    return {"inputs": [torch.full((3, 4, 4), value)] * 2, "data_samples": samples}


def said(
    folder: Path,
    losses: Sequence[float],
    rate: float = 1e-3,
    content: Any = None,
    earlier: Sequence[dict[str, float]] = (),
    begun: int = 0,
    weight: float = 1.0,
) -> str:
    """What is said of losses of which the last one is not finite.

    Args:
        folder: Of the training.
        losses: Of the steps of this sitting.
        rate: Of the optimiser.
        content: What the last step reads.
        earlier: History of earlier sittings.
        begun: Steps of earlier sittings.
        weight: A weight at the start.
    """
    watch = LossWatch(folder, "the.rate", earlier)
    model = torch.nn.Linear(1, 1)
    model.weight.data.fill_(weight)
    watch.begin(model)
    for step, loss in enumerate(losses[:-1]):
        watch.see(loss, SimpleNamespace(iter=begun + step, epoch=2), step, rate, batch())
    last = len(losses) - 1
    with pytest.raises(FloatingPointError) as caught:
        watch.see(losses[last], SimpleNamespace(iter=begun + last, epoch=2), last, rate, content or batch())
    assert json.loads((folder / NOT_FINITE).read_text(encoding="utf-8")) == {"images": ["a.jpg", "b.jpg"]}
    return str(caught.value)


def test_a_loss_that_grew_names_the_rate(tmp_path: Path) -> None:
    assert said(tmp_path, [2.0, 1.0, 30.0, math.inf]) == (
        "the loss is inf in epoch 3, step 4, at a learning rate of 0.001; the loss before was 30, the lowest 1: it "
        "grew; lower the.rate"
    )
    assert "lower the.rate" in said(tmp_path, [40.0, math.nan], earlier=[{"epoch": 1.0, "loss": 2.0}], begun=9)


def test_a_rate_that_no_training_survives_is_named_at_once(tmp_path: Path) -> None:
    assert said(tmp_path, [2.0, math.nan], rate=1e30).endswith(
        "so large a rate moves every weight by about as much in a step; lower the.rate"
    )


@pytest.mark.parametrize("rate", [1e-3, 1e30])
def test_the_first_loss_has_seen_no_rate(tmp_path: Path, rate: float) -> None:
    found = said(tmp_path, [math.nan], rate)
    assert "step 1 (the first of all)" in found
    assert "no rate has changed a weight yet, so look at the data and the design" in found
    assert "the.rate" not in found


def test_a_loss_that_did_not_grow_names_the_images(tmp_path: Path) -> None:
    found = said(tmp_path, [2.0, 1.5, 1.7, math.nan])
    assert found.endswith(
        "the loss before was 1.7, the lowest 1.5, which shows no growth; look at the data: not_finite.json in the "
        "training's folder lists the images of that step"
    )
    resumed = said(tmp_path, [math.nan], begun=5)
    assert "no loss came before in this sitting" in resumed
    assert "the.rate" not in found + resumed


@pytest.mark.parametrize(
    "content", [batch(boxes=[[1, 2, math.nan, 4]]), batch(boxes=[[1, 2, math.inf, 4]]), batch(value=math.nan)]
)
def test_data_that_is_not_finite_is_at_fault(tmp_path: Path, content: Any) -> None:
    for losses in ([math.nan], [1.0, 50.0, math.nan]):
        found = said(tmp_path, losses, content=content)
        assert "an image or an object of that step is not finite; mend it" in found
        assert "the.rate" not in found


def test_so_are_weights_that_were_not_finite_before(tmp_path: Path) -> None:
    found = said(tmp_path, [math.nan], weight=math.nan)
    assert found.endswith("the weights that it started from are not finite; start from others")


def test_losses_of_one_kind_are_said_alike(tmp_path: Path) -> None:
    """So that they are counted as one kind of failure."""
    from piip_search.analysis.error_kinds import kind_of

    first = said(tmp_path, [2.0, 1.0, 30.0, math.inf])
    assert kind_of(first) == kind_of(said(tmp_path, [2.0, 1.25, 3.0, 70.5, math.inf], rate=3e-4))
