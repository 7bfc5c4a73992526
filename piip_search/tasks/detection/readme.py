"""The README's section about an exported detector: how to train it, here and with the authors' code."""

from piip_search.architecture.miniatures import MINIATURE, without_miniature
from piip_search.export import Export
from piip_search.export.readme import expected_cost
from piip_search.tasks.detection.authors import config
from piip_search.tasks.detection.mmdet.data import CocoPaths
from piip_search.tasks.detection.mmdet.recipe import IMAGES_A_STEP, TrainingLength
from piip_search.tasks.detection.section import DetectionTraining

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


def detector_section(export: Export, data: CocoPaths, training: DetectionTraining, schedule: TrainingLength) -> str:
    """The section for mmdet, and the one for the authors' code base.

    Args:
        export: Request of the export.
        data: Data set of the training.
        training: Detector and recipe of the search.
        schedule: Schedule of the full training.
    """
    width, height = export.box
    text = _MMDET.format(
        schedule=schedule.name,
        epochs=schedule.epochs,
        batch=IMAGES_A_STEP,
        weights=_weights(export),
        width=width,
        height=height,
        multiple=export.architecture.multiple,
        cost=expected_cost(export, schedule.epochs, IMAGES_A_STEP),
    )
    return text + _official(export, data, training)


def _weights(export: Export) -> str:
    if export.start.kind != "random":
        return export.start.text
    names = [branch.backbone for branch in export.architecture.branches]
    words = "`hub` or" if without_miniature(names) else f"`hub`, `{MINIATURE}` or"
    text = f"{export.start.text} Set `model.backbone.pretrained` to {words} to a folder of files."
    fitting = [f"{b.backbone}: {b.model.timm_name}" for b in export.architecture.branches if b.model.timm_name]
    return f"{text} timm models whose weights fit: {', '.join(fitting)}." if fitting else text


def _official(export: Export, data: CocoPaths, training: DetectionTraining) -> str:
    reasons = config.refusals(export.architecture, training)
    if reasons:
        return _NOT_OFFICIAL.format(reasons="\n".join(f"- {reason}" for reason in reasons))
    said = config.remarks(export.architecture, data, training)
    return _OFFICIAL.format(
        place=config.CONFIG_PLACE,
        padding=config.padding_of(export.architecture),
        gpus=config.GPUS,
        seed=export.seed,
        remarks="".join(f"\nNote: {remark}.\n" for remark in said),
    )
