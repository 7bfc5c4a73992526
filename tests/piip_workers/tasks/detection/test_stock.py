"""Stock detectors as baselines: counted, and trained beside a search."""

import re
from pathlib import Path
from typing import Any

import pytest

import piip_search as ps
from piip_search.api.baselines import counted_baselines
from piip_search.api.plain_data import baselines_content
from piip_search.api.runs import baselines_of_run, history_of
from piip_search.api.stores import open_ledger
from piip_search.architecture.stock import StockNetwork
from piip_search.config import SearchSpec, SpecError, parse_spec
from piip_search.errors import MachineError
from piip_search.evaluation.evaluation import Candidate, Fidelity
from piip_search.tasks.detection.mmdet.stock import stock_model
from piip_search.tasks.detection.section import STOCK_DETECTORS, DetectionData

torch = pytest.importorskip("torch")
pytest.importorskip("mmdet")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("training")]

SPACE: dict[str, Any] = {
    "name": "small",
    "space": {"backbones": ["vit_pico"], "resolutions": [32, 64], "branches": [1]},
    "limit": {"gmacs": [0.005, 1], "convention": "backbone"},
    "budget": {"trials": 1},
    "data": {"embedded": "digits"},
    "fidelity": {"epochs": 1},
    "training": {"channels": 32, "batch_size": 4, "learning_rate": 1e-3},
}


def counted(convention: str, *entries: str, **changes: Any) -> list[StockNetwork]:
    limit = {"gmacs": [1000], "convention": convention}
    spec = parse_spec({**SPACE, "limit": limit, "baselines": list(entries), **changes})
    return [design for design in counted_baselines(spec, "file").designs if isinstance(design, StockNetwork)]


@pytest.mark.parametrize(
    ("entry", "gmacs", "mparams"),
    [
        # Torchvision's table of models: 1.814 and 4.089 GMACs at 224 px, the classifier included.
        ("retinanet_r18@224", 1.814, 11.69 - 0.513),
        ("retinanet_r50@224", 4.089, 25.56 - 2.049),
    ],
)
def test_the_backbone_is_counted_as_elsewhere(entry: str, gmacs: float, mparams: float) -> None:
    (found,) = counted("backbone", entry)
    assert (found.macs or 0) / 1e9 == pytest.approx(gmacs, rel=2e-3)
    assert (found.params or 0) / 1e6 == pytest.approx(mparams, rel=2e-3)


@pytest.mark.parametrize(
    ("entry", "gmacs", "mparams"),
    [
        # README of RTMDet in mmdet 3: 8.1 GMACs and 4.8 M parameters at 640 px; of YOLOX: 6.45 / 2 x (640 / 416)^2.
        ("rtmdet_tiny@640", 8.1, 4.8),
        ("yolox_tiny@416", 6.45 / 2, 5.06),
    ],
)
def test_the_whole_detector_is_counted_as_elsewhere(entry: str, gmacs: float, mparams: float) -> None:
    (found,) = counted("whole", entry)
    assert (found.macs or 0) / 1e9 == pytest.approx(gmacs, rel=0.03)
    assert (found.params or 0) / 1e6 == pytest.approx(mparams, rel=0.03)


def test_the_priced_image_is_counted() -> None:
    (square,) = counted("backbone", "retinanet_r18@128")
    (flat,) = counted("backbone", "retinanet_r18@128", training={"short_side": 0.5})
    (papers,) = counted("published", "retinanet_r18@128", training={"short_side": 0.5})
    assert flat.macs == (square.macs or 0) / 2
    assert papers.macs == square.macs


def test_every_stock_detector_is_built_and_counted() -> None:
    assert len(counted("whole", *STOCK_DETECTORS)) == len(STOCK_DETECTORS)


def test_what_cannot_be_counted_is_listed() -> None:
    with pytest.raises(SpecError) as caught:
        counted("whole", "mmdet::a/b.py", "mmdet::_base_/default_runtime.py", "mmdet::detr/detr_r50_8xb2-150e_coco.py")
    first, second, third = caught.value.problems
    assert first.startswith("baselines: mmdet::a/b.py cannot be read: FileNotFoundError")
    assert second.startswith("baselines: mmdet::_base_/default_runtime.py has no model with a backbone")
    assert "set limit.convention to backbone, or leave it out" in third


def test_a_ledger_of_others_names_no_program(small: DetectionData, tmp_path: Path) -> None:
    from piip_workers.tasks.detection.evaluate import measure

    (program := tmp_path / "program.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')", encoding="utf-8")
    for config in (str(program), f"mmdet::{program}", f"mmdet::../../{program}", f"file:{program}", "file:missing"):
        candidate = Candidate(0, StockNetwork(config, 64, "net", 1, 1), Fidelity(1))
        found = measure(candidate, small.model_dump(mode="json"), {}, str(tmp_path / "trials"))
        assert "is no configuration that mmdet ships" in found.error
    assert not (tmp_path / "ran").exists()


def own_detector(folder: Path, depth: int = 18) -> Path:
    """A detector in a user's own file."""
    channels = (64, 128, 256, 512) if depth < 50 else (256, 512, 1024, 2048)
    (file := folder / "mine.py").write_text(
        f"""
_base_ = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"
model = dict(backbone=dict(depth={depth}, init_cfg=None), neck=dict(in_channels={list(channels)}))
""",
        encoding="utf-8",
    )
    return file


def test_a_users_own_configuration_is_counted_and_told_apart_by_its_content(tmp_path: Path) -> None:
    own, shipped = counted("whole", f"{own_detector(tmp_path)}@224", "retinanet_r18@224")
    assert own.name == "mine@224"
    assert own.config.startswith("file:")
    assert (own.macs, own.params) == (shipped.macs, shipped.params)
    (larger,) = counted("whole", f"{own_detector(tmp_path, 50)}@224")
    assert larger.fingerprint != own.fingerprint
    assert (larger.params or 0) > (own.params or 0)


def test_nothing_of_a_stock_detector_is_pre_trained_or_frozen() -> None:
    weights = {"type": "Pretrained", "checkpoint": "torchvision://resnet18"}
    inner = {"type": "ResNet", "pretrained": "torchvision://resnet18", "frozen_stages": 1, "norm_eval": True}
    model = {
        "init_cfg": weights,
        "backbone": {**inner, "init_cfg": weights},
        "neck": {"rfp_backbone": {**inner, "init_cfg": weights}, "init_cfg": {"type": "Xavier"}},
        "roi_head": {"shared_head": [{"init_cfg": weights, "pretrained": True}]},
    }
    found = stock_model(model, 3, 100)
    free = {"type": "ResNet", "pretrained": None, "frozen_stages": -1, "norm_eval": False, "init_cfg": None}
    assert found["init_cfg"] is None
    assert found["backbone"] == free
    assert found["neck"] == {"rfp_backbone": free, "init_cfg": {"type": "Xavier"}}
    assert found["roi_head"]["shared_head"] == [{"init_cfg": None, "pretrained": False}]


def test_a_file_that_ends_the_process_is_one_problem(tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text("import sys\nsys.exit(3)\n", encoding="utf-8")
    with pytest.raises(SpecError, match=r"baselines: .*ends\.py cannot be read: SystemExit: 3"):
        counted("backbone", f"{tmp_path}/ends.py@64")


def test_a_file_that_changes_is_not_trained_under_its_old_name(small: DetectionData, tmp_path: Path) -> None:
    from piip_workers.tasks.detection.evaluate import measure

    file = own_detector(tmp_path)
    (network,) = counted("backbone", f"{file}@64")
    candidate, data = Candidate(0, network, Fidelity(1)), small.model_dump(mode="json")
    file.write_text("raise RuntimeError('never run')", encoding="utf-8")
    with pytest.raises(MachineError, match=r"mine\.py has changed since the command began; put the old content back"):
        measure(candidate, data, {}, str(tmp_path / "trials"), {network.config: str(file)})


def test_a_missing_file_is_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"baselines: no file .*nowhere\.py; name an existing configuration"):
        counted("backbone", f"{tmp_path}/nowhere.py@64")


def test_a_users_own_detector_is_trained_beside_the_front(small: DetectionData, tmp_path: Path) -> None:
    content = {**SPACE, "data": small.model_dump(mode="json"), "baselines": [f"{own_detector(tmp_path)}@64"]}
    search = ps.run(parse_spec(content), home=tmp_path)
    book = open_ledger(f"sqlite:///{tmp_path}/ledger.db", reading=True)
    (found,) = baselines_of_run(book, search.run, history_of(book, search.run))
    assert (found.name, found.state, found.error) == ("mine@64", "done", "")
    assert re.fullmatch(r"own file \([0-9a-f]{8}\), random weights", found.about)
    assert str(tmp_path / "mine.py") in book.kept_files(search.run)


def test_a_stock_detector_is_trained_beside_the_front(small: DetectionData, tmp_path: Path) -> None:
    data = small.model_dump(mode="json")
    spec: SearchSpec = parse_spec({**SPACE, "data": data, "baselines": ["yolox_tiny@64", "vit_pico@64:g"]})
    search = ps.run(spec, home=tmp_path)
    assert len(search.evaluations) == 1
    history = history_of(open_ledger(f"sqlite:///{tmp_path}/ledger.db", reading=True), search.run)
    book = open_ledger(f"sqlite:///{tmp_path}/ledger.db", reading=True)
    found = {one.name: one for one in baselines_of_run(book, search.run, history)}
    stock = found["yolox_tiny@64"]
    assert (stock.state, stock.error) == ("done", "")
    assert stock.about == "stock network, random weights"
    assert stock.value is not None
    assert len(baselines_content(history, list(found.values()))["compared"]) == 2
    (beside,) = [record for record in book.searches() if record.holds_baselines]
    (evaluation,) = [e for e in book.evaluations(beside.name) if e.candidate.design.name == "yolox_tiny@64"]
    assert evaluation.facts.trained == "yolox_tiny@64"
    assert evaluation.facts.parameters > (evaluation.candidate.design.params or 0)  # type: ignore[attr-defined]
    # The same call trains nothing again.
    ps.run(spec, home=tmp_path)
    assert len(book.evaluations(beside.name)) == 2
