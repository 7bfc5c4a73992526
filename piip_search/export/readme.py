"""What the README of an export says: how to train the design, from what, and what that takes."""

from piip_search.cost import COCO_MASK_RCNN, Convention, memory, price
from piip_search.export import official_config
from piip_search.export.images import box
from piip_search.export.recipe import BATCH
from piip_search.export.request import Export

THROUGHPUT = 20.0
"""10^12 multiply-accumulates a second that a GPU sustains in training: a tenth of an A100's bfloat16 peak."""

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
`pip install "piip-search[models]"` and no mmdet.
"""

_ONNX = """
## In ONNX

`onnx/model.onnx` takes one image of {side} x {side} pixels as `image`, shape (1, 3, {side}, {side}), with mean and
standard deviation of 127.5, and gives the maps of strides 4, 8, 16 and 32 that a detector's neck reads. Its weights are
in `onnx/model.onnx.data`, where the file is too large to hold them.
"""


def readme(export: Export) -> str:
    """The text, with a part for each format."""
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
            batch=BATCH,
            weights=_weights(export),
            width=width,
            height=height,
            multiple=architecture.multiple,
            cost=_cost(export),
        )
        text += _official(export)
    if "torch" in export.formats:
        text += _TORCH
    if "onnx" in export.formats:
        text += _ONNX.format(side=architecture.resolution)
    return text


def _weights(export: Export) -> str:
    fitting = [f"{b.backbone}: {b.model.timm_name}" for b in export.architecture.branches if b.model.timm_name]
    if export.start.kind != "random" or not fitting:
        return export.start.text
    return f"{export.start.text} timm models whose weights fit: {', '.join(fitting)}."


def _official(export: Export) -> str:
    reasons = official_config.refusals(export.architecture, export.training)
    if reasons:
        return _NOT_OFFICIAL.format(reasons="\n".join(f"- {reason}" for reason in reasons))
    said = official_config.remarks(export.architecture, export.data, export.training)
    return _OFFICIAL.format(
        place=official_config.PLACE,
        padding=official_config.padding_of(export.architecture),
        gpus=official_config.GPUS,
        seed=export.seed,
        remarks="".join(f"\nNote: {remark}.\n" for remark in said),
    )


def _cost(export: Export) -> str:
    """Work, time and memory of the full training, from the closed form."""
    architecture, training = export.architecture, export.training
    width, height = box(architecture, training)
    value_bytes = 2 if training.precision == "bfloat16" else 4
    known = export.detector is not None
    convention: Convention = "detector" if known else "backbone"
    detector = export.detector or COCO_MASK_RCNN
    image = (height, width)
    one = price(architecture, convention, image, detector)
    step = memory(architecture, convention, image, detector, BATCH, value_bytes)
    extent = "with the detector" if known else f"without the heads of {training.detector}, whose cost is not known"
    parts = [
        f"{one.gmacs:.4g} GMACs for {width} x {height} pixels, {one.mparams:.4g} M parameters, {extent}",
        f"about {step.training / 1e9:.3g} GB in {training.precision} for the {BATCH} images of a step on one GPU",
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
