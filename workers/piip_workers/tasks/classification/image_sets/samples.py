"""Subsets of a part that hold its classes in their shares."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def chosen(labels: Sequence[int], share: float, seed: int) -> tuple[int, ...]:
    """A random subset of the training images, with at least one image of each class; sorted.

    Args:
        labels: Class of each image.
        share: Share of the images, and of each class, as far as whole images allow it.
        seed: Seed of the draw.
    """
    total = max(round(share * len(labels)), len(set(labels)))
    return tuple(range(len(labels))) if total >= len(labels) else _drawn(labels, total, seed)


def measured(labels: Sequence[int], wanted: int | None) -> tuple[int, ...] | None:
    """The validation images that measure every proxy, the same ones in every process; None for all.

    Each class has at least one image if there are enough.

    Args:
        labels: Class of each image.
        wanted: Number of images; None for all.
    """
    return None if wanted is None or wanted >= len(labels) else _drawn(labels, wanted, 0)


def _drawn(labels: Sequence[int], total: int, seed: int) -> tuple[int, ...]:
    """A random draw of so many images, which are fewer than all; the classes have their shares of it."""
    labels_N = np.asarray(labels, dtype=np.int64)
    random = np.random.RandomState(seed)
    classes_K, counts_K = np.unique(labels_N, return_counts=True)
    wanted_K = _allotted(counts_K, total, random.permutation(len(classes_K)))
    drawn: list[int] = []
    for label, wanted in zip(classes_K, wanted_K, strict=True):
        drawn += random.permutation(np.flatnonzero(labels_N == label))[:wanted].tolist()
    return tuple(sorted(drawn))


def _allotted(counts_K: NDArray[np.int64], total: int, order_K: NDArray[np.int64]) -> NDArray[np.int64]:
    """Images of each class: one each, and the others by the sizes of the classes; the order decides between equals."""
    wanted_K = np.zeros(len(counts_K), dtype=np.int64)
    if total <= len(counts_K):
        wanted_K[order_K[:total]] = 1
        return wanted_K
    quotas_K = (counts_K - 1) * (total - len(counts_K)) / (counts_K - 1).sum()
    wanted_K += 1 + quotas_K.astype(np.int64)
    rests_K = (quotas_K % 1)[order_K]
    largest = order_K[np.argsort(-rests_K, kind="stable")]
    wanted_K[largest[: total - int(wanted_K.sum())]] += 1
    return wanted_K
