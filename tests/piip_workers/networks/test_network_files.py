"""The bare network as a torch program and as an ONNX file: maps or class scores, proved in another process."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("export")]

import numpy as np  # noqa: E402
from torch import nn  # noqa: E402

from piip_search.architecture import Architecture  # noqa: E402
from piip_search.errors import ExportError  # noqa: E402
from piip_search.export import Export, PixelNorm, write_export  # noqa: E402
from piip_search.models import PIIP, PIIPClassifier, PIIPPyramid  # noqa: E402
from piip_workers.networks.mlflow_model import _load_pyfunc  # noqa: E402
from piip_workers.networks.proof import Proof  # noqa: E402
from piip_workers.networks.torch_export import (  # noqa: E402
    classes_of,
    greatest_difference,
    prove_torch,
    write_torch,
)
from shades.task import ShadesPlan, ShadesTraining  # noqa: E402

CLASSES = 7
NORM: PixelNorm = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
DESIGNS = {merge: Architecture.parse(f"vit_nano@32:g+vit_pico@64:g*1/{merge}") for merge in ("linear", "logits")}


def classifier(merge: str) -> nn.Module:
    """A tiny network of class scores, which differ from class to class."""
    torch.manual_seed(0)
    design = DESIGNS[merge]
    network = PIIPClassifier(design, classes=CLASSES) if merge == "linear" else PIIP(design, outputs=CLASSES)
    return network.eval()


def spoiled(network: nn.Module) -> None:
    """Changes a single weight of the first branch."""
    name = "branches.0.patch_embed.proj.weight"
    with torch.no_grad():
        network.get_parameter(name if isinstance(network, PIIP) else f"piip.{name}").view(-1)[0] += 1.0


def proved_torch(design: Architecture, network: nn.Module, folder: Path) -> Proof:
    proof = Proof()
    prove_torch(design, network, folder, proof)
    return proof


@pytest.mark.parametrize("merge", DESIGNS)
def test_a_program_builds_the_class_that_the_network_is(tmp_path: Path, merge: str) -> None:
    network = classifier(merge)
    assert classes_of(network) == CLASSES
    write_torch(DESIGNS[merge], network, tmp_path / "torch", NORM)
    written = runpy.run_path(str(tmp_path / "torch" / "model.py"))
    built = written["build"]()
    assert type(built) is type(network)
    assert classes_of(written["build"](None)) == CLASSES
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert built(image).shape == (2, CLASSES)
        torch.testing.assert_close(built(image), network(image))
    assert "(pixel / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]" in written["__doc__"]
    assert "scores have the shape (B, 7)" in written["__doc__"]
    assert "maps" not in written["__doc__"]
    assert "squares of\n    64 x 64 pixels." in written["build"].__doc__


def test_a_program_of_maps_says_so(tmp_path: Path) -> None:
    design = Architecture.parse("vit_nano@32:g+vit_pico@64:g*1")
    network = PIIPPyramid(design).eval()
    assert classes_of(network) is None
    write_torch(design, network, tmp_path)
    written = runpy.run_path(str(tmp_path / "model.py"))
    assert "maps = network(images)" in written["__doc__"]
    assert "(pixel - 127.5) / 127.5" in written["__doc__"]
    assert "scores" not in written["__doc__"]
    assert isinstance(written["build"](), PIIPPyramid)


@pytest.mark.parametrize("network", [nn.Linear(1, 1), PIIP(Architecture.parse("vit_pico@32:g"))])
def test_other_networks_have_no_program(tmp_path: Path, network: nn.Module) -> None:
    with pytest.raises(ExportError, match=f"a network of {type(network).__name__} has no torch export"):
        write_torch(Architecture.parse("vit_pico@32:g"), network, tmp_path / "torch")
    assert not (tmp_path / "torch").exists()


@pytest.mark.slow
@pytest.mark.parametrize("merge", DESIGNS)
def test_a_program_of_scores_is_proved_and_a_wrong_weight_fails(tmp_path: Path, merge: str) -> None:
    network = classifier(merge)
    write_torch(DESIGNS[merge], network, tmp_path / "torch", NORM)
    proof = proved_torch(DESIGNS[merge], network, tmp_path / "torch")
    assert proof.failures == []
    assert [check.name for check in proof.checks] == ["torch: greatest relative difference of the scores"]
    assert "one image of 64 x 64 pixels" in proof.checks[0].note
    spoiled(network)
    (changed,) = proved_torch(DESIGNS[merge], network, tmp_path / "torch").checks
    assert not changed.passed
    assert changed.found > 1e-3, "more than rounding"


@pytest.mark.slow
@pytest.mark.parametrize("merge", DESIGNS)
def test_an_onnx_file_of_scores_is_proved_and_a_wrong_weight_fails(tmp_path: Path, merge: str) -> None:
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    import onnxruntime

    from piip_workers.networks.onnx_export import maps_of, prove_onnx, write_onnx

    design, network, log = DESIGNS[merge], classifier(merge), tmp_path / "proof.log"
    write_onnx(design, network, tmp_path / "onnx", log)
    file = tmp_path / "onnx" / "model.onnx"
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    assert [(output.name, output.shape) for output in session.get_outputs()] == [("scores", [1, CLASSES])]
    assert [scores.shape for scores in maps_of(file, torch.zeros(1, 3, 64, 64))] == [(1, CLASSES)]
    proof, changed = Proof(), Proof()
    prove_onnx(design, network, tmp_path / "onnx", proof, log)
    assert proof.failures == []
    assert {check.name.rpartition(": ")[2] for check in proof.checks} == {
        "problems of the file",
        "greatest relative difference of the scores",
    }
    assert any(check.name.startswith("onnx, interactions opened") for check in proof.checks)
    spoiled(network)
    prove_onnx(design, network, tmp_path / "onnx", changed, log)
    assert "onnx: greatest relative difference of the scores" in "\n".join(changed.failures)

    image = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)
    served = _load_pyfunc(str(tmp_path / "onnx")).predict({"image": image})
    assert {name: scores.shape for name, scores in served.items()} == {"scores": (1, CLASSES)}


@pytest.mark.parametrize("merge", ["linear", "logits", None])
def test_a_served_program_names_what_it_gives(tmp_path: Path, merge: str | None) -> None:
    design = Architecture.parse("vit_nano@32:g+vit_pico@64:g*1") if merge is None else DESIGNS[merge]
    network = PIIPPyramid(design).eval() if merge is None else classifier(merge)
    write_torch(design, network, tmp_path, NORM)
    image = np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32)
    found = _load_pyfunc(str(tmp_path)).predict(image)
    with torch.no_grad():
        expected = network(torch.from_numpy(image))
    if merge is None:
        assert list(found) == ["stride_4", "stride_8", "stride_16", "stride_32"]
    else:
        assert list(found) == ["scores"]
        torch.testing.assert_close(torch.from_numpy(found["scores"]), expected)


def test_a_difference_is_of_one_tensor_or_of_several() -> None:
    one, other = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]])
    assert greatest_difference(one, other) == greatest_difference([one], other) == 0.5
    assert greatest_difference([one, one], (one, other)) == 0.5
    with pytest.raises(ValueError, match="argument 2 is longer"):
        greatest_difference([one], (one, other))
    with pytest.raises(ValueError, match=r"expected the shape \(1, 1\), found \(1, 2\)"):
        greatest_difference(one, one[:, :1])


def test_a_value_that_is_no_number_agrees_with_nothing() -> None:
    fine, spoilt = torch.ones(1, 2), torch.tensor([[1.0, torch.nan]])
    assert not greatest_difference([fine, spoilt], (fine, fine)) <= 1
    assert not greatest_difference([fine, fine], (fine, spoilt)) <= 1


class OfCentres(ShadesTraining):
    """A training that measures the centre of an image, and not all of its shorter side."""

    @property
    def measured_share(self) -> float:
        return 0.8


def plan_of(training: ShadesTraining) -> ShadesPlan:
    return ShadesPlan(training, "short", norm=NORM, reading="crop", outputs=f"the scores of {CLASSES} classes")


@pytest.mark.slow
@pytest.mark.parametrize("share", [1.0, 0.8])
@pytest.mark.parametrize("shape", [(90, 141), (200, 75), (64, 64), (31, 40)])
def test_the_readme_reads_an_image_as_a_classifier_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], share: float
) -> None:
    from PIL import Image

    from piip_search.models._torchvision import import_torchvision

    import_torchvision()
    from timm.data import create_transform

    network, design = classifier("linear"), DESIGNS["linear"]
    training = ShadesTraining() if share == 1 else OfCentres()
    write_export(Export(design, plan_of(training), ("torch",)), tmp_path)
    write_torch(design, network, tmp_path / "torch", NORM)
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    (tmp_path / "image.png").rename(tmp_path / "image.jpg")
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", (tmp_path / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    found: dict[str, Any] = {}
    exec(block, found)  # the documentation is what is tested

    measured = create_transform(64, is_training=False, interpolation="bicubic", crop_pct=share)
    expected = measured(Image.fromarray(pixels))[None]
    assert found["image"].dtype == np.float32
    torch.testing.assert_close(torch.from_numpy(found["image"]), expected, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(found["scores"], network(expected), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["probabilities"].sum(1), torch.ones(1))
