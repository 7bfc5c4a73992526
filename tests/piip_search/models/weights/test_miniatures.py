"""The miniature weights: their files, and what they are worth beside random weights."""

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from piip_search.architecture import Architecture
from piip_search.architecture.backbones import BACKBONES, backbone_named
from piip_search.architecture.miniatures import MINIATURE, miniature_digest, miniature_names
from piip_search.errors import WeightsError
from support import ROOT

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")

from piip_search.models import PIIP  # noqa: E402
from piip_search.models.weights.pretrained import load_pretrained  # noqa: E402

FOLDER = ROOT / "piip_search" / "architecture" / "miniature_weights"

FEATURES = {
    "convnext_pico": [1.6046, 1.3987, -0.3224, -0.6052],
    "convnext_yocto": [1.5504, 1.741, 1.4318, -1.0714],
    "vit_micro": [2.0139, -2.8576, 1.2266, -0.7892],
    "vit_nano": [1.9579, 1.2342, 1.8312, 4.0699],
    "vit_pico": [1.9503, -3.7293, 1.2931, 0.3831],
}


def branch_of(name: str, side: int = 64) -> PIIP:
    attention = "" if backbone_named(name).family == "convnext" else ":g"
    torch.manual_seed(0)
    return PIIP(Architecture.parse(f"{name}@{side}{attention}")).eval()


@pytest.mark.parametrize("name", miniature_names())
def test_a_file_has_every_tensor_of_its_branch(name: str) -> None:
    network = branch_of(name)
    (taken,) = load_pretrained(network, MINIATURE)
    assert taken.fresh == ()
    assert taken.resampled == ()
    assert all(torch.isfinite(tensor).all() for tensor in network.state_dict().values())


def test_patches_of_another_size_are_resampled() -> None:
    network = PIIP(Architecture.parse("vit_nano@64:gp8")).eval()
    (taken,) = load_pretrained(network, MINIATURE)
    assert taken.resampled == ("patch_embed",)


def test_several_branches_take_the_files_of_their_own() -> None:
    network = PIIP(Architecture.parse("vit_nano@32:g+vit_pico@64:g*1/residual")).eval()
    taken = load_pretrained(network, MINIATURE)
    assert [one.fresh for one in taken] == [(), ()]
    assert [len(one.resampled) for one in taken] == [0, 0]


def test_a_backbone_without_them_names_those_that_have() -> None:
    with pytest.raises(WeightsError, match="no miniature weights of vit_t; vit_micro, vit_nano, vit_pico, "):
        load_pretrained(PIIP(Architecture.parse("vit_t@32:g+vit_nano@64:g*0/residual")), MINIATURE)


@pytest.mark.parametrize("name", miniature_names())
def test_a_file_of_another_backbone_is_refused(name: str) -> None:
    other = next(one for one in miniature_names() if one != name)
    with pytest.raises(WeightsError, match=f"is no checkpoint of {name}: .*; give a file of {name}"):
        load_pretrained(branch_of(name), FOLDER / f"{other}.safetensors")


@pytest.mark.parametrize("name", miniature_names())
def test_a_folder_of_own_files_is_read_by_name(name: str, tmp_path: Path) -> None:
    shutil.copy(FOLDER / f"{name}.safetensors", tmp_path)
    network, same = branch_of(name), branch_of(name)
    load_pretrained(network, tmp_path)
    load_pretrained(same, MINIATURE)
    states = zip(network.state_dict().values(), same.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in states)


def test_a_small_convnext_computes_what_timms_class_computes(tmp_path: Path) -> None:
    """A file as `benchmarks/miniatures.py` writes it: tensors of timm's class, in float16."""
    from safetensors.torch import save_file
    from timm.models import convnext  # after our models, which make torchvision importable

    torch.manual_seed(1)
    facts = BACKBONES["convnext_yocto"]
    model = convnext.ConvNeXt(depths=facts.depths, dims=facts.widths, num_classes=0).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    save_file(
        {name: tensor.half() for name, tensor in model.state_dict().items()}, tmp_path / "convnext_yocto.safetensors"
    )
    model.half().float()
    network = branch_of("convnext_yocto")
    (taken,) = load_pretrained(network, tmp_path)
    assert taken.fresh == ()
    image_BCHW = torch.randn(1, 3, 64, 64)
    expected = model.forward_intermediates(image_BCHW, intermediates_only=True)
    for ours, theirs in zip(network(image_BCHW), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def _features(network: PIIP) -> torch.Tensor:
    """The mean of the map of a picture of rings."""
    rows_HW, columns_HW = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    rings_HW = torch.sin(20 * (rows_HW**2 + columns_HW**2))
    with torch.inference_mode():
        return _last_map(network, torch.stack([rings_HW, rows_HW, columns_HW])[None]).mean((0, 2, 3))


def _last_map(network: PIIP, x_BCHW: torch.Tensor) -> torch.Tensor:
    """The map of a ViT, or the one of stride 32 of a ConvNeXt."""
    maps = network(x_BCHW)
    return maps if isinstance(maps, torch.Tensor) else maps[-1]


@pytest.mark.parametrize("name", miniature_names())
def test_features_are_those_of_the_files_that_were_judged(name: str) -> None:
    """Deviation over channels, and the first three; written down when the figures of the card were measured."""
    network = branch_of(name)
    load_pretrained(network, MINIATURE)
    features_C = _features(network)
    found = [float(features_C.std()), *map(float, features_C[:3])]
    assert found == pytest.approx(FEATURES[name], abs=1e-3)


def _neighbours(network: PIIP) -> float:
    """Share of scikit-learn's digits that ten neighbours by the mean of the map tell; every fifth is asked."""
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    classes_N, asked_N = torch.tensor(digits.target), torch.arange(len(digits.target)) % 5 == 0
    pixels_BCHW = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    with torch.inference_mode():
        features_NC = torch.cat(
            [
                _last_map(network, part.repeat(1, 3, 1, 1)).mean((2, 3))
                for part in torch.nn.functional.interpolate(pixels_BCHW, (128, 128), mode="bicubic").split(50)
            ]
        )
    features_NC = torch.nn.functional.normalize(features_NC - features_NC[~asked_N].mean(0))
    nearest = (features_NC[asked_N] @ features_NC[~asked_N].T).topk(10).indices
    votes = torch.nn.functional.one_hot(classes_N[~asked_N][nearest], 10).sum(1).argmax(1)
    return float((votes == classes_N[asked_N]).double().mean())


@pytest.mark.slow
@pytest.mark.parametrize("name", miniature_names())
def test_features_tell_digits_apart_better_than_random_ones(name: str) -> None:
    """At the size of the card's figures, 128 px; its random and miniature shares are 0.37 to 0.46 and 0.58 to 0.85."""
    network = branch_of(name, 128)
    before = _neighbours(network)
    load_pretrained(network, MINIATURE)
    assert _neighbours(network) > before + 0.05


def test_the_card_lists_each_file_as_it_is() -> None:
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(\w+)\.safetensors` \|.*\| `([0-9a-f]{64})` \|$", card, re.MULTILINE))
    files = sorted(FOLDER.glob("*.safetensors"))
    assert listed == {file.stem: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    assert {file.stem for file in files} == set(miniature_names())
    lines = "".join(f"{name} {listed[name]}\n" for name in miniature_names())
    assert miniature_digest() == hashlib.sha256(lines.encode()).hexdigest()


@pytest.mark.slow
def test_a_wheel_holds_them(tmp_path: Path) -> None:
    for package in ("build", "hatchling"):
        pytest.importorskip(package)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        held = {name for name in packed.namelist() if "/miniature_weights/" in name}
    wanted = {*(f"{name}.safetensors" for name in miniature_names()), "MODEL_CARD.md", "ATTRIBUTION.csv"}
    assert {Path(name).name for name in held} == wanted


def test_the_files_are_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.glob("*.safetensors")) <= 5_000_000
