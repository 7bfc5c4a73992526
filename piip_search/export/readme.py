"""The README of an export: how to train the design, its starting weights, and its cost."""

from piip_search.cost import Convention, memory, price
from piip_search.export.authors import config
from piip_search.export.mmdet.config import MEAN, STD
from piip_search.export.mmdet.data import box
from piip_search.export.mmdet.recipe import IMAGES_A_STEP
from piip_search.export.request import Export
from piip_search.units import gigabytes, quantity

THROUGHPUT = 20.0
"""Sustained training speed of a GPU in 10^12 multiply-accumulates a second: a tenth of an A100's bfloat16 peak."""

_HEAD = """# {name}

A PIIP network chosen by piip-search: {detector} on the images of `{annotations}`, {classes}. `architecture.yaml` is the
design as data; `provenance.json` says where it comes from{proved}.

{notes}
"""

_MMDET = """
## Train

`config.py` is an mmdet 3 configuration with the full {schedule} schedule ({epochs} epochs, {batch} images a step).

    piip-search train .              # one GPU or CPU; checkpoints and log go to work/
    piip-search train . --gpus 8     # several GPUs, which share the {batch} images
    piip-search train . --resume     # after an interruption

Without piip-search's command line the same is

    python -m piip_workers.train config.py --work-dir work
    torchrun --nproc-per-node 8 -m piip_workers.train config.py --work-dir work --launcher pytorch \\
        --cfg-options train_dataloader.batch_size=2

and, where a compiled mmcv is installed, mmdet's own `tools/train.py config.py`.

{weights}

Images are fitted into {width} x {height} pixels and padded to multiples of {multiple}, the least at which every
branch's grid is exact.

Expected: {cost}
"""

_OFFICIAL = """
## Train with the authors' code

`official_config.py` is the same design for the authors' code base (OpenGVLab/PIIP, mmdet 2.25). Copy it into their
`{place}/`, put the weights that their README lists into `mmdetection/pretrained/`, and run there

    sh tools/dist_train.sh configs/piip/official_config.py {gpus} --seed {seed}

Images are padded to multiples of {padding}, as in their recipe.
{remarks}"""

_NOT_OFFICIAL = """
## The authors' code

There is no configuration for the authors' code base (OpenGVLab/PIIP, mmdet 2.25), which cannot build this network:

{reasons}
"""

_TORCH = """
## In torch

`torch/model.py` builds the network with its pyramid and loads `torch/weights.safetensors`; it needs
`pip install "piip-search[models]"` and no mmdet. It takes images of any size whose sides are multiples of {multiple}
pixels.
"""

_ONNX = """
## In ONNX

`onnx/model.onnx` takes one image of {side} x {side} pixels as `image`, and gives the maps of strides 4, 8, 16 and 32
that a detector's neck reads. Its weights are in `onnx/model.onnx.data`, where the file is too large to hold them.
"""

_INPUT = """
## What the network reads

| | |
| --- | --- |
| shape | {shapes} |
| layout | NCHW: images, channels, rows, columns |
| type | float32 |
| channel order | RGB: red, green, blue (OpenCV reads blue, green, red) |
| values | (pixel - {mean:g}) / {std:g} in every channel, of pixels from 0 to 255: from {least:g} to {most:g} |
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
    architecture, training = export.architecture, export.training
    count = len(export.data.classes)
    costs = {f"GMACs ({name} convention)": f"{cost.gmacs:.4g}" for name, cost in export.costs.items()}
    notes = {**export.notes, **costs}
    text = _HEAD.format(
        name=architecture.name,
        detector=training.detector,
        annotations=export.data.train.annotations,
        classes=f"{count} class" if count == 1 else f"{count} classes",
        proved=", and `proof.json` what of these files was tried" if export.proved else "; nothing was tried",
        notes="\n".join(f"- {key}: {value}" for key, value in notes.items()),
    )
    if "mmdet" in export.formats:
        width, height = box(architecture, training)
        text += _MMDET.format(
            schedule=export.schedule.name,
            epochs=export.schedule.epochs,
            batch=IMAGES_A_STEP,
            weights=_weights(export),
            width=width,
            height=height,
            multiple=architecture.multiple,
            cost=_cost(export),
        )
        text += _official(export)
    if "torch" in export.formats:
        text += _TORCH.format(multiple=architecture.multiple)
    if "onnx" in export.formats:
        text += _ONNX.format(side=architecture.resolution)
    if {"torch", "onnx"} & set(export.formats):
        text += _input(export)
    return text


def _input(export: Export) -> str:
    """Description of the network's input without mmdet: the images as its training reads them."""
    architecture, formats = export.architecture, export.formats
    side, (width, height) = architecture.resolution, box(architecture, export.training)
    shapes = {
        "onnx": f"(1, 3, {side}, {side}) in ONNX",
        "torch": f"(B, 3, H, W) in torch, H and W multiples of {architecture.multiple}",
    }
    run = [text for name, text in (("onnx", _RUN_ONNX), ("torch", _RUN_TORCH)) if name in formats]
    (mean, *_), (std, *_) = MEAN, STD
    return _INPUT.format(
        shapes="; ".join(text for name, text in shapes.items() if name in formats),
        mean=mean,
        std=std,
        least=(0 - mean) / std,
        most=(255 - mean) / std,
        width=width,
        height=height,
        side=side,
        run="".join(run).rstrip("\n"),
    )


def _weights(export: Export) -> str:
    fitting = [f"{b.backbone}: {b.model.timm_name}" for b in export.architecture.branches if b.model.timm_name]
    if export.start.kind != "random" or not fitting:
        return export.start.text
    return f"{export.start.text} timm models whose weights fit: {', '.join(fitting)}."


def _official(export: Export) -> str:
    reasons = config.refusals(export.architecture, export.training)
    if reasons:
        return _NOT_OFFICIAL.format(reasons="\n".join(f"- {reason}" for reason in reasons))
    said = config.remarks(export.architecture, export.data, export.training)
    return _OFFICIAL.format(
        place=config.CONFIG_PLACE,
        padding=config.padding_of(export.architecture),
        gpus=config.GPUS,
        seed=export.seed,
        remarks="".join(f"\nNote: {remark}.\n" for remark in said),
    )


def _cost(export: Export) -> str:
    """Work, time and memory of the full training in closed form."""
    architecture, training = export.architecture, export.training
    width, height = box(architecture, training)
    value_bytes = 2 if training.precision == "bfloat16" else 4
    known = export.head is not None
    convention: Convention = "whole" if known else "backbone"
    image = (height, width)
    one = price(architecture, convention, image, export.head)
    step = memory(architecture, convention, image, export.head, IMAGES_A_STEP, value_bytes)
    extent = "with the detector" if known else f"without the heads of {training.detector}, whose cost is not known"
    parts = [
        f"{quantity(one.gmacs, 'GMACs', 4)} for {width} x {height} pixels",
        f"{quantity(one.mparams, 'M parameters', 4)}, {extent}",
        f"about {gigabytes(step.training)} in {training.precision} for the {IMAGES_A_STEP} images of a step on one GPU",
    ]
    if export.images is not None:
        train, val = export.images
        macs = one.macs * export.schedule.epochs * (3 * train + val)
        hours = macs / (THROUGHPUT * 1e12) / 3600
        parts.append(
            f"{macs / 1e15:.4g} x 10^15 multiply-accumulates in all ({train:,} images a pass, measured on {val:,} "
            f"after each), which is {hours:.3g} hours of a GPU that sustains {THROUGHPUT:g} TMAC/s (a tenth of an "
            "A100's bfloat16 peak)"
        )
    return "; ".join(parts) + "."
