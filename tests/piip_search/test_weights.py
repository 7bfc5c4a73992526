"""Pre-trained branches: real timm models with weights of their own, written to files and read back."""

import re
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")

from torch import nn  # noqa: E402

from piip_search.architecture import Architecture  # noqa: E402
from piip_search.backbones import backbone_named  # noqa: E402
from piip_search.models import PIIP  # noqa: E402
from piip_search.models.weights import WeightsError, load_pretrained  # noqa: E402


def published(name: str, folder: Path, ending: str = ".safetensors") -> Any:
    """A timm model with random weights, and the file that its authors would have published."""
    import timm  # after our models, which make torchvision importable

    torch.manual_seed(1)
    model = timm.create_model(name.partition(".")[0])
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.05)
    path = folder / f"{name}{ending}"
    if ending == ".safetensors":
        from safetensors.torch import save_file

        save_file(model.state_dict(), path)
    else:
        torch.save({"model": model.state_dict()}, path)
    return model.eval()


@pytest.mark.parametrize(
    ("name", "size", "ending"),
    [
        ("vit_tiny_patch16_224", 224, ".safetensors"),
        ("deit_tiny_patch16_224.fb_in1k", 224, ".pth"),
        ("vit_tiny_patch16_384", 384, ".pth"),
        ("test_vit2", 160, ".safetensors"),
        ("test_vit3", 160, ".safetensors"),
        ("beit_base_patch16_224", 224, ".pth"),
    ],
)
def test_a_branch_computes_what_timm_computes(name: str, size: int, ending: str, tmp_path: Path) -> None:
    """All the way to class scores, so class token, registers, positions and head are all in their places."""
    model = published(name, tmp_path, ending)
    network = PIIP(Architecture.parse(f"{name}@{size}:g/logits")).eval()
    facts = backbone_named(name)
    (taken,) = load_pretrained(network, tmp_path)
    assert taken.resampled == ()
    assert taken.fresh == ()
    image = torch.randn(2, 3, size, size)
    tokens = model.forward_features(image)
    ours = network(image)
    if model.num_classes == 1000 and facts.prefix and model.global_pool == "token":
        torch.testing.assert_close(ours, model.head(tokens[:, 0]), rtol=1e-4, atol=1e-5)
    else:  # another head or pooling: compare the last tokens before the norm
        x, _ = network.forward_branches(image)
        torch.testing.assert_close(
            model.norm(x[-1][0].flatten(2).transpose(1, 2)), tokens[:, model.num_prefix_tokens :], rtol=1e-4, atol=1e-5
        )


def test_a_convnext_computes_what_timm_computes(tmp_path: Path) -> None:
    model = published("convnext_atto.d2_in1k", tmp_path)
    network = PIIP(Architecture.parse("convnext_atto.d2_in1k@64")).eval()
    load_pretrained(network, tmp_path)
    image = torch.randn(1, 3, 64, 64)
    expected = model.forward_intermediates(image, intermediates_only=True)
    for ours, theirs in zip(network(image), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_short_names_take_the_weights_that_fit(tmp_path: Path) -> None:
    """DeiT tiny has no layer scale: ours stays at 1, and the branch computes the same."""
    published("deit_tiny_patch16_224.fb_in1k", tmp_path)
    network = PIIP(Architecture.parse("vit_t@224:g+vit_t@448:w14*2"))
    before = {name: tensor.clone() for name, tensor in network.interactions.state_dict().items()}
    taken = load_pretrained(network, tmp_path)
    assert all(name.endswith("gamma") for name in taken[0].fresh)
    assert "tensors of" in str(taken[0])
    assert torch.equal(network.branches[0].patch_embed.proj.weight, network.branches[1].patch_embed.proj.weight)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.interactions.state_dict().items())


def test_patches_and_positions_are_resampled(tmp_path: Path) -> None:
    published("vit_small_patch14_dinov2", tmp_path)
    network = PIIP(Architecture.parse("vit_small_patch14_dinov2@64:gp16"))
    (taken,) = load_pretrained(network, tmp_path)
    assert taken.resampled == ("patch_embed",)
    assert torch.isfinite(network.branches[0].patch_embed.proj.weight).all()


def test_a_refused_download_says_what_to_place_where() -> None:
    network = PIIP(Architecture.parse("vit_t@32:g"))
    with pytest.raises(WeightsError, match="cannot be downloaded") as caught:
        load_pretrained(network, "hub")
    assert "huggingface.co/timm/deit_tiny_patch16_224.fb_in1k/resolve/main/model.safetensors" in str(caught.value)
    assert "weights/deit_tiny_patch16_224.fb_in1k.safetensors" in str(caught.value)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    (tmp_path / "deit_tiny_patch16_224.fb_in1k.safetensors").write_bytes(b"not tensors")
    torch.save({"model": {"x": torch.zeros(1)}}, tmp_path / "other.pth")
    torch.save(Path("x"), tmp_path / "pickle.pth")
    torch.save([1], tmp_path / "list.pth")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("", "cannot be read"),
        ("none", "no weights of vit_t in"),
        ("other.pth", "tensors are missing"),
        ("pickle.pth", "cannot be read as tensors alone"),
        ("list.pth", "holds no tensors by name"),
    ],
)
def test_files_that_do_not_fit_are_said(broken: Path, file: str, message: str) -> None:
    with pytest.raises(WeightsError, match=re.escape(message)):
        load_pretrained(PIIP(Architecture.parse("vit_t@32:g")), broken / file)


def test_backbones_without_weights_say_so(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="vit_pico has no pre-trained weights"):
        load_pretrained(PIIP(Architecture.parse("vit_pico@32:g")), tmp_path)
