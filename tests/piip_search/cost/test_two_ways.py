"""What is written in two ways, one for CPUs and one for GPUs, is one sum: forward and gradients, in float64."""

from collections.abc import Callable, Sequence

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("seeded")

from torch import Tensor  # noqa: E402

from piip_search.architecture import Architecture  # noqa: E402
from piip_search.models import PIIP  # noqa: E402
from piip_search.models.resize import Mode, resize  # noqa: E402
from piip_search.models.vit import embed_patches  # noqa: E402


def equal(ways: Callable[[bool], Tensor], inputs: Sequence[Tensor]) -> None:
    one, other = ways(False), ways(True)
    torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-12)
    towards = torch.randn_like(one)
    gradients = [torch.autograd.grad(found, inputs, towards) for found in (one, other)]
    for expected, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("old", "new"), [((14, 14), (24, 9)), ((4, 6), (3, 6)), ((7, 7), (40, 1)), ((1, 2), (5, 5))])
def test_maps_resize_by_matrices(mode: Mode, old: tuple[int, int], new: tuple[int, int]) -> None:
    map_ = torch.randn(2, 5, *old, dtype=torch.float64, requires_grad=True)
    assert resize(map_, *new, mode).shape == (2, 5, *new)
    equal(lambda by_matrices: resize(map_, *new, mode, by_matrices), [map_])


@pytest.mark.parametrize("name", ["vit_nano@32:g", "vit_small_patch14_dinov2@28:g", "vit_base_patch16_clip_224@32:g"])
@pytest.mark.parametrize("sides", [(32, 32), (61, 40)])
def test_patches_embed_by_a_product(name: str, sides: tuple[int, int]) -> None:
    embedding = PIIP(Architecture.parse(name)).double().branches[0].patch_embed
    image = torch.randn(2, 3, *sides, dtype=torch.float64, requires_grad=True)
    equal(lambda by_product: embed_patches(embedding, image, by_product), [image, *embedding.parameters()])
