"""Images of a classifier as tensors: decoded once, changed at random from the seed, the epoch and their number."""

import random
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from piip_search.errors import DataError
from piip_search.models._torchvision import import_torchvision
from piip_search.tasks.classification.section import ClassificationTraining
from piip_workers.tasks.classification.data import Labelled, read_image

import_torchvision()
from PIL import Image  # noqa: E402
from timm.data import create_transform  # noqa: E402
from timm.data.constants import (  # noqa: E402
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    IMAGENET_INCEPTION_MEAN,
    IMAGENET_INCEPTION_STD,
)

MIB = 2**20
MOST_TRIED = 20
"""Images that are tried in the place of one that cannot be decoded."""

_Pixels = NDArray[np.uint8]


class DecodedImages:
    """Decoded images, the latest ones of so many bytes."""

    def __init__(self, mib: int) -> None:
        """Begins empty.

        Args:
            mib: Most memory, MiB.
        """
        self._most, self._held = mib * MIB, 0
        self._kept: OrderedDict[Path, _Pixels] = OrderedDict()

    def read(self, path: Path) -> _Pixels:
        """The pixels of a file, shape (H, W, 3), red first.

        Raises:
            DataError: It cannot be decoded.
        """
        if path in self._kept:
            self._kept.move_to_end(path)
            return self._kept[path]
        pixels: _Pixels = read_image(path)
        if pixels.nbytes <= self._most:
            self._kept[path] = pixels
            self._held += pixels.nbytes
            while self._held > self._most:
                self._held -= self._kept.popitem(last=False)[1].nbytes
        return pixels


class ClassPictures(Dataset[tuple[Tensor, int]]):
    """The images of a part by their positions; for training also by epoch, from which their changes are drawn."""

    def __init__(
        self,
        part: Labelled,
        places: Sequence[int],
        transform: Callable[[Any], Tensor],
        seed: int | None,
        cache_mib: int,
        unreadable: Path | None = None,
    ) -> None:
        """Prepares the images, and decodes none.

        Args:
            part: Part of the data.
            places: Positions in it.
            transform: Makes a tensor of an image.
            seed: Seed of random changes; None for none.
            cache_mib: Most memory for decoded images, MiB.
            unreadable: File that lists images that cannot be decoded, in whose place the next ones are taken; None
                raises for them.
        """
        self._part, self._places, self._transform, self._seed = part, list(places), transform, seed
        self._images, self._unreadable = DecodedImages(cache_mib), unreadable
        self._told: set[int] = set()

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, asked: tuple[int, int]) -> tuple[Tensor, int]:
        epoch, number = asked
        pixels, place = self._decoded(number)
        with _drawn_from(self._seed, epoch, number):
            tensor = self._transform(Image.fromarray(pixels))
        return tensor, self._part.labels[place]

    def _decoded(self, number: int) -> tuple[_Pixels, int]:
        """The pixels of an image, or of the next one that can be decoded, and its position: its label is its own."""
        for step in range(min(MOST_TRIED, len(self._places))):
            place = self._places[(number + step) % len(self._places)]
            path = self._part.folder / self._part.names[place]
            try:
                return self._images.read(path), place
            except DataError as error:
                if self._unreadable is None:
                    raise
                if place not in self._told:
                    self._told.add(place)
                    with self._unreadable.open("a", encoding="utf-8") as file:
                        file.write(f"{error}\n")
        raise DataError(f"{MOST_TRIED} training images in a row cannot be decoded; {self._unreadable} lists them")


class Batches:
    """Positions of images, a batch each, with the epoch of their changes; each epoch deals its own."""

    def __init__(self) -> None:
        self._epoch = 0
        self._batches: Sequence[Sequence[int]] = ()

    def deal(self, epoch: int, batches: Sequence[Sequence[int]]) -> None:
        """Takes the batches of an epoch."""
        self._epoch, self._batches = epoch, batches

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return ([(self._epoch, number) for number in batch] for batch in self._batches)

    def __len__(self) -> int:
        return len(self._batches)


def training_transform(side: int, training: ClassificationTraining) -> Callable[[Any], Tensor]:
    """The random changes of a training image, by timm."""
    found: Callable[[Any], Tensor] = create_transform(
        side,
        is_training=True,
        scale=training.crop,
        hflip=training.flip,
        color_jitter=None,
        auto_augment=training.augment,
        interpolation="bicubic",
        re_prob=training.erase,
        re_mode="pixel",
        mean=_norm(training)[0],
        std=_norm(training)[1],
    )
    return found


def measured_transform(side: int, training: ClassificationTraining) -> Callable[[Any], Tensor]:
    """The centre of a resized image, by timm."""
    found: Callable[[Any], Tensor] = create_transform(
        side,
        is_training=False,
        interpolation="bicubic",
        crop_pct=training.eval_crop,
        mean=_norm(training)[0],
        std=_norm(training)[1],
    )
    return found


def _norm(training: ClassificationTraining) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the channels, of values from 0 to 1."""
    if training.norm == "imagenet":
        return IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    return IMAGENET_INCEPTION_MEAN, IMAGENET_INCEPTION_STD


@contextmanager
def _drawn_from(seed: int | None, epoch: int, number: int) -> Iterator[None]:
    """Draws random numbers of all kinds from an image's own seed, and leaves those of the training unchanged."""
    if seed is None:
        yield
        return
    own = int(np.random.SeedSequence([seed, epoch, number]).generate_state(1)[0])
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(own)
    np.random.seed(own)
    torch.default_generator.manual_seed(own)  # that of GPUs stays, as drop path draws from it
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
