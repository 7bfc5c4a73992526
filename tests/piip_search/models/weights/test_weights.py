"""Pre-trained branches: real timm models with weights of their own, written to files and read back."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")

from torch import nn  # noqa: E402

from piip_search.architecture import Architecture, Branch  # noqa: E402
from piip_search.architecture.backbones import Transformer, backbone_named, timm_models  # noqa: E402
from piip_search.errors import WeightsError  # noqa: E402
from piip_search.models import PIIP  # noqa: E402
from piip_search.models.vit import VisionTransformer  # noqa: E402
from piip_search.models.weights.pretrained import branch_state, load_pretrained  # noqa: E402
from support import fakes  # noqa: E402


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "ending"),
    [
        ("vit_tiny_patch16_224", 224, ".safetensors"),  # from the class token
        ("deit_tiny_patch16_224.fb_in1k", 224, ".pth"),
        ("vit_xsmall_patch16_clip_224", 224, ".pth"),  # norms of their own eps
        ("test_vit2", 160, ".safetensors"),  # from the mean, normed afterwards
        ("test_vit4", 160, ".safetensors"),  # by root mean squares
        ("vit_medium_patch16_gap_256", 256, ".pth"),  # from the mean of normed tokens
        ("beit_base_patch16_224", 224, ".pth"),
        ("test_convnext", 64, ".pth"),
        ("convnext_tiny_hnf", 64, ".pth"),
    ],
)
def test_class_scores_are_those_of_timm(name: str, size: int, ending: str, tmp_path: Path) -> None:
    """All the way, so class token, registers, positions, pooling, norm and head are all in their places."""
    model = published(name, tmp_path, ending)
    attention = "" if backbone_named(name).family == "convnext" else ":g"
    classes = model.num_classes
    network = PIIP(Architecture.parse(f"{name}@{size}{attention}/logits"), outputs=classes).eval()
    (taken,) = load_pretrained(network, tmp_path)
    assert taken.resampled == ()
    assert taken.fresh == ()
    image = torch.randn(2, 3, size, size)
    torch.testing.assert_close(network(image), model(image), rtol=1e-4, atol=1e-5)


def _kinds() -> list[str]:
    """The smallest ViT of timm for every combination of what tells blocks and embeddings apart beside their sizes."""
    sizes = {"width", "depth", "heads", "hidden", "position_grid", "patch", "pool", "final_norm"}
    kinds: dict[str, str] = {}
    for name, facts in sorted(timm_models().items(), key=lambda item: (item[1].get("width", 0), item[0])):
        if facts["family"] == "vit":
            kinds.setdefault(str({key: value for key, value in facts.items() if key not in sizes}), name)
    return sorted(kinds.values())


@pytest.mark.parametrize("name", _kinds())
def test_every_kind_of_timms_vits_is_equal_to_the_bit(name: str) -> None:
    """A whole embedding and one block, with all prefix tokens."""
    import timm

    torch.manual_seed(1)
    size = {"patch": 16, **timm_models()[name]}["patch"] * 3
    own = timm.create_model(name, depth=1, img_size=size).eval()
    for parameter in own.parameters():
        nn.init.normal_(parameter, std=0.05)
    with torch.device("meta"):
        branch = VisionTransformer(Branch(name, size), keeps_prefix=True)
    branch.blocks = branch.blocks[:1]
    branch = branch.to_empty(device="cpu").eval()
    branch.position_grid = 3 if branch.position_grid else 0
    if branch.position_grid:
        branch.pos_embed = nn.Parameter(torch.empty(1, 9, own.embed_dim))
    state, resampled = branch_state(own.state_dict(), branch)
    relative = name.startswith("beit") and not name.startswith("beit3")
    if relative:  # a table for a smaller grid
        branch.blocks[0].attn.grid = 3
        branch.blocks[0].attn.relative_position_bias_table = nn.Parameter(torch.empty(28, own.blocks[0].attn.num_heads))
    branch.load_state_dict(state)
    assert resampled == []
    image = torch.randn(2, 3, size, size)
    with torch.no_grad():
        tokens = own.patch_embed(image)
        if relative:
            tokens = torch.cat([own.cls_token.expand(2, -1, -1), tokens], 1)
        else:
            tokens = own.norm_pre(own._pos_embed(tokens))
        expected = own.blocks[0](tokens)
        found, prefix = branch.run(*branch.embed(image), range(1))
    found = found.flatten(1, 2) if prefix is None else torch.cat([prefix, found.flatten(1, 2)], 1)
    if relative or own.num_prefix_tokens == 0:  # their attention is put together of the same steps in another order
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    else:
        assert torch.equal(found, expected)


@pytest.mark.parametrize(
    "name",
    [
        "vit_base_patch16_rpn_224",
        "vit_pwee_patch16_reg1_gap_256",
        "vit_small_patch16_18x2_224",
        "beit3_base_patch16_224",
    ],
)
def test_other_kinds_of_blocks_see_windows_as_if_each_was_an_image(name: str) -> None:
    """Against timm's own block on every window; its windows need no filling up."""
    import timm

    torch.manual_seed(1)
    own = timm.create_model(name, depth=1).eval()
    for parameter in own.parameters():
        nn.init.normal_(parameter, std=0.05)
    with torch.device("meta"):
        branch = VisionTransformer(Branch(name, 224, 2))
    branch.blocks = own.blocks
    x = torch.randn(2, 4, 6, own.embed_dim)
    found, _ = branch.run(x, None, range(1))
    for top in range(0, 4, 2):
        for left in range(0, 6, 2):
            window = x[:, top : top + 2, left : left + 2].flatten(1, 2)
            expected = own.blocks[0](window).unflatten(1, (2, 2))
            torch.testing.assert_close(found[:, top : top + 2, left : left + 2], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("classes", [21, 1000])
def test_heads_of_other_classes_stay_fresh_and_are_said(classes: int, tmp_path: Path) -> None:
    import timm

    model = timm.create_model("vit_tiny_patch16_224", num_classes=21)
    torch.save(model.state_dict(), tmp_path / "vit_tiny_patch16_224.pth")
    network = PIIP(Architecture.parse("vit_tiny_patch16_224@224:g/logits"), outputs=classes)
    before = network.merges[0].heads[0].weight.clone()
    (taken,) = load_pretrained(network, tmp_path)
    after = network.merges[0].heads[0].weight
    if classes == 21:
        assert torch.equal(after, model.head.weight)
        assert taken.fresh == ()
    else:
        assert torch.equal(after, before)
        assert taken.fresh == ("head.weight", "head.bias")
        assert "2 stay fresh, its head among them" in str(taken)
    assert torch.equal(network.merges[0].norms[0].weight, model.norm.weight)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_base_patch16_siglip_224@224:g/logits", "reads class scores by attention over its tokens"),
        ("deit_tiny_distilled_patch16_224@224:g/logits", "reads class scores from two tokens by two heads"),
    ],
)
def test_scores_that_are_read_otherwise_are_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Architecture.parse(name)


@pytest.fixture
def intern() -> Iterator[str]:
    """A backbone like InternViT-6B, small: root-mean-square norms, also of queries and keys over the whole width."""
    with fakes.registered(
        Transformer(
            "vit_intern_tiny",
            "InternViT",
            32,
            2,
            2,
            norm="rms",
            layer_scale=0.1,
            qkv_bias=False,
            query_norm="width",
            intern_class=True,
            weights_url="https://example.org/intern_vit_tiny.pth",
        )
    ) as name:
        yield name


def intern_file(folder: Path) -> dict[str, Any]:
    """What InternVL publishes: patches of 14 px, a class token with a position, and a pooling for other tasks."""
    torch.manual_seed(2)
    with torch.device("meta"):
        blocks = VisionTransformer(Branch("vit_intern_tiny", 16)).blocks.state_dict()
    state = {f"blocks.{name}": torch.randn(tensor.shape) for name, tensor in blocks.items()}
    state |= {"patch_embed.proj.weight": torch.randn(32, 3, 14, 14), "patch_embed.proj.bias": torch.randn(32)}
    state |= {"pos_embed": torch.randn(1, 257, 32), "cls_token": torch.randn(1, 1, 32)}
    state |= {"clip_projector.norm1_q.weight": torch.randn(32)}
    torch.save({"model": state}, folder / "intern_vit_tiny.pth")
    return state


@pytest.mark.parametrize("patches", ["inverse", "bicubic"])
def test_intern_vit_takes_internvls_file(intern: str, patches: Any, tmp_path: Path) -> None:
    state = intern_file(tmp_path)
    network = PIIP(Architecture.parse(f"{intern}@64:g+vit_w32_d2_h2@96:g*2"))
    with pytest.raises(WeightsError, match="vit_w32_d2_h2 has no pre-trained weights"):
        load_pretrained(network, tmp_path)
    network = PIIP(Architecture.parse(f"{intern}@64:g"))
    (taken,) = load_pretrained(network, tmp_path, patches)
    branch = network.branches[0]
    assert taken.resampled == ("patch_embed", "pos_embed")
    assert taken.fresh == ()
    assert torch.equal(branch.blocks[1].attn.k_norm.weight, state["blocks.1.attn.k_norm.weight"])
    assert torch.equal(branch.blocks[1].ls2.gamma, state["blocks.1.ls2.gamma"])
    if patches == "bicubic":  # written out: the authors' way
        resized = nn.functional.interpolate(state["patch_embed.proj.weight"], (16, 16), mode="bicubic")
        assert torch.equal(branch.patch_embed.proj.weight, resized)
    grid = state["pos_embed"][:, 1:].unflatten(1, (16, 16)).permute(0, 3, 1, 2)
    resized = nn.functional.interpolate(grid, (14, 14), mode="bicubic").flatten(2).mT
    torch.testing.assert_close(branch.pos_embed, resized)


def test_class_scores_of_intern_vit_see_the_position_of_its_class_token(intern: str, tmp_path: Path) -> None:
    state = intern_file(tmp_path)
    network = PIIP(Architecture.parse(f"{intern}@64:g/logits"))
    (taken,) = load_pretrained(network, tmp_path)
    assert torch.equal(network.branches[0].prefix, state["cls_token"] + state["pos_embed"][:, :1])
    assert taken.fresh == ("norm.weight", "head.weight", "head.bias")


def test_another_file_of_intern_vit_is_said(intern: str, tmp_path: Path) -> None:
    torch.save({"blocks.0.norm1.weight": torch.zeros(32)}, tmp_path / "intern_vit_tiny.pth")
    with pytest.raises(WeightsError, match=r"are missing, the first is blocks\.0\.attn\.k_norm\.weight; place https"):
        load_pretrained(PIIP(Architecture.parse(f"{intern}@64:g")), tmp_path)
    with pytest.raises(
        WeightsError, match=r"is on no hub of timm's; place https://example\.org/intern_vit_tiny\.pth as"
    ):
        load_pretrained(PIIP(Architecture.parse(f"{intern}@64:g")), "hub")


def test_what_has_no_place_is_not_dropped(tmp_path: Path) -> None:
    import timm

    state = timm.create_model("vit_tiny_patch16_224").state_dict()
    state["reg_token"] = torch.zeros(1, 4, 192)
    torch.save(state, tmp_path / "vit_tiny_patch16_224.pth")
    with pytest.raises(WeightsError, match="1 tensors have no place in it, the first is reg_token"):
        load_pretrained(PIIP(Architecture.parse("vit_tiny_patch16_224@224:g")), tmp_path)


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
        ("list.pth", "has no tensors by name"),
    ],
)
def test_files_that_do_not_fit_are_said(broken: Path, file: str, message: str) -> None:
    with pytest.raises(WeightsError, match=re.escape(message)):
        load_pretrained(PIIP(Architecture.parse("vit_t@32:g")), broken / file)


def test_backbones_without_weights_say_so(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="vit_pico has no pre-trained weights"):
        load_pretrained(PIIP(Architecture.parse("vit_pico@32:g")), tmp_path)
