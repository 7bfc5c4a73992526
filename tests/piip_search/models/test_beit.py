"""BEiT's blocks: as timm's own, and their position biases pair by pair."""

import dataclasses
import itertools

import pytest

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning"),
    pytest.mark.usefixtures("seeded"),
]

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from piip_search.architecture import Branch  # noqa: E402
from piip_search.architecture.backbones import backbone_named  # noqa: E402
from piip_search.models.attention import RelativeAttention, attend  # noqa: E402
from piip_search.models.vit import VisionTransformer  # noqa: E402
from support.networks import TIGHT  # noqa: E402

import timm  # noqa: E402 isort:skip


def beit(image: tuple[int, int], keeps_prefix: bool) -> tuple[nn.Module, VisionTransformer]:
    """Two blocks of timm's BEiT for an image, and ours with the weights of its own size."""
    from piip_search.models.weights import pretrained

    own = timm.create_model("beit_base_patch16_224", num_classes=0, depth=2)
    for name, parameter in own.named_parameters():
        if name.endswith(("table", "bias", "gamma_1", "gamma_2", "cls_token")):
            nn.init.normal_(parameter, std=0.5)
    branch = VisionTransformer(Branch("beit_base_patch16_224", 224), keeps_prefix=keeps_prefix)
    branch.blocks = branch.blocks[:2]
    branch.load_state_dict(pretrained.branch_state(own.state_dict(), branch)[0])
    own.set_input_size(image)
    return own.eval(), branch.eval()


@pytest.mark.filterwarnings("ignore::UserWarning")  # of the interpolation in timm
@pytest.mark.parametrize("image", [(224, 224), (320, 256)])
def test_beit_equals_timms_with_its_class_token(image: tuple[int, int]) -> None:
    """At its own size, and where the table of relative positions is stretched (timm finds its q to 1e-6)."""
    own, branch = beit(image, keeps_prefix=True)
    x = torch.randn(2, 3, *image)
    with torch.no_grad():
        tokens = torch.cat([own.cls_token.expand(2, -1, -1), own.patch_embed(x)], 1)
        for block in own.blocks:
            tokens = block(tokens)
        found, prefix = branch.run(*branch.embed(x), range(2))
    assert prefix is not None
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if image != (224, 224) else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(torch.cat([prefix, found.flatten(1, 2)], 1), tokens, **tolerance)


def test_beits_windows_add_the_bias_of_every_pair() -> None:
    """Written out, pair by pair, for windows smaller and larger than the stored grid."""
    attention = RelativeAttention(
        dataclasses.replace(backbone_named("beit_base_patch16_224"), width=8, heads=2, relative_grid=3)
    ).double()
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = torch.randn(1, 4, 4, 8, dtype=torch.float64)
    table = attention.relative_position_bias_table[:-3].view(5, 5, 2)
    for window in (2, 3, 4):
        bias = attention.biases(window, window).view(2, window, window, window, window)
        for yq, xq, yk, xk in itertools.product(range(window), repeat=4):
            dy, dx = yq - yk, xq - xk
            if window <= 3:
                assert torch.equal(bias[:, yq, xq, yk, xk], table[dy + 2, dx + 2])
            elif abs(dy) <= 1 and abs(dx) <= 1:  # near offsets stay where they were
                torch.testing.assert_close(bias[:, yq, xq, yk, xk], table[dy + 2, dx + 2])
        corner = bias[:, window - 1, 0, 0, window - 1]
        torch.testing.assert_close(corner, table[min(4, window + 1), max(0, 3 - window)], rtol=1e-6, atol=1e-6)
    qkv = F.linear(x, attention.qkv.weight, torch.cat([attention.q_bias, torch.zeros(8), attention.v_bias]).double())
    rows = []
    for top, left in itertools.product((0, 2), repeat=2):
        q, k, v = qkv[0, top : top + 2, left : left + 2].reshape(4, 3, 2, 4).permute(1, 2, 0, 3)
        rows.append(((q @ k.mT / 2 + attention.biases(2, 2)).softmax(-1) @ v).transpose(0, 1).reshape(2, 2, 8))
    whole = torch.cat([torch.cat(rows[:2], 1), torch.cat(rows[2:], 1)])
    torch.testing.assert_close(attend(attention, x, 2)[0], attention.proj(whole), **TIGHT)
