"""What a ViT loses when its patches are brought from 14 to 16 px, both ways: by pseudo-inverse, and as pictures.

python benchmarks/patches.py WEIGHTS PICTURES

WEIGHTS is a file of `vit_small_patch14_dinov2` (timm's, or its authors'), PICTURES a folder of photographs. The model
as it was trained sees every picture at 224 px, the one with resized patches at 256 px, so that both have the same
16 x 16 tokens of the same content: a resizing that changes nothing would give the same tokens.
"""

import sys
from pathlib import Path

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from piip_search.architecture import Architecture
from piip_search.models import PIIP
from piip_search.models.weights.pretrained import load_pretrained

MODEL = "vit_small_patch14_dinov2"
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
PICTURES = 24


def picture(path: Path) -> Tensor:
    """The middle square, 512 px wide, shape (1, 3, 512, 512)."""
    pixels = torch.from_numpy(cv2.imread(str(path))).flip(-1)
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side].permute(2, 0, 1)[None] / 255
    return resized((square - MEAN) / STD, 512)


def resized(image: Tensor, side: int) -> Tensor:
    return F.interpolate(image, (side, side), mode="bilinear", antialias=True, align_corners=False)


def main() -> None:
    weights, folder = Path(sys.argv[1]), Path(sys.argv[2])
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png"))[:PICTURES]
    images = torch.cat([picture(path) for path in paths])
    torch.manual_seed(0)
    own = PIIP(Architecture.parse(f"{MODEL}@224:g/tokens"), outputs=32).eval()
    load_pretrained(own, weights)
    print(f"{MODEL}, {len(paths)} pictures: difference from the tokens at 14 px, relative\n")
    print("| patches | kernels grow by | embedding | last tokens |")
    print("| --- | --- | --- | --- |")
    for way in ("inverse", "bicubic"):
        other = PIIP(Architecture.parse(f"{MODEL}@256:gp16/tokens"), outputs=32).eval()
        load_pretrained(other, weights, way)
        with torch.no_grad():
            pairs = [(own.branches[0], resized(images, 224)), (other.branches[0], resized(images, 256))]
            embedded, other_embedded = (branch.patch_embed(image) for branch, image in pairs)
            last, other_last = (branch.run(*branch.embed(image), range(12))[0] for branch, image in pairs)
            kernels = [branch.patch_embed.proj.weight for branch, _ in pairs]
        grown = (kernels[1].norm() / kernels[0].norm()).item()
        errors = [((b - a).norm() / a.norm()).item() for a, b in ((embedded, other_embedded), (last, other_last))]
        print(f"| {way} | {grown:.2f} | {errors[0]:.1%} | {errors[1]:.1%} |")


if __name__ == "__main__":
    main()
