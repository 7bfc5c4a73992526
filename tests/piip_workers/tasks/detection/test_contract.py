"""Detection does what every task must do."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from piip_search.architecture import Architecture
from piip_search.tasks import Head
from piip_search.tasks.detection.head import DetectorHead
from piip_search.tasks.detection.section import DetectionData
from support.task_contract import TaskCase, TaskContract

torch = pytest.importorskip("torch")
pytest.importorskip("mmdet")
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("training")]

DESIGN = "vit_nano@32:g+vit_pico@64:g*2"
SPACE: dict[str, Any] = {
    "name": "small",
    "space": {
        "backbones": ["vit_nano", "vit_pico"],
        "resolutions": [32, 64],
        "windows": ["global"],
        "interactions": [0, 2],
        "branches": [1, 2],
    },
    "limit": {"gmacs": [1], "convention": "whole"},
    "training": {"channels": 32, "batch_size": 4, "learning_rate": 1e-3, "anchor_scale": 2.5},
}


def counted(folder: Path, head: Head, design: Architecture) -> tuple[int, int]:
    """Pyramid, neck and head of a detector without values."""
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.config import Config

    import piip_workers.tasks.detection.backbone  # noqa: F401
    from piip_search.evaluation.evaluation import Fidelity
    from piip_search.export.settings import render
    from piip_search.tasks.detection.mmdet.config import proxy_config
    from piip_search.tasks.detection.mmdet.data import CocoPaths, CocoSplit, ProxyImages
    from piip_search.tasks.detection.section import DetectionTraining
    from piip_workers.networks.counting import counted_macs
    from piip_workers.tasks.detection.proof import detector_macs
    from support.counting import parameters

    assert isinstance(head, DetectorHead)
    register_all_modules(init_default_scope=True)
    split = CocoSplit(Path("images"), Path("instances.json"))
    paths = CocoPaths(split, split, tuple(map(str, range(head.classes))))
    training = DetectionTraining(detector=head.name, channels=head.channels)
    settings = proxy_config(design, paths, training, fidelity=Fidelity(1), images=ProxyImages(1), seed=0)
    (file := folder / "config.py").write_text(render(settings, "counted"), encoding="utf-8")
    with torch.device("meta"):
        model = MODELS.build(Config.fromfile(file).model)
        image = torch.empty(1, 3, design.resolution, design.resolution)
    backbone = model.backbone.network.piip
    macs = detector_macs(head, model, image) - counted_macs(backbone, image)
    return macs, parameters(model) - parameters(backbone)


class TestDetection(TaskContract):
    @pytest.fixture
    def case(self, small: DetectionData, tmp_path: Path) -> TaskCase:
        data = small.model_dump(mode="json")
        assert small.root is not None
        broken = json.loads((small.root / "train.json").read_text(encoding="utf-8"))
        broken["annotations"][0]["category_id"] = 99
        (small.root / "broken.json").write_text(json.dumps(broken), encoding="utf-8")
        bad = (
            ({**data, "train": {**data["train"], "annotations": "none.json"}}, "none.json"),
            ({**data, "train": {**data["train"], "annotations": "broken.json"}}, "got 99"),
        )
        return TaskCase("detection", {**SPACE, "data": data}, bad, DESIGN, 2, partial(counted, tmp_path))
