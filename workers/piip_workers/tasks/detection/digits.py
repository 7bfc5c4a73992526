"""A small detection data set without download: handwritten digits of very different sizes on textured ground."""

from pathlib import Path

from piip_workers.images.composed_sets import composed

DIGITS = {"train": 160, "val": 40}
"""Number of images of each part."""
DIGITS_VERSION = 1
"""Version of the images; raised with each change, so that no old cache is used."""


def compose(folder: Path) -> Path:
    """Writes the set as ordinary COCO files if it is missing; equal on every machine.

    The folder is created atomically, also if several processes do it together.

    Returns:
        The folder of `train/`, `val/` and `annotations/`.

    Raises:
        CacheError: The set cannot be written.
    """
    return composed(folder / f"digits-{DIGITS_VERSION}", "the digits", _write)


def _write(folder: Path) -> None:
    from piip_workers.tasks.detection.digit_pictures import write_parts

    write_parts(folder, DIGITS)
