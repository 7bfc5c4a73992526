"""Reads training images: decoded once, with random numbers that depend only on the image and the epoch.

mmdet seeds a loader process once, so that an image's augmentation depends on the number of processes and on
interruptions. Here neither matters: equal seeds give equal batches with 0 or 8 processes, straight or resumed.
"""

import random
import socket
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from piip_search.errors import ImageError, MachineError
from piip_search.sections import Orientation
from piip_workers.images.pixels import Pixels, decoded
from piip_workers.mmlab.shims import install
from piip_workers.tasks.detection.annotations import CocoByName

install()
from mmcv.transforms import LoadImageFromFile  # noqa: E402
from mmdet.registry import DATA_SAMPLERS, DATASETS, TRANSFORMS  # noqa: E402
from mmengine import fileio  # noqa: E402
from mmengine.dataset import DefaultSampler  # noqa: E402


@DATA_SAMPLERS.register_module()
class EpochSampler(DefaultSampler):  # type: ignore[misc]
    """mmengine's shuffling sampler with indices that include the epoch: index + epoch x images."""

    def __iter__(self) -> Iterator[int]:
        start = self.epoch * len(self.dataset)
        return (start + index for index in super().__iter__())


@DATASETS.register_module()
class SeededCocoDataset(CocoByName):
    """A COCO data set for `EpochSampler`: an image's random numbers depend on seed, epoch and index."""

    def __init__(self, *arguments: Any, seed: int = 0, **settings: Any) -> None:
        """Builds the data set.

        Args:
            arguments: Arguments of `CocoByName`.
            seed: Seed of the augmentation.
            settings: Settings of `CocoByName`.
        """
        self.seed = seed
        super().__init__(*arguments, **settings)

    def get_data_info(self, index: int) -> Any:
        """The facts of an image by an index of any epoch: samplers that group images by shape need them."""
        return super().get_data_info(index % len(self))

    def __getitem__(self, index: int) -> Any:
        epoch, image = divmod(index, len(self))
        (state,) = np.random.SeedSequence([self.seed, epoch, image]).generate_state(1)
        np.random.seed(state)
        random.seed(int(state))
        return super().__getitem__(image)


class _Cache:
    """The last images that were read, up to a size."""

    def __init__(self) -> None:
        self._images: OrderedDict[str, Pixels] = OrderedDict()
        self._bytes = 0

    def get(self, path: str) -> Pixels | None:
        image = self._images.get(path)
        if image is not None:
            self._images.move_to_end(path)
        return image

    def put(self, path: str, image: Pixels, limit: int) -> None:
        if image.nbytes > limit:
            return
        self._images[path] = image
        self._bytes += image.nbytes
        while self._bytes > limit:
            _, oldest = self._images.popitem(last=False)
            self._bytes -= oldest.nbytes


_cache = _Cache()
"""The cache of the process: a worker trains many candidates on the same images."""


@TRANSFORMS.register_module()
class ReadImage(LoadImageFromFile):  # type: ignore[misc]
    """Decodes an image, or takes it from the cache."""

    def __init__(
        self,
        cache_mib: int = 0,
        unreadable: str | None = None,
        orientation: Orientation = "exif",
        bits: int = 16,
        **settings: Any,
    ) -> None:
        """Builds the transform.

        Args:
            cache_mib: Most memory for decoded images in one process, MiB.
            unreadable: File that lists undecodable images, which others replace; None makes them an error.
            orientation: Whether EXIF's turn applies, or the stored pixels, where the recorded size does not decide it.
            bits: Bits in use of images with 16 bits a channel.
            settings: Settings of mmcv's `LoadImageFromFile`.
        """
        super().__init__(**settings)
        self._limit = cache_mib * 2**20
        self._unreadable = unreadable
        self._orientation: Orientation = orientation
        self._bits = bits

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Adds the pixels; None if another image must replace this one.

        Raises:
            ImageError: The image cannot be decoded, and no other may replace it.
            MachineError: The storage cannot be read.
        """
        path = str(results["img_path"])
        size = (results["height"], results["width"]) if "height" in results else None
        key = f"{path} {self._orientation} {self._bits} {size}"
        image = _cache.get(key)
        if image is None:
            try:
                content = fileio.get(path, backend_args=self.backend_args)
                image = decoded(content, self._orientation, self._bits, size)
            except (FileNotFoundError, ValueError) as error:
                if isinstance(error, FileNotFoundError) and not Path(path).parent.is_dir():
                    raise _storage_error(path, error) from error
                self._skip(path, error)
                return None
            except OSError as error:
                raise _storage_error(path, error) from error
            _cache.put(key, image, self._limit)
        height, width = image.shape[:2]
        return {**results, "img": image.copy(), "img_shape": (height, width), "ori_shape": (height, width)}

    def _skip(self, path: str, error: BaseException) -> None:
        if self._unreadable is None:
            raise ImageError(f"{path} {error}; restore the file, or remove it from the annotations") from error
        with Path(self._unreadable).open("a", encoding="utf-8") as file:
            file.write(f"{path}\n")


def _storage_error(path: str, error: OSError) -> MachineError:
    """The error for a fault of the storage and not of the image: a lost mount, too many open files, a permission."""
    return MachineError(
        f"{socket.gethostname()} cannot read {path}: {error}; repair its storage and run the same command "
        "again: it goes on where it stopped"
    )


def unreadable_images(file: Path) -> list[str]:
    """The images that `ReadImage` listed, without repetitions."""
    return sorted(set(file.read_text(encoding="utf-8").splitlines())) if file.exists() else []
