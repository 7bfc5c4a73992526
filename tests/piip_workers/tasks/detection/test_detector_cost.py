"""The detector convention against mmdet's own modules, counted."""

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mmdet")
pytestmark = pytest.mark.filterwarnings("ignore")

from piip_search.architecture import Architecture  # noqa: E402
from piip_search.cost import breakdown, price  # noqa: E402
from piip_search.evaluation.evaluation import Fidelity  # noqa: E402
from piip_search.export.settings import render  # noqa: E402
from piip_search.tasks.detection.head import PROPOSALS, DetectorHead  # noqa: E402
from piip_search.tasks.detection.mmdet.config import proxy_config  # noqa: E402
from piip_search.tasks.detection.mmdet.data import CocoPaths, CocoSplit, ProxyImages  # noqa: E402
from piip_search.tasks.detection.section import DetectionTraining  # noqa: E402
from support.counting import counted_macs, kept_values, parameters  # noqa: E402

CLASSES = 7
DETECTIONS = 20


def detector_of(architecture: Architecture, training: DetectionTraining, folder: Path) -> Any:
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.config import Config

    import piip_workers.tasks.detection.backbone  # noqa: F401

    register_all_modules(init_default_scope=True)
    split = CocoSplit(folder, folder / "instances.json")
    paths = CocoPaths(split, split, tuple(map(str, range(CLASSES))))
    settings = proxy_config(architecture, paths, training, fidelity=Fidelity(1), images=ProxyImages(1), seed=0)
    (folder / "config.py").write_text(render(settings, "counted"), encoding="utf-8")
    return MODELS.build(Config.fromfile(folder / "config.py").model).eval()


def counted_parts(model: Any, image: Any, channels: int) -> dict[str, int]:
    """Multiply-accumulates of the network with its pyramid, of the neck and of the head."""
    with torch.no_grad():
        maps = model.backbone(image)
        levels = model.neck(maps)
    parts = {"network": counted_macs(model.backbone, image), "neck": counted_macs(model.neck, maps)}
    if not hasattr(model, "roi_head"):
        return {**parts, "head": counted_macs(model.bbox_head, levels)}
    head = counted_macs(model.rpn_head, levels)
    head += counted_macs(model.roi_head.bbox_head, torch.zeros(PROPOSALS, channels, 7, 7))
    head += counted_macs(model.roi_head.mask_head, torch.zeros(DETECTIONS, channels, 14, 14))
    return {**parts, "head": head}


@pytest.mark.parametrize("detector", ["retinanet", "fcos"])
@pytest.mark.parametrize("name", ["vit_nano@64:g+vit_pico@256:w4*2", "vit_micro@64:g+convnext_pico@256*4"])
def test_memory_is_what_torch_keeps(detector: Any, name: str, tmp_path: Path) -> None:
    architecture = Architecture.parse(name)
    model = detector_of(architecture, DetectionTraining(detector=detector, channels=64), tmp_path).train()
    after = [
        part.cost.saved_values
        for part in breakdown(architecture, "whole", None, DetectorHead(detector, 64, CLASSES))
        if part.group in ("pyramid", "neck", "head")
    ]
    network = model.backbone.network
    with torch.no_grad():
        merged = network.piip(torch.zeros(1, 3, 256, 256))
    maps = merged if isinstance(merged, tuple) else (merged,) * 4

    class After(torch.nn.ModuleList):
        def forward(self, *inputs: Any) -> Any:
            return self[2](self[1](self[0](inputs)))

    assert sum(after) == pytest.approx(
        kept_values(After([network.pyramid, model.neck, model.bbox_head]), *maps), rel=0.1
    )


@pytest.mark.parametrize("image", [None, (96, 160)])
@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("vit_nano@64:g+vit_pico@128:w3*2", 32),
        ("vit_nano@64:g/linear", 256),
        ("vit_micro@64:g+convnext_pico@128*4", 32),
        ("convnext_pico@64+vit_nano@96:g*4", 64),
        ("vit_micro@64:g+vit_nano@96:w4*4/pyramid", 32),
    ],
)
@pytest.mark.parametrize("detector", ["retinanet", "fcos", "mask_rcnn"])
def test_closed_form_equals_counted(
    detector: Any, name: str, channels: int, image: tuple[int, int] | None, tmp_path: Path
) -> None:
    architecture = Architecture.parse(name)
    if detector == "fcos":
        channels = max(channels, 64)  # its group norms refuse a single value, as in one channel of one position
    training = DetectionTraining(detector=detector, channels=channels, max_detections=DETECTIONS)
    model = detector_of(architecture, training, tmp_path)
    height, width = (architecture.resolution,) * 2 if image is None else architecture.image(*image)
    reader = DetectorHead(detector, channels, CLASSES, DETECTIONS)
    parts: dict[str, int] = {"network": 0, "neck": 0, "head": 0}
    for part in breakdown(architecture, "whole", image, reader):
        parts[part.group if part.group in parts else "network"] += part.cost.macs
    assert counted_parts(model, torch.zeros(1, 3, height, width), channels) == parts
    assert parameters(model) == price(architecture, "whole", image, reader).params
