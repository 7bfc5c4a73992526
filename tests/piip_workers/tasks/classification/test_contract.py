"""Classification does what every task must do."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from piip_search.architecture import Architecture
from piip_search.tasks import Head
from piip_search.tasks.classification.head import ClassifierHead
from support.task_contract import TaskCase, TaskContract

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("cv2")
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("training")]

SPACE: dict[str, Any] = {
    "task": "classification",
    "name": "colours",
    "metric": "top1",
    "space": {
        "backbones": ["vit_nano", "vit_pico"],
        "resolutions": [32, 64],
        "windows": ["global"],
        "interactions": [0, 1],
        "branches": [1, 2],
        "merges": ["linear"],
    },
    "limit": {"gmacs": [1], "convention": "backbone"},
    "training": {"batch_size": 6, "learning_rate": 2e-3},
}


def counted(head: Head, design: Architecture) -> tuple[int, int]:
    """Norm and linear layer of a classifier without values."""
    from torch.utils.flop_counter import FlopCounterMode

    from piip_search.models import PIIPClassifier

    assert isinstance(head, ClassifierHead)
    with torch.device("meta"):
        network = PIIPClassifier(design, classes=head.classes).eval()
        image = torch.empty(1, 3, design.resolution, design.resolution)
    with FlopCounterMode(display=False) as whole:
        network(image)
    with FlopCounterMode(display=False) as inner:
        network.piip(image)
    macs = (whole.get_total_flops() - inner.get_total_flops()) // 2
    return macs, sum(one.numel() for one in (*network.norm.parameters(), *network.head.parameters()))


class TestClassification(TaskContract):
    @pytest.fixture
    def case(self, tmp_path: Path) -> TaskCase:
        from PIL import Image

        random, root = np.random.default_rng(0), tmp_path / "colours"
        for part in ("train", "val"):
            for name, colour in {"blue": (40, 60, 200), "red": (200, 50, 40)}.items():
                (root / part / name).mkdir(parents=True)
                for number in range(6):
                    pixels = random.normal(colour, 25, (40, 48, 3)).clip(0, 255).astype(np.uint8)
                    Image.fromarray(pixels).save(root / part / name / f"{number}.png")
        (root / "empty").mkdir()
        data = {"root": str(root), "train": "train", "val": "val"}
        return TaskCase(
            task="classification",
            space={**SPACE, "data": data},
            bad_data=(
                ({**data, "val": "holdout"}, "no folder"),
                ({**data, "train": "empty"}, "class"),
            ),
            design="vit_nano@32:g+vit_pico@64:g*1/linear",
            epochs=3,
            counted=counted,
        )
