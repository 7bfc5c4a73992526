"""Our networks beside the authors' own modules: the same weights, maps and gradients compared, both timed.

python benchmarks/authors.py CHECKOUT [--fast]

CHECKOUT is a working tree of github.com/OpenGVLab/PIIP (7a8eceb is what this was written against), or is named by the
environment variable PIIP_CHECKOUT. Its Python files are imported as they are; what they need and is not there (mmcv,
mmdet 2, transformers, einops, the compiled operator) is stood in for here, the operator by torch's `grid_sample`. Small
networks with random weights and open gates, float32, one thread, batches of 2. Times are seconds of that thread: other
work on the machine counts for little; both sides take turns. `--fast` leaves the times out.
"""

import argparse
import contextlib
import importlib
import io
import logging
import os
import statistics
import sys
import time
import types
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from piip_search.architecture import Architecture
from piip_search.architecture.backbones import BACKBONES, ConvNeXt, Transformer
from piip_search.architecture.segments import STRIDES, interaction_ranges
from piip_search.models import PIIPClassifier, PIIPPyramid
from piip_search.models.authors.checkpoint import to_official

BATCH = 2
ROUNDS = 7
DRAWS = 3
"""Of weights and images. Where a sample falls onto the middle of a token, bilinear sampling has a kink, and rounding
alone decides which gradient it has; so the draw whose gradients are nearest is told."""
INTERN = Transformer(
    "intern_small",
    "InternViT",
    128,
    4,
    4,
    norm="rms",
    layer_scale=0.1,
    qkv_bias=False,
    query_norm="width",
    intern_class=True,
)
"""InternViT-6B's kind of block, small."""
BACKBONES[INTERN.name] = INTERN


@dataclass(frozen=True)
class Row:
    """A network to compare.

    Attributes:
        title: What it shows.
        name: Short form.
        image: Height and width in pixels; the network's own square by default.
        strides: Levels of the pyramid.
    """

    title: str
    name: str
    image: tuple[int, int] | None = None
    strides: Sequence[int] = STRIDES


ROWS = [
    Row("two branches, windows", "vit_micro@64:w2+vit_pico@128:w4*2"),
    Row("three branches, windows that need filling up", "vit_micro@64:w3+vit_nano@96:w4+vit_pico@128:w3*4", (128, 192)),
    Row("without projections and norms", "vit_micro@64:w3+vit_nano@96:w4+vit_pico@128:w3*4(projection=no,norm=no)"),
    Row("regular attention", "vit_micro@64:w3+vit_nano@96:w4+vit_pico@128:w3*4(attention=regular)"),
    Row(
        "four branches, the fourth with the third's settings",
        "vit_micro@64:w3+vit_nano@96:w4+vit_pico@128:w3+vit_pico@256:w3*2",
    ),
    Row("three levels, as for DINO", "vit_micro@64:w2+vit_pico@128:w4*2", strides=STRIDES[1:]),
    Row("InternViT-6B's blocks, global, and a ViT in windows", "intern_small@64:g+vit_nano@128:w3*2", (128, 160)),
    Row("InternViT-6B's blocks in windows", "intern_small@64:w3+vit_nano@128:g*4(projection=no,norm=no)"),
    Row("AugReg's ViT in their class InternViT6B", "vit_tiny_patch16_224@64:w3+vit_pico@128:w3*2"),
    Row("ViT, ViT, ConvNeXt", "vit_w128_d6_h4@64:w3+vit_nano@96:g+convnext_pico@128*4"),
    Row("ConvNeXt, ViT, ViT", "convnext_pico@64+vit_nano@96:g+vit_pico@128:w3*4"),
    Row("three ConvNeXts", "convnext_pico@64+convnext_pico@96+convnext_pico@128*4"),
    Row("classification from scratch", "vit_micro@64:g+vit_nano@96:g+vit_pico@128:g*4/linear"),
]
TIMED = [
    Row("TSB, windows of 7", "vit_b@112:w7+vit_s@224:w7+vit_t@336:w7*12"),
    Row("TSB, windows of 6 that need filling up", "vit_b@112:w6+vit_s@224:w6+vit_t@336:w6*12"),
    Row("TSB, no projections and norms", "vit_b@112:w7+vit_s@224:w7+vit_t@336:w7*12(projection=no,norm=no)"),
]


class Authors:
    """The authors' classes, imported from a checkout with stand-ins for what they need."""

    def __init__(self, checkout: Path) -> None:
        sys.path[:0] = [str(checkout / "mmdetection"), str(checkout / "classification")]
        register = types.SimpleNamespace(register_module=lambda *args, **kwargs: lambda kind: kind)
        _stand_in("mmcv", **{"runner.BaseModule": nn.Module, "runner.load_checkpoint": None})
        _stand_in("mmcv_custom", load_checkpoint=None)
        _stand_in("mmdet", **{"models.builder.BACKBONES": register, "utils.get_root_logger": logging.getLogger})
        _stand_in("einops", rearrange=None)
        _stand_in("MultiScaleDeformableAttention", ms_deform_attn_forward=None)
        names = {"ConvNextModel": ConvNextModel, "ConvNextLayer": ConvNextLayer}
        _stand_in("transformers", **{f"models.convnext.modeling_convnext.{name}": kind for name, kind in names.items()})
        backbones = types.ModuleType("authors_backbones")
        backbones.__path__ = [str(checkout / "mmdetection" / "mmdet" / "models" / "backbones")]
        sys.modules["authors_backbones"] = backbones
        for package in ("ops.deformable_attention.modules", "ops.modules"):
            importlib.import_module(f"{package}.ms_deform_attn").MSDeformAttnFunction = Operator
        self.detection = {
            branches: getattr(importlib.import_module(f"authors_backbones.piip_{branches}branch"), f"PIIP{word}Branch")
            for branches, word in ((2, "Two"), (3, "Three"), (4, "Four"))
        }
        self.classification = importlib.import_module("piip_3branch").PIIPThreeBranch
        self.detection[2].__init__.__globals__["InternViT6B"].init_weights = _nothing
        self.detection[2].__init__.__globals__["vit_models"].init_weights = _nothing
        for module in ("authors_backbones.deit", "deit"):
            deit = sys.modules[module]
            deit.WindowedAttention = _like_flash(deit.WindowedFlashAttention)

    def build(self, architecture: Architecture, strides: Sequence[int]) -> nn.Module:
        """Their network of that architecture, with random weights."""
        interaction, branches = architecture.interaction, architecture.branches
        classifies = architecture.merge == "linear"
        settings: dict[str, Any] = {
            "n_points": interaction.points,
            "deform_num_heads": interaction.heads,
            "cffn_ratio": 0.25,
            "deform_ratio": 0.5,
            "with_cffn": True,
            "interaction_drop_path_rate": 0.4,
            "interact_attn_type": "deform" if interaction.attention == "deformable" else "normal",
            "interaction_proj": interaction.projection,
        }
        if not interaction.norm:
            settings["norm_layer"] = "none"
        for index, branch in enumerate(branches):
            ranges = interaction_ranges(branch.model, interaction.count)
            own: dict[str, Any] = {"interaction_indexes": [[blocks.start, blocks.stop - 1] for blocks in ranges]}
            if isinstance(branch.model, ConvNeXt):
                ratios = [stage.stride for stage in branch.model.stages for _ in range(stage.blocks)]
                own |= {"real_size": branch.resolution, "pretrained": _title(branch.model), "downsample_ratios": ratios}
            else:
                own |= _vit(branch.model, branch.windows)
                if classifies:
                    own |= {"img_size": branch.resolution, "use_cls_token": False}
                else:
                    own |= {"real_size": branch.resolution, "pretrain_img_size": 16 * branch.model.position_grid}
                    own |= {"with_fpn": False, "pretrained": "intern" if branch.model.intern_class else "deit"}
            settings[f"branch{index + 1}"] = own
        if classifies:
            return self.classification(**settings)
        if architecture.merge == "pyramid":
            settings |= {"with_simple_fpn": False, "out_interaction_indexes": list(architecture.taps[:3])}
        return self.detection[len(branches)](**settings, is_dino=len(strides) < len(STRIDES))


def _nothing(self: nn.Module, pretrained: str | None = None) -> None:
    """No weights are read: the name of their file only chooses a class."""


def _like_flash(kind: type[nn.Module]) -> Callable[..., nn.Module]:
    """Their windows for flash attention, which fill up windows before the projections, without flash attention."""
    return lambda dim, qk_scale, **settings: kind(dim, use_flash_attn=False, **settings)


def _stand_in(package: str, **contents: Any) -> None:
    """Modules with these contents, by dotted names within the package."""
    for dotted, value in contents.items():
        parts = [package, *dotted.split(".")]
        for length in range(1, len(parts)):
            name = ".".join(parts[:length])
            if name not in sys.modules or not hasattr(sys.modules[name], "is_stand_in"):
                module = types.ModuleType(name)
                module.__path__, module.is_stand_in = [], True
                sys.modules[name] = module
        setattr(sys.modules[".".join(parts[:-1])], parts[-1], value)


def _title(model: ConvNeXt) -> str:
    return f"convnext {'-'.join(map(str, model.widths))} {'-'.join(map(str, model.depths))}"


def _vit(model: Transformer, windows: Sequence[int | None]) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "patch_size": model.patch,
        "depth": model.depth,
        "embed_dim": model.width,
        "num_heads": model.heads,
        "mlp_ratio": model.mlp_width / model.width,
        "qkv_bias": model.qkv_bias,
        "use_flash_attn": False,
        "window_attn": [window is not None for window in windows],
        "window_size": [window or -1 for window in windows],
    }
    if not model.intern_class:
        return {**settings, "init_scale": 1.0}
    norm = "RMSNorm" if model.norm == "rms" else "LayerNorm"
    return {
        **settings,
        "init_values": model.layer_scale,
        "with_cp": False,
        "norm_layer_type": norm,
        "qk_normalization": model.query_norm == "width",
        "pretrain_patch_size": model.patch,
    }


class Operator:
    """The compiled operator, for one level."""

    @staticmethod
    def apply(value: Tensor, shapes: Tensor, start: Tensor, places: Tensor, weights: Tensor, step: int) -> Tensor:
        """What every query reads, shape (B, N, M D)."""
        (B, N, M, _, P, _), (height, width) = places.shape, shapes[0].tolist()
        value_bDHW = value.transpose(1, 2).flatten(0, 1).mT.unflatten(-1, (height, width))
        grid_bNP2 = 2 * places[:, :, :, 0].transpose(1, 2).flatten(0, 1) - 1
        read_bDNP = F.grid_sample(value_bDHW, grid_bNP2, align_corners=False)
        weights_b1NP = weights.transpose(1, 2).reshape(B * M, 1, N, P)
        return (read_bDNP * weights_b1NP).sum(-1).view(B, -1, N).mT.contiguous()


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x_BCHW: Tensor) -> Tensor:
        return super().forward(x_BCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNextLayer(nn.Module):
    """A block of the ConvNeXt of the transformers library, by its names."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.layernorm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1, self.pwconv2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.layer_scale_parameter = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BHWC = self.layernorm(self.dwconv(x_BCHW).permute(0, 2, 3, 1))
        x_BHWC = self.layer_scale_parameter * self.pwconv2(F.gelu(self.pwconv1(x_BHWC)))
        return x_BCHW + x_BHWC.permute(0, 3, 1, 2)


class ConvNextModel(nn.Module):
    """The ConvNeXt of the transformers library, by its names."""

    def __init__(self, widths: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        self.config = types.SimpleNamespace(hidden_sizes=widths)
        self.embeddings = nn.Sequential()
        self.embeddings.add_module("patch_embeddings", nn.Conv2d(3, widths[0], 4, 4))
        self.embeddings.add_module("layernorm", LayerNorm2d(widths[0], eps=1e-6))
        self.encoder = nn.Module()
        self.encoder.stages = nn.ModuleList()
        for index, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            stage, before = nn.Module(), widths[max(0, index - 1)]
            down = nn.Sequential(LayerNorm2d(before, eps=1e-6), nn.Conv2d(before, width, 2, 2))
            stage.downsampling_layer = down if index else nn.Identity()
            stage.layers = nn.Sequential(*(ConvNextLayer(width) for _ in range(depth)))
            self.encoder.stages.append(stage)

    @classmethod
    def from_pretrained(cls, title: str, **_: Any) -> "ConvNextModel":
        """One of these widths and depths, with random weights."""
        _, widths, depths = title.split()
        return cls([int(n) for n in widths.split("-")], [int(n) for n in depths.split("-")])


def pair(row: Row, authors: Authors, seed: int = 0) -> tuple[nn.Module, nn.Module, Tensor]:
    """Our network and theirs with the same weights, and images."""
    architecture = Architecture.parse(row.name)
    torch.manual_seed(seed)
    if architecture.merge == "linear":
        ours: nn.Module = PIIPClassifier(architecture).eval()
    else:
        ours = PIIPPyramid(architecture, strides=row.strides).eval()
    for parameter in ours.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.1)
        else:
            nn.init.normal_(parameter, mean=parameter.mean().item(), std=0.3)
    with contextlib.redirect_stdout(io.StringIO()):  # they tell how they attend
        theirs = authors.build(architecture, row.strides).eval()
    written = to_official(ours.state_dict(), architecture, row.strides)
    if architecture.merge == "linear":  # they store positions for the images of the network
        for index, branch in enumerate(architecture.branches):
            positions = written[f"branch{index + 1}.pos_embed"]
            grid = positions.unflatten(1, (branch.model.position_grid,) * 2).permute(0, 3, 1, 2)
            resized = F.interpolate(grid, (branch.grid,) * 2, mode="bicubic", align_corners=False)
            written[f"branch{index + 1}.pos_embed"] = resized.flatten(2).mT
    loaded = theirs.load_state_dict(written, strict=False)
    if loaded.missing_keys and not all(name.startswith("fpn1") for name in loaded.missing_keys):
        raise ValueError(f"{row.name}: {loaded}")
    side = architecture.resolution
    return ours, theirs, torch.randn(BATCH, 3, *(row.image or (side, side)))


def leaves(output: Any) -> list[Tensor]:
    return [output] if isinstance(output, Tensor) else list(output)


def compared(row: Row, authors: Authors, seed: int) -> tuple[float, float, float]:
    """Greatest difference of maps, their greatest value, and the greatest difference of gradients relative to each."""
    architecture = Architecture.parse(row.name)
    ours, theirs, image = pair(row, authors, seed)
    outputs = [leaves(network(image)) for network in (ours, theirs)]
    apart = max((a - b).abs().max().item() for a, b in zip(*outputs, strict=True))
    for maps in outputs:
        torch.manual_seed(1)
        sum((map_ * torch.randn_like(map_)).sum() for map_ in maps).backward()
    grads = {name: parameter.grad for name, parameter in ours.named_parameters() if parameter.grad is not None}
    grads = {name: grad for name, grad in grads.items() if not name.endswith("pos_embed")}
    written = to_official(grads, architecture, row.strides)
    expected = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    errors = []
    for name, grad in written.items():
        other = expected[name]
        most = other.abs().max().item()
        # A gradient that is zero but for rounding says nothing.
        if most > 1e-4:
            errors.append((grad - other).abs().max().item() / most)
    return apart, max(map_.abs().max().item() for map_ in outputs[1]), max(errors)


def seconds(calls: Sequence[Callable[[], object]]) -> list[list[float]]:
    """Processor seconds of each call, taking turns."""
    times: list[list[float]] = [[] for _ in calls]
    for number in range(ROUNDS + 1):
        for call, kept in zip(calls, times, strict=True):
            started = time.process_time()
            call()
            if number:
                kept.append(time.process_time() - started)
    return times


def timed(row: Row, authors: Authors) -> None:
    ours, theirs, image = pair(row, authors)

    def train(network: nn.Module) -> None:
        network.zero_grad(set_to_none=True)
        sum(map_.square().mean() for map_ in leaves(network(image))).backward()

    def infer(network: nn.Module) -> None:
        with torch.no_grad():
            network(image)

    for what, call in (("training", train), ("inference", infer)):
        for network in (ours, theirs):
            network.train(what == "training")
        mine, other = seconds([lambda call=call: call(ours), lambda call=call: call(theirs)])
        ratios = [b / a for a, b in zip(mine, other, strict=True)]
        print(
            f"| {what}, {row.title} | {statistics.median(mine):.2f} s | {statistics.median(other):.2f} s | "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |",
            flush=True,
        )


def main() -> None:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description="Compares our networks with the authors' modules.")
    parser.add_argument("checkout", nargs="?", default=os.environ.get("PIIP_CHECKOUT"))
    parser.add_argument("--fast", action="store_true")
    arguments = parser.parse_args()
    if arguments.checkout is None or not (Path(arguments.checkout) / "mmdetection").is_dir():
        parser.error("name a working tree of github.com/OpenGVLab/PIIP, or set PIIP_CHECKOUT")
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()):
        authors = Authors(Path(arguments.checkout))
    print(f"torch {torch.__version__}, one thread, batches of {BATCH}, float32\n")
    print("| network | greatest difference of maps | their greatest value | gradients |")
    print("| --- | --- | --- | --- |")
    for row in ROWS:
        apart, most, gradients = zip(*(compared(row, authors, seed) for seed in range(DRAWS)), strict=True)
        print(f"| {row.title} | {max(apart):.1e} | {max(most):.1f} | {min(gradients):.1e} |", flush=True)
    if arguments.fast:
        return
    print("\n| | ours | theirs | theirs / ours |\n| --- | --- | --- | --- |")
    for row in TIMED:
        timed(row, authors)


if __name__ == "__main__":
    main()
