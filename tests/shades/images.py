"""Grey images with their brightness."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from shades.task import ShadesData

VALIDATION = 8


def grey(count: int, side: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images of shape (count, 3, side, side) and their brightness."""
    shades_B = torch.rand(count, generator=torch.Generator().manual_seed(seed))
    return shades_B[:, None, None, None].expand(-1, 3, side, side).contiguous(), shades_B


def listed(data: ShadesData) -> dict[str, float]:
    """The brightness of each image of a folder."""
    found: dict[str, float] = json.loads((folder_of(data) / str(data.shades)).read_text(encoding="utf-8"))
    return found


def folder_of(data: ShadesData) -> Path:
    return Path(str(data.root))


def problems(data: ShadesData) -> list[str]:
    if data.embedded:
        return []
    file = folder_of(data) / str(data.shades)
    if not file.is_file():
        return [f"data.shades: there is no {file}; name a JSON file with the brightness of each image"]
    wrong = [(name, shade) for name, shade in listed(data).items() if not 0 <= shade <= 1]
    return [f"{file}: a brightness must be from 0 to 1, got {shade} of {name}; scale it" for name, shade in wrong[:1]]


def read(data: ShadesData, count: int, side: int, seed: int) -> tuple[Tensor, Tensor]:
    if data.embedded:
        return grey(count, side, seed)
    shades = list(listed(data).items())[:count]
    pixels = [np.asarray(Image.open(folder_of(data) / name).convert("RGB").resize((side, side))) for name, _ in shades]
    images_BHWC = torch.from_numpy(np.stack(pixels)).float() / 255
    return images_BHWC.permute(0, 3, 1, 2).contiguous(), torch.tensor([shade for _, shade in shades])


def fingerprint(data: ShadesData) -> str:
    text = data.embedded or json.dumps(listed(data), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
