"""Which residuals a training skips, and how often: the authors' rates."""

import re

import pytest

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning"),
    pytest.mark.usefixtures("seeded"),
]

from torch import nn  # noqa: E402

from piip_search.architecture import Architecture  # noqa: E402
from piip_search.models import PIIP  # noqa: E402
from piip_search.models.drop_path import DropPath  # noqa: E402


def test_drop_path_rates_must_fit_the_branches() -> None:
    with pytest.raises(ValueError, match="one rate a branch: 2, got 1"):
        PIIP(Architecture.parse("vit_nano@32:g+vit_pico@64:g*2"), drop_path=[0.1])


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_drop_path_rates_are_chances(rate: float) -> None:
    with pytest.raises(ValueError, match=re.escape(f"lie in [0, 1), got {rate}")):
        PIIP(Architecture.parse("vit_nano@32:g"), drop_path=[rate])
    with pytest.raises(ValueError, match=re.escape(f"lie in [0, 1), got {rate}")):
        PIIP(Architecture.parse("vit_nano@32:g+vit_pico@64:g*2"), interaction_drop_path=rate)


# The rate at the first, second and last block of a branch, by the authors' classes: constant where DeiT's weights are
# loaded (`deit.py`), rising from zero in `internvit_6b.py` and in the ConvNeXt of the transformers library, whose
# downsampling layers have none.
@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("vit_b@32:g", [0.3, 0.3, 0.3]),
        ("deit3_base_patch16_224@32:g", [0.3, 0.3, 0.3]),
        ("vit_h@32:g", [0, 0.3 / 31, 0.3]),
        ("vit_base_patch14_dinov2@28:g", [0, 0.3 / 11, 0.3]),
        ("beit_base_patch16_224@32:g", [0, 0.3 / 11, 0.3]),
        ("convnext_t@32", [0, 0.3 / 17, 0.3]),
    ],
)
def test_drop_path_rates_are_the_authors(name: str, rates: list[float]) -> None:
    with torch.device("meta"):
        blocks = PIIP(Architecture.parse(name), drop_path=[0.3]).branches[0].blocks
    found = [
        module.rate
        for block in (blocks[0], blocks[1], blocks[-1])
        for module in block.modules()
        if isinstance(module, DropPath)
    ]
    per_block = len(found) // 3
    assert found == pytest.approx([rate for rate in rates for _ in range(per_block)])
    every = [module.rate for block in blocks for module in block.modules() if isinstance(module, DropPath)]
    assert len(every) == per_block * sum(not isinstance(block, nn.Sequential) for block in blocks)
    assert every == sorted(every)


def test_drop_path_skips_residuals_of_whole_images() -> None:
    model = PIIP(Architecture.parse("vit_micro@32:g"), drop_path=[0.5])
    block, image = model.branches[0].blocks[0], torch.randn(64, 1, 2, 128)
    kept = model.branches[0].run(image, None, range(1))[0] - image
    alone = model.eval().branches[0].run(image, None, range(1))[0] - image
    skipped = (kept == 0).flatten(1).all(1)
    assert 0 < skipped.sum() < 64 * 0.5  # both residuals of a block are skipped in a quarter of the images
    assert block.drop_path1.rate == 0.5
    assert not (alone == 0).flatten(1).all(1).any()


def test_drop_path_of_interactions_skips_the_ffn_alone() -> None:
    model = PIIP(Architecture.parse("vit_micro@32:g+vit_pico@64:g*1"), interaction_drop_path=0.5)
    injector = model.interactions[0][0].large_reads
    nn.init.ones_(injector.tau)
    query, feature = torch.randn(64, 2, 2, 128), torch.randn(64, 4, 4, 64)
    skipped = (injector(query, feature) == query).flatten(1).all(1)  # the gate of the attention is zero
    assert 16 < skipped.sum() < 48
    nn.init.ones_(injector.gamma)
    assert not (injector(query, feature) == query).flatten(1).all(1).any()
