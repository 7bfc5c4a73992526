"""What memory is predicted against what torch keeps."""

import pytest

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning"),
    pytest.mark.usefixtures("seeded"),
]

from piip_search.architecture import Architecture  # noqa: E402
from piip_search.cost import Step, breakdown, kept_by_checkpoints, memory, price, training_bytes  # noqa: E402
from piip_search.models import PIIP  # noqa: E402
from piip_search.tasks.detection.head import COCO_MASK_RCNN  # noqa: E402
from support.counting import kept_values, live_values  # noqa: E402
from support.networks import DESIGNS, LABELS  # noqa: E402

MEMORY = [
    *DESIGNS,
    *LABELS,
    "vit_s@224:w7+vit_t@448:w7*2",
    "vit_b@112:g+vit_s@224:w14+vit_t@448:w14*4",
    "vit_w640_d12_h10@64:g+vit_t@224:g*2",
    "vit_b@64:g+convnext_t@128*4",
    "convnextv2_atto@64",
    "aimv2_large_patch14_224@28:g",
    "beit3_base_patch16_224@32:g",
    "vit_base_patch16_rpn_224@64:w3",
    "vit_pwee_patch16_reg1_gap_256@64:w3",
    "vit_small_patch16_18x2_224@64:w3",
    "vit_medium_patch16_gap_256@64:g/logits",
    "vit_base_patch16_clip_224@64:g",
]


@pytest.mark.parametrize("name", MEMORY)
def test_memory_is_what_torch_keeps(name: str) -> None:
    architecture = Architecture.parse(name)
    image = torch.randn(1, 3, architecture.resolution, architecture.resolution)
    model = PIIP(architecture)
    kept = kept_values(model.train(), image)
    assert price(architecture, "backbone").saved_values == pytest.approx(kept, rel=0.05)
    live = (memory(architecture).inference - 4 * price(architecture, "backbone").params) / 4
    assert live == pytest.approx(live_values(model.eval(), image), rel=0.15)


def test_memory_grows_with_images_and_bytes() -> None:
    architecture = Architecture.parse("vit_s@224:w7+vit_t@448:w7*2")
    one, two = memory(architecture), memory(architecture, images=2)
    assert memory(architecture, images=2, value_bytes=2) == one
    assert two.training > one.training > one.inference
    assert memory(architecture, "whole", head=COCO_MASK_RCNN).training > memory(architecture, "backbone").training


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "vit_micro@64:g+vit_nano@128:w3*2",
        "vit_micro@64:g+convnext_pico@128*4",
        "vit_s@224:w7+vit_t@448:w7*2",
        "vit_b@112:g+vit_s@224:w14+vit_t@448:w14*4",
        *LABELS,
        "vit_medium_patch16_gap_256@64:g/logits",
        "vit_base_patch16_clip_224@64:g/logits",
    ],
)
def test_memory_under_checkpointing_is_what_torch_keeps(name: str) -> None:
    architecture = Architecture.parse(name)
    side = architecture.resolution
    image = torch.randn(1, 3, side, side)
    inputs, again = kept_by_checkpoints(architecture, architecture.sides((side, side)))
    merge = sum(part.cost.saved_values for part in breakdown(architecture, "backbone") if part.group == "merge")
    kept = kept_values(PIIP(architecture, checkpointing=True).train(), image)
    assert inputs + merge == pytest.approx(kept, rel=0.02)
    whole = kept_values(PIIP(architecture).train(), image)
    calls = sum(branch.model.depth for branch in architecture.branches)
    assert (whole - merge) / (calls + architecture.interaction.count * len(architecture.branches)) < again < whole


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", LABELS)
def test_the_training_of_scores_and_tokens_takes_what_torch_keeps(name: str, checkpointing: bool) -> None:
    """Without a detector, which reads neither: weights with their state, and what is kept of an image."""
    architecture = Architecture.parse(name)
    model = PIIP(architecture, checkpointing=checkpointing).train()
    kept = kept_values(model, torch.randn(1, 3, architecture.resolution, architecture.resolution))
    if checkpointing:
        again = kept_by_checkpoints(architecture, architecture.sides((architecture.resolution,) * 2))[1]
        kept += again
    weights = sum(parameter.numel() for parameter in model.parameters())
    one, three = (training_bytes(architecture, Step(images=n, checkpointing=checkpointing)) for n in (1, 3))
    assert one - 16 * weights == pytest.approx(4 * kept, rel=0.05)
    assert three - one == 2 * (one - 16 * weights)


@pytest.mark.parametrize(("name", "outputs"), [("vit_nano@64:g/logits", 21), ("vit_nano@64:g/tokens", 5120)])
def test_the_training_of_other_outputs_takes_other_memory(name: str, outputs: int) -> None:
    architecture = Architecture.parse(name)
    model = PIIP(architecture, outputs=outputs).train()
    kept = kept_values(model, torch.randn(1, 3, 64, 64))
    weights = sum(parameter.numel() for parameter in model.parameters())
    found = training_bytes(architecture, Step(outputs=outputs))
    assert found - 16 * weights == pytest.approx(4 * kept, rel=0.05)
    assert found != training_bytes(architecture, Step())


def test_the_half_of_an_image_and_half_the_precision_take_less() -> None:
    scores = Architecture.parse("vit_micro@64:g+vit_nano@128:g*4/logits")
    whole = training_bytes(scores, Step(images=8))
    assert training_bytes(scores, Step(images=8, image_scale=0.5)) < whole
    assert training_bytes(scores, Step(images=8, short_side=0.5)) < whole
    assert training_bytes(scores, Step(images=8, bfloat16=True)) < whole
