"""The README of an export: how to train the design, its starting weights, and its cost."""

from piip_search.cost import conventions_of, memory, price
from piip_search.export.request import NETWORK_FORMATS, Export, Reading, norm_formula
from piip_search.units import gigabytes, quantity

THROUGHPUT = 20.0
"""Sustained training speed of a GPU in 10^12 multiply-accumulates a second: a tenth of an A100's bfloat16 peak."""

_HEAD = """# {name}

A PIIP network chosen by piip-search: {title}. `architecture.yaml` is the
design as data; `provenance.json` says where it comes from{proved}.

{notes}
"""

_TORCH: dict[Reading, str] = {
    "fit": """
## In torch

`torch/model.py` builds the network with its pyramid and loads `torch/weights.safetensors`; it needs
`pip install "piip-search[models]"` alone. It takes images of any size whose sides are multiples of {multiple}
pixels.
""",
    "crop": """
## In torch

`torch/model.py` builds the network with its head and loads `torch/weights.safetensors`; it needs
`pip install "piip-search[models]"` alone. It takes any number of images of {side} x {side} pixels. It gives
{outputs}.
""",
}

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
| values | {formula} {channels}, of pixels from 0 to 255: from {least:g} to {most:g} |
{rows}
```python
{read}
{run}
```
"""

_ROWS: dict[Reading, str] = {
    "fit": """\
| size | the aspect ratio is kept: the long side at most {width} pixels, the short one at most {height}; bilinear |
| padding | with 0, after the values are changed, at the right and at the bottom |

The training reads its images the same way. In Python:
""",
    "crop": """\
| size | the aspect ratio is kept: the shorter side has {shorter} pixels; bicubic, smoothed where an image shrinks |
| crop | the centre of the resized image, {side} x {side} pixels |
| padding | none |

The training measures its images the same way. The network gives one score a class, in the order of the list of
classes in this export. The softmax of the scores gives the probabilities of the classes. In Python:
""",
}

_READ: dict[Reading, str] = {
    "fit": """\
import cv2
import numpy as np

pixels = cv2.imread("image.jpg")  # rows x columns x 3: blue, green, red
scale = min({width} / max(pixels.shape[:2]), {height} / min(pixels.shape[:2]))
rows, columns = (int(side * scale + 0.5) for side in pixels.shape[:2])
pixels = cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_LINEAR)[:, :, ::-1]
image = np.zeros((1, 3, {side}, {side}), np.float32)
image[0, :, :rows, :columns] = ({code}).transpose(2, 0, 1)""",
    # Pillow smooths an image that shrinks, as the training does; OpenCV's bicubic resizing does not.
    "crop": """\
import numpy as np
from PIL import Image, ImageOps

picture = ImageOps.exif_transpose(Image.open("image.jpg")).convert("RGB")
columns, rows = ({shorter} * side // min(picture.size) for side in picture.size)
picture = picture.resize((columns, rows), Image.Resampling.BICUBIC)
left, top = round((columns - {side}) / 2), round((rows - {side}) / 2)
pixels = np.asarray(picture.crop((left, top, left + {side}, top + {side})))  # rows x columns x 3: red, green, blue
values = {code}
image = np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32)""",
}

_RUN_ONNX: dict[Reading, str] = {
    "fit": """
import onnxruntime

maps = onnxruntime.InferenceSession("onnx/model.onnx").run(None, {"image": image})
""",
    "crop": """
import onnxruntime

(scores,) = onnxruntime.InferenceSession("onnx/model.onnx").run(None, {"image": image})
parts = np.exp(scores - scores.max(1, keepdims=True))
probabilities = parts / parts.sum(1, keepdims=True)
""",
}

_RUN_TORCH: dict[Reading, str] = {
    "fit": """
import runpy

import torch

with torch.no_grad():
    maps = runpy.run_path("torch/model.py")["build"]()(torch.from_numpy(image))
""",
    "crop": """
import runpy

import torch

with torch.no_grad():
    scores = runpy.run_path("torch/model.py")["build"]()(torch.from_numpy(image))
probabilities = scores.softmax(1)
""",
}


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
        text += _TORCH[export.plan.reading].format(
            multiple=architecture.multiple, side=architecture.resolution, outputs=export.plan.outputs
        )
    if "onnx" in export.formats:
        text += _ONNX.format(side=architecture.resolution, outputs=export.plan.outputs)
    if set(NETWORK_FORMATS) & set(export.formats):
        text += _input(export)
    return text


def _input(export: Export) -> str:
    """Description of the bare network's input: the images as its training reads them."""
    architecture, formats, plan = export.architecture, export.formats, export.plan
    side, (width, height) = architecture.resolution, export.box
    any_size = f"(B, 3, H, W) in torch, H and W multiples of {architecture.multiple}"
    shapes = {
        "onnx": f"(1, 3, {side}, {side}) in ONNX",
        "torch": any_size if plan.reading == "fit" else f"(B, 3, {side}, {side}) in torch",
    }
    run = [text[plan.reading] for name, text in (("onnx", _RUN_ONNX), ("torch", _RUN_TORCH)) if name in formats]
    mean, std = plan.norm
    shorter = int(side / plan.training.measured_share)
    numbers = {"width": width, "height": height, "side": side, "shorter": shorter}
    return _INPUT.format(
        shapes="; ".join(text for name, text in shapes.items() if name in formats),
        formula=norm_formula(plan.norm),
        channels="in every channel" if len(set(mean)) == len(set(std)) == 1 else "for red, green and blue",
        least=min((0 - middle) / spread for middle, spread in zip(mean, std, strict=True)),
        most=max((255 - middle) / spread for middle, spread in zip(mean, std, strict=True)),
        rows=_ROWS[plan.reading].format(**numbers),
        read=_READ[plan.reading].format(**numbers, code=norm_formula(plan.norm, "pixels")),
        run="".join(run).rstrip("\n"),
    )


def expected_cost(export: Export, epochs: int, images_a_step: int, outputs: int | None = None) -> str:
    """Work, time and memory of the full training in closed form, for the section of a task.

    Args:
        export: Request of the export.
        epochs: Passes over the training images.
        images_a_step: Images a step, over all GPUs.
        outputs: Class scores of the merge `logits`; None for another merge.
    """
    architecture, training = export.architecture, export.plan.training
    convention = conventions_of(architecture, export.plan.head)[-1]
    head = export.plan.head if convention == "whole" else None
    width, height = export.box
    value_bytes = 2 if training.precision == "bfloat16" else 4
    image = (height, width)
    one = price(architecture, convention, image, head, outputs)
    step = memory(architecture, convention, image, head, images_a_step, value_bytes, outputs)
    alone = (
        "with the heads of its branches"
        if export.plan.head is not None
        else "without the head, whose cost is not known"
    )
    extent = "with the head" if head is not None else alone
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
