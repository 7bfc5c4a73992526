"""The modules against plain references written out here, and against the closed form."""

import math
import re
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning"),
    pytest.mark.usefixtures("seeded"),
]

import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from piip_search.architecture import Architecture, Branch  # noqa: E402
from piip_search.architecture.segments import ONE_MAP_MERGES  # noqa: E402
from piip_search.cost import price, published_head_cost  # noqa: E402
from piip_search.models import PIIP, PIIPClassifier, PIIPPyramid  # noqa: E402
from piip_search.models.attention import WidthNormAttention, attend  # noqa: E402
from piip_search.models.interaction import DeformableAttention, RegularAttention  # noqa: E402
from piip_search.models.kernels.streams import ONE  # noqa: E402
from piip_search.models.vit import VisionTransformer  # noqa: E402
from support.counting import kept_values, parameters  # noqa: E402
from support.networks import DESIGNS, LABELS, TIGHT, open_gates  # noqa: E402


def deformable_by_loops(attention: DeformableAttention, query: Tensor, feature: Tensor) -> Tensor:
    """Deformable DETR's equation 2 for one image, sample by sample."""
    (_, Hq, Wq, _), (_, Hf, Wf, _) = query.shape, feature.shape
    M, P = attention.heads, attention.points
    value = attention.value_proj(feature)[0].view(Hf, Wf, M, -1)
    rows = []
    for i in range(Hq):
        for j in range(Wq):
            q = query[0, i, j]
            offsets = attention.sampling_offsets(q).view(M, P, 2)
            weights = attention.attention_weights(q).view(M, P).softmax(-1)
            heads = []
            for m in range(M):
                total = torch.zeros_like(value[0, 0, m])
                for p in range(P):
                    # Pixel coordinates of the map that is read; token centres at half coordinates.
                    x = (j + 0.5) / Wq * Wf + offsets[m, p, 0] - 0.5
                    y = (i + 0.5) / Hq * Hf + offsets[m, p, 1] - 0.5
                    x0, y0 = math.floor(x.item()), math.floor(y.item())
                    for yy, xx in ((y0, x0), (y0, x0 + 1), (y0 + 1, x0), (y0 + 1, x0 + 1)):
                        if 0 <= yy < Hf and 0 <= xx < Wf:
                            share = (1 - (x - xx).abs()) * (1 - (y - yy).abs())
                            total = total + weights[m, p] * share * value[yy, xx, m]
                heads.append(total)
            rows.append(attention.output_proj(torch.cat(heads)))
    return torch.stack(rows).view(1, Hq, Wq, -1)


def test_deformable_attention_equals_loops_forward_and_backward() -> None:
    attention = DeformableAttention(width=16, heads=4, points=3).double()
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.5)
    query = torch.randn(1, 3, 4, 16, dtype=torch.float64, requires_grad=True)
    feature = torch.randn(1, 5, 2, 16, dtype=torch.float64, requires_grad=True)
    inputs = [query, feature, *attention.parameters()]
    found = attention(query, feature)
    expected = deformable_by_loops(attention, query, feature)
    torch.testing.assert_close(found, expected, **TIGHT)
    towards = torch.randn_like(found)
    for got, wanted in zip(
        torch.autograd.grad(found, inputs, towards), torch.autograd.grad(expected, inputs, towards), strict=True
    ):
        torch.testing.assert_close(got, wanted, **TIGHT)


def test_deformable_attention_passes_gradcheck() -> None:
    attention = DeformableAttention(width=8, heads=2, points=2).double()
    nn.init.normal_(attention.sampling_offsets.weight, std=0.1)
    query = torch.randn(1, 2, 2, 8, dtype=torch.float64, requires_grad=True)
    feature = torch.randn(1, 3, 2, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(attention, (query, feature))


def test_offsets_start_as_a_compass() -> None:
    bias = DeformableAttention(width=64, heads=16, points=4).sampling_offsets.bias.view(16, 4, 2)
    torch.testing.assert_close(bias[0], torch.tensor([[1.0, 0], [2, 0], [3, 0], [4, 0]]))
    torch.testing.assert_close(bias[:, 3].abs().amax(-1), torch.full((16,), 4.0))


@pytest.mark.parametrize(("height", "width", "window"), [(6, 9, 3), (5, 7, 4), (2, 3, 5), (3, 5, None)])
@pytest.mark.parametrize("backbone", ["vit_pico", "test_vit3", "width_norm"])
def test_windows_equal_full_attention_with_a_mask(height: int, width: int, window: int | None, backbone: str) -> None:
    """The authors' way: zeros fill up windows before the projections and are attended to like any token."""
    attention = (
        WidthNormAttention(64, 2)
        if backbone == "width_norm"
        else VisionTransformer(Branch(backbone, 64)).blocks[0].attn
    )
    attention.double()  # large weights, and no rounding to hide behind
    channels = attention.qkv.in_features
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.3)
    x = torch.randn(2, height, width, channels, dtype=torch.float64, requires_grad=True)
    h, w = (height, width) if window is None else (window, window)
    H, W = math.ceil(height / h) * h, math.ceil(width / w) * w
    padded = F.pad(x, (0, 0, 0, W - width, 0, H - height)).flatten(1, 2)
    row = torch.arange(H)[:, None].expand(H, W).flatten() // h
    column = torch.arange(W)[None].expand(H, W).flatten() // w
    same = (row[:, None] == row[None]) & (column[:, None] == column[None])
    q, k, v = attention.qkv(padded).chunk(3, -1)
    if backbone == "width_norm":
        q, k = attention.q_norm(q), attention.k_norm(k)
    q, k, v = (part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for part in (q, k, v))
    if backbone != "width_norm":
        q, k = attention.q_norm(q), attention.k_norm(k)
    scores = (q @ k.transpose(-2, -1)) / math.sqrt(q.shape[-1])
    read = (scores.masked_fill(~same, -math.inf).softmax(-1) @ v).transpose(1, 2).flatten(2)
    expected = attention.proj(read).view(2, H, W, channels)[:, :height, :width]
    found = attend(attention, x, window)
    torch.testing.assert_close(found, expected, **TIGHT)
    towards, inputs = torch.randn_like(found), [x, *attention.parameters()]
    for got, wanted in zip(
        torch.autograd.grad(found, inputs, towards), torch.autograd.grad(expected, inputs, towards), strict=True
    ):
        torch.testing.assert_close(got, wanted, **TIGHT)


def test_regular_attention_equals_a_plain_softmax() -> None:
    attention = RegularAttention(16, 4, 24)
    query, feature = torch.randn(2, 3, 4, 16), torch.randn(2, 5, 2, 24)
    q = attention.query_proj(query.flatten(1, 2)).view(2, 12, 4, 4)
    k, v = attention.key_value_proj(feature.flatten(1, 2)).view(2, 10, 2, 4, 4).unbind(2)
    weights = (torch.einsum("bnhd,bmhd->bhnm", q, k) / 2).softmax(-1)
    read = torch.einsum("bhnm,bmhd->bnhd", weights, v).flatten(2)
    torch.testing.assert_close(attention(query, feature), attention.output_proj(read).view(2, 3, 4, 16), **TIGHT)


@pytest.mark.parametrize("name", LABELS)
def test_labels_and_tokens_come_out(name: str) -> None:
    architecture = Architecture.parse(name)
    model = PIIP(architecture, interaction_drop_path=0.0)
    open_gates(model)
    output = model(torch.randn(2, 3, architecture.resolution, architecture.resolution))
    grid = architecture.branches[architecture.output].grid ** 2
    assert tuple(output.shape) == ((2, 1000) if architecture.merge == "logits" else (2, grid, 4096))
    output.square().mean().backward()
    # Tokens reach class scores through the class token alone, so interactions at the end learn nothing.
    spared = ("interactions.", "pos_embed") if architecture.merge == "logits" else ("pos_embed", "prefix")
    without = [n for n, p in model.named_parameters() if p.grad is None and not any(part in n for part in spared)]
    assert without == []


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("size", ["nominal", "wide"])
def test_any_design_runs_forward_and_backward(name: str, size: str) -> None:
    architecture = Architecture.parse(name)
    side = architecture.resolution
    image = torch.randn(2, 3, side, side if size == "nominal" else side + 32)
    model = PIIPPyramid(architecture, interaction_drop_path=0.0)
    open_gates(model)
    maps = model(image)
    widths = [width for width, _ in architecture.merged] * (4 // len(architecture.merged))
    assert [tuple(m.shape[1:]) for m in maps[:3]] == [
        (width, image.shape[2] // stride, image.shape[3] // stride)
        for width, stride in zip(widths[:3], (4, 8, 16), strict=True)
    ]
    assert all(m.is_contiguous() and torch.isfinite(m).all() for m in maps)
    sum(m.square().mean() for m in maps).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert without == []


@pytest.mark.parametrize("name", [name for name in DESIGNS if "+" in name])
def test_closed_gates_leave_every_branch_as_it_is_alone(name: str) -> None:
    architecture = Architecture.parse(name)
    model = PIIP(architecture).eval()
    image = torch.randn(1, 3, architecture.resolution, architecture.resolution)
    together = model.forward_branches(image)[0][-1]
    for index, branch in enumerate(architecture.branches):
        convolutional = branch.model.family == "convnext"
        alone = PIIP(Architecture((branch,), merge="pyramid" if convolutional else "conv")).eval()
        alone.branches[0].load_state_dict(model.branches[index].state_dict())
        assert torch.equal(alone.forward_branches(model._resized(image, index))[0][-1][0], together[index])


def test_details_travel_down_within_one_interaction() -> None:
    architecture = Architecture.parse("vit_micro@32:g+vit_nano@64:g+vit_pico@128:g*1")
    model = PIIP(architecture).eval()
    open_gates(model)
    tokens = [torch.randn(1, b.grid, b.grid, b.model.width) for b in architecture.branches]
    changed = [*tokens[:2], tokens[2] + torch.randn_like(tokens[2])]
    model._interact(tokens, 0, {}, [ONE] * 3)
    model._interact(changed, 0, {}, [ONE] * 3)
    assert not torch.allclose(tokens[0], changed[0])


def test_single_branches_and_silent_ones_build_nothing_extra() -> None:
    names = {n.split(".")[0] for n, _ in PIIP(Architecture.parse("vit_pico@64:g")).named_parameters()}
    assert names == {"branches"}
    names = {n.split(".")[0] for n, _ in PIIP(Architecture.parse("vit_nano@64:g+vit_pico@64:g*0")).named_parameters()}
    assert names == {"branches", "merges"}


@torch.no_grad()
def test_a_single_branch_is_one_network_under_all_merges_of_one_map() -> None:
    maps = []
    for merge in ONE_MAP_MERGES:
        torch.manual_seed(0)
        model = PIIP(Architecture((Branch("vit_pico", 64),), merge=merge)).eval()
        maps.append(model(torch.ones(1, 3, 64, 64)))
    assert all(torch.equal(one, maps[0]) for one in maps)


def test_equal_seeds_build_equal_weights() -> None:
    def weights() -> list[Tensor]:
        torch.manual_seed(7)
        return list(PIIP(Architecture.parse("vit_nano@32:g+vit_pico@64:g*2")).parameters())

    assert all(torch.equal(a, b) for a, b in zip(weights(), weights(), strict=True))


def test_new_parts_start_in_the_authors_distributions() -> None:
    """`_init_weights` of the authors' classes: by standard deviation, and no bias but the compass of the offsets."""
    model = PIIPPyramid(Architecture.parse("vit_micro@32:g+vit_micro@64:g*1"))
    regular = PIIP(Architecture.parse("vit_micro@32:g+vit_micro@64:g*1(attention=regular)/linear"))
    injector, projections = model.piip.interactions[0][0].large_reads, model.piip.merges[0].projections
    xavier = math.sqrt(2 / (128 + 64))
    expected = {
        injector.projection: 0.02,
        injector.ffn.fc1: 0.02,
        injector.ffn.fc2: 0.02,
        injector.ffn.dwconv: math.sqrt(2 / 9),
        injector.attn.value_proj: xavier,
        injector.attn.output_proj: xavier,
        injector.attn.attention_weights: 0,
        projections[0][0]: math.sqrt(2 / (9 * 128)),
        projections[1][3]: math.sqrt(2 / (9 * 128)),
        model.pyramid.levels[0][0]: math.sqrt(2 / (4 * 128)),
        model.pyramid.levels[1]: math.sqrt(2 / (4 * 128)),
        regular.interactions[0][0].small_reads.attn.query_proj: 0.02,
        regular.interactions[0][0].small_reads.attn.key_value_proj: 0.02,
        regular.merges[0].projections[1][1]: 0.02,
    }
    for layer, deviation in expected.items():
        # Three standard errors of a deviation that is estimated from so many weights.
        error = 3 / math.sqrt(2 * layer.weight.numel())
        assert layer.weight.std(correction=0).item() == pytest.approx(deviation, rel=error), layer
        assert layer.weight.mean().abs() <= 4 * deviation / math.sqrt(layer.weight.numel())
        assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize(
    "name",
    [
        "vit_micro@32:g+vit_nano@64:w3+convnext_pico@96*4",
        "vit_micro@32:g+vit_nano@64:w3*2(attention=regular)",
        "vit_micro@32:g+vit_nano@64:g*2/logits",
    ],
)
def test_no_images_give_no_maps(name: str) -> None:
    architecture = Architecture.parse(name)
    outputs = PIIP(architecture)(torch.zeros(0, 3, architecture.resolution, architecture.resolution))
    assert all(len(output) == 0 for output in torch.utils._pytree.tree_leaves(outputs))


def test_images_smaller_than_a_patch_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one patch of 32 px, got 64x16; pad it"):
        PIIP(Architecture.parse("convnext_pico@64"))(torch.zeros(1, 3, 64, 16))


@pytest.mark.parametrize(
    "name",
    ["vit_micro@32:g+vit_nano@64:w3*2", "vit_micro@64:g+convnext_pico@128*4", "vit_micro@64:g+vit_nano@96:g*4/logits"],
)
def test_checkpointing_changes_memory_and_nothing_else(name: str) -> None:
    architecture = Architecture.parse(name)
    image = torch.randn(2, 3, architecture.resolution, architecture.resolution)
    models = [
        PIIP(architecture, interaction_drop_path=0.0, checkpointing=checkpointing) for checkpointing in (False, True)
    ]
    open_gates(models[0])
    models[1].load_state_dict(models[0].state_dict())
    outputs = [torch.utils._pytree.tree_leaves(model(image)) for model in models]
    for one, other in zip(*outputs, strict=True):
        assert torch.equal(one, other)
    for leaves in outputs:
        sum(leaf.square().mean() for leaf in leaves).backward()
    for (name, one), other in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, **TIGHT)
    assert kept_values(models[1], image) < 0.7 * kept_values(models[0], image)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "vit_w96_d2_h3@32:g+vit_w64_d2_h2@64:w3+vit_w32_d2_h2@96:w4g2*2",
        "vit_nano@32:g+convnext_pico@64*4",
        "vit_w96_d2_h3@32:g+vit_w64_d2_h2@64:g*1(attention=regular)/linear",
        "vit_pico@64:g",
    ],
)
def test_the_whole_network_compiles_without_a_break(name: str) -> None:
    architecture = Architecture.parse(name)
    model = PIIPPyramid(architecture, interaction_drop_path=0.0).eval()
    open_gates(model)
    image = torch.randn(1, 3, architecture.resolution, architecture.resolution)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for one, other in zip(compiled(image), model(image), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_three_levels_are_the_last_of_four() -> None:
    architecture = Architecture.parse("vit_micro@32:g+vit_nano@64:w3*2")
    four, three = PIIPPyramid(architecture).eval(), PIIPPyramid(architecture, strides=(8, 16, 32)).eval()
    state = {
        re.sub(r"levels\.(\d)", lambda match: f"levels.{int(match[1]) - 1}", name): tensor
        for name, tensor in four.state_dict().items()
        if "levels.0" not in name
    }
    three.load_state_dict(state)
    image = torch.randn(1, 3, 64, 64)
    for one, other in zip(four(image)[1:], three(image), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(ValueError, match="strides of 4, 8, 16, 32, got"):
        PIIPPyramid(architecture, strides=(8, 64))


@pytest.mark.parametrize(
    ("name", "alone"),
    [
        ("vit_micro@64:g+vit_pico@96:g*2/residual", "vit_pico@96:g"),
        ("vit_micro@64:g+vit_nano@48:g+vit_pico@32:g*1/residual", "vit_micro@64:g"),
        ("vit_micro@64:g+vit_pico@96:g*0/residual", "vit_pico@96:g"),
    ],
)
def test_the_merge_residual_begins_as_the_branch_of_the_largest_image(name: str, alone: str) -> None:
    """Its channels come first in the first branch's width, and empty ones after them."""
    model, single = PIIP(Architecture.parse(name)).eval(), PIIP(Architecture.parse(alone)).eval()
    single.branches[0].load_state_dict(model.branches[model.architecture.output].state_dict())
    image = torch.randn(2, 3, model.architecture.resolution, model.architecture.resolution)
    merged, expected = model(image), single(image)
    width = expected.shape[1]
    torch.testing.assert_close(merged[:, :width], expected, rtol=0, atol=1e-6)
    assert merged[:, width:].abs().sum() == 0


@pytest.mark.parametrize("merge", ["conv", "linear", "residual", "pyramid", "logits", "tokens"])
def test_merging_written_out(merge: str) -> None:
    """PIIP, section 3.4: each branch projected, brought to the output's grid, and summed with its weight."""
    architecture = Architecture.parse(f"vit_micro@64:g+vit_nano@96:g*4/{merge}".replace("/conv", ""))
    model = PIIP(architecture, interaction_drop_path=0.0).eval()
    for parameter in model.merges.parameters():
        nn.init.normal_(parameter, std=0.2)
    image = torch.randn(2, 3, 96, 96)
    taps, prefixes = model.forward_branches(image)

    def resized(x: Tensor) -> Tensor:
        return F.interpolate(x, (6, 6), mode="bilinear", align_corners=False)

    def normed(x: Tensor, norm: Any) -> Tensor:
        return F.group_norm(x, 32, norm.weight, norm.bias)

    def level(module: Any, maps: Any) -> Tensor:
        total = torch.zeros(2, 128, 6, 6)
        for index, (x, layers) in enumerate(zip(maps, module.projections, strict=True)):
            if merge == "linear":
                x = normed(x, layers[0])
                if index:
                    weight = layers[1].weight[:, :, 0, 0]
                    x = torch.einsum("bchw,dc->bdhw", x, weight) + layers[1].bias[:, None, None]
                    x = normed(x, layers[2])
            elif merge == "pyramid" and not index:
                x = normed(x, layers[0]).clamp(min=0)
            else:
                for place in range(0, len(layers), 3):
                    unfolded = F.unfold(x, 3, padding=1)
                    x = torch.einsum("bkn,dk->bdn", unfolded, layers[place].weight.flatten(1)).unflatten(2, x.shape[2:])
                    x = normed(x, layers[place + 1]).clamp(min=0)
            total = total + resized(x) * module.branch_weights[index]
        if merge == "residual":
            total = total + torch.einsum(
                "bchw,dc->bdhw", maps[model.architecture.output], module.placement.weight[..., 0, 0]
            )
        return total

    if merge == "logits":
        scores = [
            F.layer_norm(prefix[:, 0], norm.normalized_shape, norm.weight, norm.bias, 1e-6) @ head.weight.T + head.bias
            for prefix, norm, head in zip(prefixes, model.merges[0].norms, model.merges[0].heads, strict=True)
        ]
        expected = [(scores[0] + scores[1]) / 2]
    elif merge == "tokens":
        parts = []
        for x, layers in zip(taps[-1], model.merges[0].projectors, strict=True):
            x = torch.einsum("bchw,dc->bdhw", resized(x), layers[0].weight[:, :, 0, 0]) + layers[0].bias[:, None, None]
            x = F.gelu(normed(x, layers[1]))
            x = torch.einsum("bchw,dc->bdhw", x, layers[3].weight[:, :, 0, 0]) + layers[3].bias[:, None, None]
            parts.append(x)
        expected = [(parts[0] + parts[1]).flatten(2).transpose(1, 2)]
    else:
        expected = [level(module, maps) for module, maps in zip(model.merges, taps, strict=True)]
    for one, other in zip(torch.utils._pytree.tree_leaves(model(image)), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-5)


def test_classification_from_scratch_written_out() -> None:
    """The authors' class: norm, mean over tokens, linear head; priced as their published counts do."""
    name = "vit_micro@32:g+vit_pico@64:g*2/linear"
    model = PIIPClassifier(Architecture.parse(name), interaction_drop_path=0.0, classes=7).eval()
    open_gates(model)
    nn.init.normal_(model.norm.weight)
    image = torch.randn(2, 3, 64, 64)
    tokens = model.piip(image).flatten(2).mT
    normed = F.layer_norm(tokens, (128,), model.norm.weight, model.norm.bias, 1e-6)
    torch.testing.assert_close(model(image), normed.mean(1) @ model.head.weight.T + model.head.bias, **TIGHT)
    with torch.device("meta"):
        published = PIIPClassifier(Architecture.parse(name))
    head = published_head_cost(128, (4, 4))
    assert parameters(published) == price(Architecture.parse(name), "backbone").params + head.params
    with pytest.raises(ValueError, match="merges branches by linear, got conv; write /linear"):
        PIIPClassifier(Architecture.parse("vit_micro@32:g+vit_pico@64:g*2"))
