"""The README of an export: how to train the design, its starting weights, and its cost."""

from piip_search.cost import Convention, memory, price
from piip_search.export.request import NETWORK_FORMATS, Export
from piip_search.units import gigabytes, quantity

THROUGHPUT = 20.0
"""Sustained training speed of a GPU in 10^12 multiply-accumulates a second: a tenth of an A100's bfloat16 peak."""

_HEAD = """# {name}

A PIIP network chosen by piip-search: {title}. `architecture.yaml` is the
design as data; `provenance.json` says where it comes from{proved}.

{notes}
"""

_TORCH = """
## In torch

`torch/model.py` builds the network with its pyramid and loads `torch/weights.safetensors`; it needs
`pip install "piip-search[models]"` alone. It takes images of any size whose sides are multiples of {multiple}
pixels.
"""

_ONNX = """
## In ONNX

`onnx/model.onnx` takes one image of {side} x {side} pixels as `image`. It gives {outputs}.
Its weights are in `onnx/model.onnx.data`, where the file is too large to hold them.
"""

_INPUT = """
## What the network reads

| | |
| --- | --- |
| shape | {shapes} |
| layout | NCHW: images, channels, rows, columns |
| type | float32 |
| channel order | RGB: red, green, blue (OpenCV reads blue, green, red) |
| values | (pixel - {mean}) / {std} in every channel, of pixels from 0 to 255: from {least:g} to {most:g} |
| size | the aspect ratio is kept: the long side at most {width} pixels, the short one at most {height}; bilinear |
| padding | with 0, after the values are changed, at the right and at the bottom |

The training reads its images the same way. In Python:

```python
import cv2
import numpy as np

pixels = cv2.imread("image.jpg")  # rows x columns x 3: blue, green, red
scale = min({width} / max(pixels.shape[:2]), {height} / min(pixels.shape[:2]))
rows, columns = (int(side * scale + 0.5) for side in pixels.shape[:2])
pixels = cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_LINEAR)
image = np.zeros((1, 3, {side}, {side}), np.float32)
image[0, :, :rows, :columns] = (pixels[:, :, ::-1].transpose(2, 0, 1) - {mean}) / {std}
{run}
```
"""

_RUN_ONNX = """
import onnxruntime

maps = onnxruntime.InferenceSession("onnx/model.onnx").run(None, {"image": image})
"""

_RUN_TORCH = """
import runpy

import torch

with torch.no_grad():
    maps = runpy.run_path("torch/model.py")["build"]()(torch.from_numpy(image))
"""


def readme(export: Export) -> str:
    """The text of the README, with a section for each format."""
    architecture = export.architecture
    costs = {f"GMACs ({name} convention)": f"{cost.gmacs:.4g}" for name, cost in export.costs.items()}
    notes = {**export.notes, **costs}
    text = _HEAD.format(
        name=architecture.name,
        title=export.plan.title,
        proved=", and `proof.json` what of these files was tried" if export.proved else "; nothing was tried",
        notes="\n".join(f"- {key}: {value}" for key, value in notes.items()),
    )
    text += export.plan.readme(export)
    if "torch" in export.formats:
        text += _TORCH.format(multiple=architecture.multiple)
    if "onnx" in export.formats:
        text += _ONNX.format(side=architecture.resolution, outputs=export.plan.outputs)
    if set(NETWORK_FORMATS) & set(export.formats):
        text += _input(export)
    return text


def _input(export: Export) -> str:
    """Description of the bare network's input: the images as its training reads them."""
    architecture, formats = export.architecture, export.formats
    side, (width, height) = architecture.resolution, export.box
    shapes = {
        "onnx": f"(1, 3, {side}, {side}) in ONNX",
        "torch": f"(B, 3, H, W) in torch, H and W multiples of {architecture.multiple}",
    }
    run = [text for name, text in (("onnx", _RUN_ONNX), ("torch", _RUN_TORCH)) if name in formats]
    mean, std = export.plan.norm
    return _INPUT.format(
        shapes="; ".join(text for name, text in shapes.items() if name in formats),
        mean=_channels(mean),
        std=_channels(std),
        least=min((0 - middle) / width for middle, width in zip(mean, std, strict=True)),
        most=max((255 - middle) / width for middle, width in zip(mean, std, strict=True)),
        width=width,
        height=height,
        side=side,
        run="".join(run).rstrip("\n"),
    )


def _channels(values: tuple[float, float, float]) -> str:
    """A number for each channel, or one for all."""
    return f"{values[0]:g}" if len(set(values)) == 1 else f"[{', '.join(f'{value:g}' for value in values)}]"


def expected_cost(export: Export, epochs: int, images_a_step: int) -> str:
    """Work, time and memory of the full training in closed form, for the section of a task.

    Args:
        export: Request of the export.
        epochs: Passes over the training images.
        images_a_step: Images a step, over all GPUs.
    """
    architecture, training, head = export.architecture, export.plan.training, export.plan.head
    width, height = export.box
    value_bytes = 2 if training.precision == "bfloat16" else 4
    convention: Convention = "backbone" if head is None else "whole"
    image = (height, width)
    one = price(architecture, convention, image, head)
    step = memory(architecture, convention, image, head, images_a_step, value_bytes)
    extent = "with the head" if head is not None else "without the head, whose cost is not known"
    parts = [
        f"{quantity(one.gmacs, 'GMACs', 4)} for {width} x {height} pixels",
        f"{quantity(one.mparams, 'M parameters', 4)}, {extent}",
        f"about {gigabytes(step.training)} in {training.precision} for the {images_a_step} images of a step on one GPU",
    ]
    if export.images is not None:
        train, val = export.images
        macs = one.macs * epochs * (3 * train + val)
        hours = macs / (THROUGHPUT * 1e12) / 3600
        parts.append(
            f"{macs / 1e15:.4g} x 10^15 multiply-accumulates in all ({train:,} images a pass, measured on {val:,} "
            f"after each), which is {hours:.3g} hours of a GPU that sustains {THROUGHPUT:g} TMAC/s (a tenth of an "
            "A100's bfloat16 peak)"
        )
    return "; ".join(parts) + "."
