"""Crops of pictures whose licences allow it, written once into a file that is read in parts."""

import math
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CROPS_A_PICTURE = {"coco_cc_mini": 50, "trashnet": 6, "bccd": 5, "nuclei_dsb2018": 2}
"""Crops of each training picture, by folder of the data: photographs of many things show most in their parts."""
CROP_SIDE = 192
SMALLEST_SHARE = 0.08
"""Smallest share of a picture's area in a crop; shares are uniform on a logarithmic scale."""
_ENDINGS = (".jpg", ".jpeg", ".png")


def read_picture(path: Path) -> NDArray[np.uint8]:
    """A picture of shape (H, W, 3), channels red, green, blue."""
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def pictures_in(folder: Path) -> list[Path]:
    """Pictures in a folder and its folders, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS)


def crops_of(data: Path, file: Path) -> NDArray[np.uint8]:
    """Crops of all training pictures in a fixed random order, shape (N, SIDE, SIDE, 3); cut if the file is missing.

    Args:
        data: Folder of the data sets.
        file: File to write them into, or to read them from.
    """
    if not file.is_file():
        random = np.random.RandomState(0)
        sources = [
            path
            for name, count in CROPS_A_PICTURE.items()
            for path in pictures_in(data / name / "train")
            for _ in range(count)
        ]
        places = random.permutation(len(sources))
        part = file.with_suffix(".part")
        shape = (len(sources), CROP_SIDE, CROP_SIDE, 3)
        crops = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
        picture, last = None, None
        for place, path in zip(places, sources, strict=True):
            if path != last:
                picture, last = read_picture(path), path
            crops[place] = _crop(picture, random)
        crops.flush()
        part.rename(file)
    return np.load(file, mmap_mode="r")


def _crop(picture_HWC: NDArray[np.uint8], random: np.random.RandomState) -> NDArray[np.uint8]:
    """A part of a random size, place and shape."""
    height, width = picture_HWC.shape[:2]
    area = height * width * math.exp(random.uniform(math.log(SMALLEST_SHARE), 0))
    shape = math.exp(random.uniform(-0.3, 0.3))
    w, h = min(width, int(math.sqrt(area * shape))), min(height, int(math.sqrt(area / shape)))
    left, top = random.randint(0, width - w + 1), random.randint(0, height - h + 1)
    part = picture_HWC[top : top + h, left : left + w]
    return cv2.resize(part, (CROP_SIDE, CROP_SIDE), interpolation=cv2.INTER_AREA if w > CROP_SIDE else cv2.INTER_LINEAR)


def images_of(pixels_BHWC: NDArray[np.uint8], side: int) -> Tensor:
    """Pictures at another size as pixels from 0 to 1, shape (B, 3, side, side)."""
    if pixels_BHWC.shape[1] != side:
        pixels_BHWC = np.stack([cv2.resize(one, (side, side), interpolation=cv2.INTER_AREA) for one in pixels_BHWC])
    return torch.from_numpy(np.array(pixels_BHWC)).permute(0, 3, 1, 2).float() / 255
