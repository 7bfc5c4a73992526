"""What leaves a search is tried for real: built, counted, trained a step, run, and read back by others."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from piip_search.architecture import Architecture
from piip_search.evaluation.evaluation import Candidate, Evaluation, Fidelity
from piip_search.export import RANDOM, Export, Provenance, Start, prepared_folder, write_export
from piip_search.tasks.detection.plan import DetectorPlan
from piip_search.tasks.detection.section import DetectionData, DetectionTraining
from piip_search.tasks.detection.task import DETECTION
from piip_workers.networks.proof import Proof
from piip_workers.tasks.detection import data as data_sets

torch = pytest.importorskip("torch")
pytest.importorskip("mmdet")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("export")]

from piip_workers.networks.weights import proxy_checkpoint, trial_folder  # noqa: E402
from piip_workers.tasks.detection import starting_weights  # noqa: E402
from piip_workers.tasks.detection.evaluate import measure  # noqa: E402
from piip_workers.tasks.detection.proof import narrowed, prove_mmdet  # noqa: E402

DESIGN = Architecture.parse("vit_nano@32:g+vit_pico@64:g*2")
ALONE = ["num_workers=0", "persistent_workers=False"]
IN_PROCESS = [f"{part}_dataloader.{setting}" for part in ("train", "val") for setting in ALONE]


def write(small: DetectionData, folder: Path, formats: tuple[str, ...] = ("mmdet",), **changes: Any) -> Export:
    from piip_workers.tasks.detection.detectors import detector_config_of

    training = DetectionTraining(**{"channels": 32, "anchor_scale": None, **changes})
    provenance = Provenance(
        "small", 3, DESIGN.name, DESIGN.fingerprint, "bbox_mAP", {"bbox_mAP": 0.25}, {"epochs": 2}, "1x", "random"
    )
    export = Export(
        DESIGN,
        DetectorPlan(data_sets.prepare(small), training, custom_detector=detector_config_of(training)),
        formats,
        images=(12, 6),
        provenance=provenance,
    )
    with prepared_folder(folder, DETECTION.files):
        write_export(export, folder)
    return export


def failures(proof: Proof) -> list[str]:
    assert proof.checks
    return proof.failures


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.mark.parametrize("detector", ["retinanet", "fcos", "mask_rcnn"])
def test_the_cost_of_a_known_detector_is_proved(small: DetectionData, out: Path, detector: str) -> None:
    proof = Proof()
    prove_mmdet(write(small, out, detector=detector, channels=64), out, proof)
    assert failures(proof) == []
    names = {check.name.removeprefix("mmdet: ") for check in proof.checks}
    assert {
        "parameters of the backbone",
        "parameters of the detector",
        "multiply-accumulates of the backbone",
        "multiply-accumulates of the detector",
        "trained parameters without a gradient after a step",
        "images with detections, all finite",
        "an image of the data set, in pixels",
    } <= names
    assert not proof.skipped


@pytest.mark.parametrize(
    "detector",
    [
        "atss",
        "dino",
        "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py",
        "mmdet::yolox/yolox_tiny_8xb8-300e_coco.py",
    ],
)
def test_any_detector_is_proved_but_for_its_cost(small: DetectionData, out: Path, detector: str) -> None:
    proof = Proof()
    prove_mmdet(write(small, out, detector=detector, channels=256), out, proof)
    assert failures(proof) == []
    assert "has no cost" in proof.skipped[0]


def test_bfloat16_and_checkpointing_are_proved_too(small: DetectionData, out: Path) -> None:
    proof = Proof()
    prove_mmdet(write(small, out, precision="bfloat16", checkpointing=True), out, proof)
    assert failures(proof) == []


def test_a_broken_export_fails_its_proof(small: DetectionData, out: Path) -> None:
    export = write(small, out)
    config = out / "config.py"
    config.write_text(
        config.read_text(encoding="utf-8").replace(DESIGN.name, "vit_nano@32:g+vit_pico@64:g*4"), encoding="utf-8"
    )
    proof = Proof()
    prove_mmdet(export, out, proof)
    assert any("configuration parses" in line for line in failures(proof))
    proof.write(out / "proof.json")
    content = json.loads((out / "proof.json").read_text(encoding="utf-8"))
    assert content["passed"] is False
    assert content["versions"]["torch"] == torch.__version__

    config.write_text("model = dict(", encoding="utf-8")
    broken = Proof()
    prove_mmdet(export, out, broken)
    assert "SyntaxError" in failures(broken)[0]


def test_a_detector_of_ones_own_modules_is_built_by_whoever_trains_it(
    small: DetectionData, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_heads.py").write_text(
        "from mmdet.models import RetinaHead\nfrom mmdet.registry import MODELS\n\n"
        "@MODELS.register_module(force=True)\nclass OwnHead(RetinaHead):\n    pass\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    base = tmp_path / "own.py"
    base.write_text(
        "_base_ = ['mmdet::retinanet/retinanet_r50_fpn_1x_coco.py']\n"
        "custom_imports = dict(imports=['own_heads'], allow_failed_imports=False)\n"
        "custom_hooks = [dict(type='OwnHook')]\nload_from = 'nowhere.pth'\n"
        "model = dict(bbox_head=dict(type='OwnHead'))\n",
        encoding="utf-8",
    )
    export = write(small, out, detector=str(base))
    proof = Proof()
    prove_mmdet(export, out, proof)
    assert failures(proof) == []

    from piip_workers.tasks.detection.full_training import main

    command = [str(out / "config.py"), "--work-dir", str(tmp_path / "work"), "--epochs", "1"]
    assert main([*command, "--cfg-options", *IN_PROCESS]) == 0

    # This process has imported the module meanwhile; one that begins to train has not.
    config = out / "config.py"
    config.write_text(config.read_text(encoding="utf-8").replace("'own_heads'", "'json'"), encoding="utf-8")
    forgotten = Proof()
    prove_mmdet(export, out, forgotten)
    (line,) = failures(forgotten)
    assert "model builds from the file" in line
    assert "OwnHead is not in" in line


def test_weights_of_another_design_fail_the_proof(small: DetectionData, out: Path) -> None:
    export = write(small, out)
    other = starting_weights.at_random(Architecture.parse("vit_micro@32:g+vit_pico@64:g*2"), RANDOM).network
    tensors = {f"backbone.network.{name}": tensor for name, tensor in other.state_dict().items()}
    torch.save({"state_dict": tensors}, out / "weights.pth")
    proof = Proof()
    prove_mmdet(dataclasses.replace(export, start=Start("proxy", "", "weights.pth")), out, proof)
    assert any("weights that fit no parameter" in line for line in failures(proof))


def test_a_design_that_memory_does_not_hold_is_proved_on_a_narrow_one(small: DetectionData, out: Path) -> None:
    proof = Proof()
    prove_mmdet(write(small, out), out, proof, memory=1000)
    assert failures(proof) == []
    step = next(check for check in proof.checks if "without a gradient" in check.name)
    assert "instead" in step.note


@pytest.mark.parametrize("name", ["vit_6b@256:g+vit_h@512:g*12", "vit_b@448:g+convnext_tiny@1024*4"])
def test_a_narrow_design_keeps_its_depths_and_pairing(name: str) -> None:
    wide = Architecture.parse(name)
    narrow = narrowed(wide)
    assert [branch.model.depth for branch in narrow.branches] == [branch.model.depth for branch in wide.branches]
    assert [branch.resolution for branch in narrow.branches] == [branch.resolution for branch in wide.branches]
    assert narrow.multiple == wide.multiple
    assert narrow.branches[0].model.width < wide.branches[0].model.width


@pytest.fixture
def proxy(small: DetectionData, tmp_path: Path) -> Evaluation:
    """A measured trial."""
    recipe = {"detector": "retinanet", "channels": 32, "batch_size": 4, "learning_rate": 1e-3}
    return measure(
        Candidate(3, DESIGN, Fidelity(1), seed=0), small.model_dump(mode="json"), recipe, str(tmp_path / "t")
    )


def test_a_proxy_hands_its_weights_over(small: DetectionData, tmp_path: Path, proxy: Evaluation) -> None:
    folder = trial_folder(tmp_path / "t", proxy)
    checkpoint = proxy_checkpoint(folder)
    assert checkpoint is not None
    weights = starting_weights.from_proxy(DESIGN, proxy, checkpoint)
    trained = torch.load(checkpoint, weights_only=False)["state_dict"]
    assert set(weights.tensors) == set(trained)
    assert all(torch.equal(tensor, trained[name]) for name, tensor in weights.tensors.items())
    inner = weights.network.state_dict()
    assert all(torch.equal(tensor, trained[f"backbone.network.{name}"]) for name, tensor in inner.items())

    export = dataclasses.replace(write(small, tmp_path / "out"), start=weights.start)
    weights.write(tmp_path / "out" / "weights.pth")
    write_export(export, tmp_path / "out")
    proof = Proof()
    prove_mmdet(export, tmp_path / "out", proof)
    assert failures(proof) == []

    moved = dataclasses.replace(proxy, facts=dataclasses.replace(proxy.facts, folder="/not/here"))
    assert trial_folder(tmp_path / "t", moved) == folder
    halved = dataclasses.replace(proxy, facts=dataclasses.replace(proxy.facts, folder="/not/here/halves"))
    assert trial_folder(tmp_path / "t", halved) == folder / "halves"
    assert proxy_checkpoint(tmp_path) is None
    checkpoint.write_bytes(b"cut off")
    with pytest.raises(ValueError, match="cannot be read"):
        starting_weights.from_proxy(DESIGN, proxy, checkpoint)


def test_a_network_for_torch_alone_gives_the_same_maps(tmp_path: Path) -> None:
    from piip_workers.networks.torch_export import prove_torch, write_torch

    network = starting_weights.at_random(DESIGN, RANDOM).network
    write_torch(DESIGN, network, tmp_path / "torch")
    proof = Proof()
    prove_torch(DESIGN, network, tmp_path / "torch", proof)
    assert failures(proof) == []
    with torch.no_grad():
        next(network.parameters()).add_(1.0)
    changed = Proof()
    prove_torch(DESIGN, network, tmp_path / "torch", changed)
    assert not changed.passed


@pytest.mark.parametrize(
    "name",
    [
        "vit_w96_d2_h3@64:w2+vit_w64_d2_h2@128:w4*2(attention=regular)",
        "vit_w96_d2_h3@48:w2+vit_w64_d2_h2@64:g*1",
        "vit_pico@64:g",
        "vit_nano@32:g+convnext_pico@64*4",
    ],
)
def test_an_onnx_file_gives_the_maps_of_torch(tmp_path: Path, name: str) -> None:
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    from piip_workers.networks.onnx_export import prove_onnx, write_onnx

    design = Architecture.parse(name)
    network = starting_weights.at_random(design, RANDOM).network
    log = tmp_path / "proof.log"
    write_onnx(design, network, tmp_path / "onnx", log)
    proof = Proof()
    prove_onnx(design, network, tmp_path / "onnx", proof, log)
    assert failures(proof) == []
    opened = [check for check in proof.checks if check.name.startswith("onnx, interactions opened")]
    assert bool(opened) == bool(design.interaction.count)


@pytest.mark.parametrize("name", ["vit_w64_d2_h2@32:g", "vit_w64_d2_h2@32:g+vit_w64_d2_h2@48:w2*1"])
def test_an_onnx_file_of_other_weights_fails_its_proof(tmp_path: Path, name: str) -> None:
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    from piip_workers.networks.onnx_export import prove_onnx, write_onnx

    design = Architecture.parse(name)
    network = starting_weights.at_random(design, RANDOM).network
    log = tmp_path / "proof.log"
    write_onnx(design, network, tmp_path / "onnx", log)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.1)
    changed = Proof()
    prove_onnx(design, network, tmp_path / "onnx", changed, log)
    assert not changed.passed


def test_the_command_of_the_readme_trains_goes_on_and_is_short_on_demand(small: DetectionData, tmp_path: Path) -> None:
    from piip_workers.tasks.detection.full_training import main

    write(small, tmp_path / "out")
    work = tmp_path / "work"
    command = [str(tmp_path / "out" / "config.py"), "--work-dir", str(work)]
    assert main([*command, "--epochs", "1", "--cfg-options", *IN_PROCESS]) == 0
    assert (work / "epoch_1.pth").is_file()
    assert main([*command, "--epochs", "2", "--resume", "--cfg-options", *IN_PROCESS]) == 0
    history = json.loads((work / "history.json").read_text(encoding="utf-8"))
    assert [row["epoch"] for row in history] == [1.0, 2.0]
    assert all("loss" in row and "bbox_mAP" in row for row in history)
    assert main([str(tmp_path / "none.py")]) == 2


def test_a_training_that_goes_on_for_longer_has_the_longer_schedule(small: DetectionData, tmp_path: Path) -> None:
    from piip_workers.tasks.detection.full_training import main

    write(small, tmp_path / "out")
    work = tmp_path / "work"
    command = [str(tmp_path / "out" / "config.py"), "--work-dir", str(work)]
    settings = ["--cfg-options", *IN_PROCESS, "train_cfg.val_interval=100"]

    def rates() -> list[float]:
        return [row["learning_rate"] for row in json.loads((work / "history.json").read_text(encoding="utf-8"))]

    assert main([*command, "--epochs", "3", *settings]) == 0
    assert rates() == pytest.approx([1e-4, 1e-4, 1e-5])  # a step after the second of three epochs
    assert main([*command, "--epochs", "6", "--resume", "--cfg-options", *IN_PROCESS, "train_cfg.max_epochs=5"]) == 0
    assert rates() == pytest.approx([1e-4, 1e-4, 1e-5, 1e-4, 1e-5])  # of six, after the fourth and the fifth
    assert main([*command, "--resume", *settings]) == 0  # as long as it was last meant to be
    assert rates() == pytest.approx([1e-4, 1e-4, 1e-5, 1e-4, 1e-5, 1e-6])


def test_a_corrupt_image_does_not_end_a_full_training(
    small: DetectionData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from piip_workers.tasks.detection.full_training import main

    assert small.root is not None
    (small.root / "train" / "0003.png").write_bytes(b"no picture")
    write(small, tmp_path / "out")
    work = tmp_path / "work"
    command = [str(tmp_path / "out" / "config.py"), "--work-dir", str(work), "--epochs", "1", "--cfg-options"]
    assert main([*command, *IN_PROCESS]) == 0
    assert Path((work / "unreadable.txt").read_text(encoding="utf-8").strip()).name == "0003.png"
    assert "1 training images cannot be decoded" in capsys.readouterr().err


def test_a_full_training_names_a_validation_image_that_is_none(
    small: DetectionData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from piip_workers.tasks.detection.full_training import main

    assert small.root is not None
    image = small.root / "val" / "0003.png"
    image.write_bytes(b"no picture")
    write(small, tmp_path / "out")
    command = [str(tmp_path / "out" / "config.py"), "--work-dir", str(tmp_path / "work"), "--epochs", "1"]
    assert main([*command, "--cfg-options", *IN_PROCESS]) == 2
    assert f"error: {image} cannot be decoded; restore the file, or remove it from the" in capsys.readouterr().err


def test_a_full_training_whose_loss_explodes_says_so(
    small: DetectionData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from piip_workers.tasks.detection.full_training import main

    write(small, tmp_path / "out")
    command = [str(tmp_path / "out" / "config.py"), "--work-dir", str(tmp_path / "work"), "--epochs", "9"]
    wild = ["--cfg-options", *IN_PROCESS, "optim_wrapper.optimizer.lr=1e30"]
    assert main([*command, *wild]) == 2
    assert "error: the loss is nan in epoch 2, step 1, at a learning rate of " in (said := capsys.readouterr().err)
    assert "; lower optim_wrapper.optimizer.lr, or set optim_wrapper.clip_grad.max_norm=1.0, and begin again" in said


def test_several_processes_train_together(small: DetectionData, tmp_path: Path) -> None:
    from piip_workers import launch

    write(small, tmp_path / "out")
    work = tmp_path / "work"
    share = ["train_dataloader.batch_size=8", *IN_PROCESS]
    command = [str(tmp_path / "out" / "config.py"), "--work-dir", str(work), "--epochs", "1", "--cfg-options", *share]
    assert launch.train(command, gpus=2) == 0
    assert (work / "epoch_1.pth").is_file()
    assert len(json.loads((work / "history.json").read_text(encoding="utf-8"))) == 1


def read_as_the_readme_says(folder: Path) -> dict[str, Any]:
    """Runs the Python block of an export's README in its folder, where there is an `image.jpg`."""
    (block,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)  # the documentation is what is tested
    return names


@pytest.mark.parametrize("shape", [(40, 90), (90, 40), (64, 64), (700, 300)])
@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_the_readme_reads_an_image_as_the_training_does(
    small: DetectionData, out: Path, monkeypatch: pytest.MonkeyPatch, form: str, shape: tuple[int, int]
) -> None:
    import cv2
    import numpy as np
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.dataset import Compose
    from mmengine.registry import DefaultScope

    from piip_workers.networks import onnx_export, torch_export

    write(small, out, ("mmdet", form), short_side=0.75)
    network = starting_weights.at_random(DESIGN, RANDOM).network
    if form == "onnx":
        onnx_export.write_onnx(DESIGN, network, out / form, out / "log.txt")
    else:
        torch_export.write_torch(DESIGN, network, out / form)
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    pixels[:, :, 2] = 255  # in OpenCV's order: red
    cv2.imwrite(str(out / "image.png"), pixels)
    (out / "image.png").rename(out / "image.jpg")
    monkeypatch.chdir(out)
    found = read_as_the_readme_says(out)
    image = torch.from_numpy(found["image"])
    assert image.dtype == torch.float32
    assert image.shape == (1, 3, DESIGN.resolution, DESIGN.resolution)

    config = Config.fromfile(out / "config.py")
    steps = [step for step in config.val_dataloader.dataset.pipeline if step.type != "LoadAnnotations"]
    with DefaultScope.overwrite_default_scope("mmdet"):
        packed = Compose(steps)({"img_path": str(out / "image.jpg"), "img_id": 1})
    batch = {"inputs": [packed["inputs"]], "data_samples": [packed["data_samples"]]}
    trained = MODELS.build(config.model.data_preprocessor)(batch, False)["inputs"]
    rows, columns = trained.shape[-2:]
    torch.testing.assert_close(image[:, :, :rows, :columns], trained)
    assert not image[:, :, rows:].any()
    assert not image[:, :, :, columns:].any()
    assert image[0, 0, 0, 0] == 1, "red comes first"

    with torch.no_grad():
        expected, swapped = (network.eval()(one) for one in (image, image.flip(1)))
    for number, (map_BCHW, own) in enumerate(zip(found["maps"], expected, strict=True)):
        torch.testing.assert_close(torch.as_tensor(map_BCHW), own, rtol=1e-3, atol=1e-4)
        assert not torch.allclose(swapped[number], own, rtol=1e-2), "the order of the channels matters"
