"""The folder that an export writes: a configuration, the architecture as data, and how to train it."""

import json
from collections.abc import Mapping
from pathlib import Path

from piip_search.architecture import Architecture
from piip_search.export.mmdet_config import CocoPaths, box, full_config, render
from piip_search.spec import Training

FILES = ("config.py", "architecture.json", "README.md")

_README = """# {name}

A PIIP network chosen by piip-search. `config.py` is an mmdet 3 configuration with the full 1x schedule: {detector} on
the images of `{annotations}`, {classes} class{plural}.

{notes}

Train it (one GPU or CPU; checkpoints go to `work/`):

    python -m piip_workers.train config.py --work-dir work

On several GPUs:

    torchrun --nproc-per-node 8 -m piip_workers.train config.py --work-dir work --launcher pytorch

Go on after an interruption with `--resume`; change a setting with `--cfg-options train_dataloader.batch_size=2`. The
batch size in the file is the recipe's 16 images a step, for one process: divide it by the number of GPUs. Where a
compiled mmcv is installed, mmdet's own `tools/train.py config.py` does the same.

{weights} Images are fitted into
{width} x {height} pixels and padded to multiples of {multiple}, so that every branch's grid is exact.
"""


def export_mmdet(
    architecture: Architecture,
    data: CocoPaths,
    training: Training,
    folder: Path,
    notes: Mapping[str, str] | None = None,
) -> Path:
    """Writes a configuration that trains the architecture in full.

    Args:
        architecture: What to train.
        data: What to train it on.
        training: Detector and its channels, as in the search.
        folder: Where to write; new, empty, or an earlier export.
        notes: Lines for the README: where the design comes from, what it costs.

    Returns:
        The path of the configuration.

    Raises:
        ValueError: The folder holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder for the export")
    if folder.is_dir() and {path.name for path in folder.iterdir()} - set(FILES):
        raise ValueError(f"{folder} holds other files; name a new folder, or that of an earlier export")
    title = f"{architecture.name}, written by piip-search; the README says how to train it"
    folder.mkdir(parents=True, exist_ok=True)
    config, as_data, readme = (folder / name for name in FILES)
    config.write_text(render(full_config(architecture, data, training), title))
    content = {"architecture": architecture.name, "fingerprint": architecture.fingerprint, **architecture.to_dict()}
    as_data.write_text(json.dumps(content, indent=2) + "\n")
    readme.write_text(_readme(architecture, data, training, notes or {}))
    return config


def _readme(architecture: Architecture, data: CocoPaths, training: Training, notes: Mapping[str, str]) -> str:
    width, height = box(architecture, training)
    fitting = ", ".join(f"{b.backbone}: {b.model.timm_name}" for b in architecture.branches if b.model.timm_name)
    weights = (
        f"Branches start from pre-trained weights ({training.pretrained})."
        if training.pretrained
        else "Weights start at random; results like the published ones need pre-trained branches: set "
        "`model.backbone.pretrained` to `hub` or to a folder of files"
        + (f" (timm models whose weights fit: {fitting})." if fitting else ".")
    )
    return _README.format(
        weights=weights,
        name=architecture.name,
        detector=training.detector,
        annotations=data.train.annotations,
        classes=len(data.classes),
        plural="" if len(data.classes) == 1 else "es",
        notes="\n".join(f"- {key}: {value}" for key, value in notes.items()),
        width=width,
        height=height,
        multiple=architecture.multiple,
    )
