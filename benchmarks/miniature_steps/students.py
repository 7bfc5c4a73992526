"""Students: branches of the catalogue that learn to predict a teacher's maps from smaller images.

Legend: B images, C channels, H W grid.
"""

import math
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from miniature_steps.pictures import images_of
from piip_search.architecture import Architecture
from piip_search.architecture.backbones import ConvNeXt, backbone_named
from piip_search.models import PIIP

SIDES, SHARES = (96, 128, 160), (0.3, 0.5, 0.2)
"""Image sizes of the students, and their shares of all steps: positions are learnt for several grids."""
BATCH = 64
LEARNING_RATE, WEIGHT_DECAY, CLIP_NORM, WARMUP_STEPS = 2e-3, 0.05, 1.0, 60
REPORT_STEPS = 25


class Student(nn.Module):
    """One branch as a network of its own; it reads (pixel - 127.5) / 127.5, as detectors give pixels."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.branch = PIIP(Architecture.parse(f"{name}@128{'' if name.startswith('convnext') else ':g'}"))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The branch's last map of images with pixels from 0 to 1."""
        maps = self.branch(x_BCHW * 2 - 1)
        map_BCHW: Tensor = maps[-1] if isinstance(maps, tuple) else maps  # a ConvNeXt returns one a stage
        return map_BCHW

    def weights(self) -> dict[str, Tensor]:
        """The branch's tensors in float16, under timm's names."""
        tensors = self.branch.branches[0].state_dict()
        backbone = self.branch.architecture.branches[0].model
        if isinstance(backbone, ConvNeXt):
            places = _places(backbone)
            tensors = {_renamed(name, places): tensor for name, tensor in tensors.items()}
        return {name: tensor.detach().half().contiguous() for name, tensor in tensors.items()}


class Head(nn.Module):
    """Predicts all maps of a teacher from each place of a student's map."""

    def __init__(self, width: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = list(channels)
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, sum(channels))

    def forward(self, map_BCHW: Tensor) -> list[Tensor]:
        predicted_BHWC = self.linear(self.norm(map_BCHW.permute(0, 2, 3, 1)))
        return list(predicted_BHWC.permute(0, 3, 1, 2).split(self.channels, 1))


class Target:
    """A teacher's map as a target: each channel less its mean, in standard deviations."""

    def __init__(self, maps_NCHW: NDArray[np.float16]) -> None:
        self.maps_NCHW = maps_NCHW
        some_NCHW = torch.from_numpy(np.array(maps_NCHW[:2000], dtype=np.float32))
        self.mean_C11 = some_NCHW.mean((0, 2, 3))[:, None, None]
        self.std_C11 = some_NCHW.std((0, 2, 3))[:, None, None] + 1e-6
        # Means over an image differ less than places do: they have a scale of their own.
        self.spread_C = some_NCHW.mean((2, 3)).std(0) + 1e-6

    def loss(self, predicted_BCHW: Tensor, batch: NDArray[np.int64], flipped_B: Tensor) -> Tensor:
        """Distance of places, and of their mean over the image, each as a difference and as an angle."""
        maps_BCHW = torch.from_numpy(self.maps_NCHW[batch]).float()
        maps_BCHW = torch.where(flipped_B[:, None, None, None], maps_BCHW.flip(3), maps_BCHW)
        sides = predicted_BCHW.shape[-2:]
        if maps_BCHW.shape[-2:] != sides:
            maps_BCHW = F.interpolate(maps_BCHW, sides, mode="bilinear", align_corners=False)
        wanted_BCHW = (maps_BCHW - self.mean_C11) / self.std_C11
        scale_C = self.std_C11.flatten() / self.spread_C
        whole = _distance(predicted_BCHW.mean((2, 3)) * scale_C, wanted_BCHW.mean((2, 3)) * scale_C)
        return _distance(predicted_BCHW, wanted_BCHW) + 0.5 * whole


def _distance(predicted: Tensor, wanted: Tensor) -> Tensor:
    return 0.5 * F.smooth_l1_loss(predicted, wanted) + (1 - F.cosine_similarity(predicted, wanted, dim=1)).mean()


def taught(
    name: str,
    passes: float,
    crops_NHWC: NDArray[np.uint8],
    maps: Sequence[NDArray[np.float16]],
    minutes: float | None = None,
) -> tuple[Student, float]:
    """A student, and the passes over all crops that it has made.

    Args:
        name: Backbone.
        passes: Most passes over the crops.
        crops_NHWC: Crops.
        maps: The teacher's maps of the crops.
        minutes: Longest time. The rate falls with the larger share of passes and time, so that it ends low either way.
    """
    torch.manual_seed(0)
    random = np.random.RandomState(0)
    student = Student(name)
    head = Head(backbone_named(name).stages[-1].width, [one.shape[1] for one in maps])
    targets = [Target(one[: len(crops_NHWC)]) for one in maps]
    parameters = [*student.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    steps, began, total = int(passes * len(crops_NHWC) / BATCH), time.monotonic(), 0.0
    for step, batch in enumerate(_batches(random, len(crops_NHWC))):
        spent = (time.monotonic() - began) / 60
        done = max(step / steps, 0 if minutes is None else spent / minutes)
        if done >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * _rate(step, done)
        x_BCHW = images_of(crops_NHWC[batch], int(random.choice(SIDES, p=SHARES)))
        flipped_B = torch.from_numpy(random.rand(BATCH) < 0.5)
        x_BCHW = _coloured(torch.where(flipped_B[:, None, None, None], x_BCHW.flip(3), x_BCHW))
        predictions = head(student(x_BCHW))
        losses = [target.loss(one, batch, flipped_B) for target, one in zip(targets, predictions, strict=True)]
        loss = torch.stack(losses).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimiser.step()
        total += float(loss.detach())
        if step % REPORT_STEPS == REPORT_STEPS - 1:
            print(
                f"{name}: step {step + 1:,} of {steps:,}, {done:.0%}, loss {total / REPORT_STEPS:.3f}, "
                f"{spent:.1f} min, {time.process_time():.0f} CPU s",
                flush=True,
            )
            total = 0.0
    return student.eval(), step * BATCH / len(crops_NHWC)


def _batches(random: np.random.RandomState, count: int) -> Iterator[NDArray[np.int64]]:
    """Crops of each step, without end: all of them once a pass, in another order each time."""
    while True:
        order = random.permutation(count)[: count // BATCH * BATCH]
        yield from np.sort(order.reshape(-1, BATCH), 1)


def _rate(step: int, done: float) -> float:
    """Share of the peak rate: linear rise, then half a cosine over the training."""
    return min(1.0, (step + 1) / WARMUP_STEPS) * (0.005 + 0.995 * 0.5 * (1 + math.cos(math.pi * done)))


def _coloured(x_BCHW: Tensor) -> Tensor:
    """Images with other brightness, contrast and tint; the teacher saw the original ones."""
    count = len(x_BCHW)
    contrast, light = torch.empty(2, count, 1, 1, 1).uniform_(-0.4, 0.4).unbind(0)
    tint = torch.empty(count, 3, 1, 1).uniform_(-0.15, 0.15)
    grey = (torch.rand(count, 1, 1, 1) < 0.1).float()
    mean_B111 = x_BCHW.mean((1, 2, 3), keepdim=True)
    x_BCHW = ((x_BCHW - mean_B111) * contrast.exp() + mean_B111) * (light / 2).exp() * tint.exp()
    x_BCHW = grey * x_BCHW.mean(1, keepdim=True) + (1 - grey) * x_BCHW
    return x_BCHW.clamp(0, 1)


def _places(backbone: ConvNeXt) -> list[str]:
    """Timm's prefix of each block: a branch has its blocks in sequence, and a downsampling is one."""
    places = []
    for stage, depth in enumerate(backbone.depths):
        places += [f"stages.{stage}.downsample"] if stage else []
        places += [f"stages.{stage}.blocks.{block}" for block in range(depth)]
    return places


def _renamed(name: str, places: Sequence[str]) -> str:
    if not name.startswith("blocks."):
        return name
    _, row, rest = name.split(".", 2)
    return f"{places[int(row)]}.{rest}"
