"""A small data set without download: one handwritten digit an image, of very different sizes on textured ground."""

from pathlib import Path

from piip_workers.images.composed_sets import composed

DIGIT_IMAGES = {"train": 1000, "val": 300}
"""Number of images of each part."""
CLASS_DIGITS_VERSION = 1
"""Version of the images; raised with each change, so that no old cache is used."""


def compose_digits(folder: Path) -> Path:
    """Writes the set as class folders if it is missing; equal on every machine.

    Returns:
        The folder of `train/` and `val/`, which hold a folder for each digit.

    Raises:
        CacheError: The set cannot be written.
    """
    return composed(folder / f"class-digits-{CLASS_DIGITS_VERSION}", "the digits", _write)


def _write(folder: Path) -> None:
    from piip_workers.tasks.classification.single_digits import write_class_folders

    write_class_folders(folder, DIGIT_IMAGES)
