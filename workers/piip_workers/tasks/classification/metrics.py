"""Metrics of a classifier from its scores and the true classes.

Legend: N images, K classes.
"""

import numpy as np
from numpy.typing import NDArray

CALIBRATION_RANGES = 15
"""Ranges of confidence of the calibration error (Guo et al., arXiv 1706.04599, section 4)."""

_Scores = NDArray[np.floating]
_Labels = NDArray[np.integer]


def metrics_of(scores_NK: _Scores, labels_N: _Labels) -> dict[str, float]:
    """All metrics by name; top5 is left out where five classes or fewer make it 1.

    Args:
        scores_NK: Scores before the softmax.
        labels_N: True classes, from 0 to K - 1; at least one.
    """
    classes = scores_NK.shape[1]
    counts_KK = confusion(scores_NK.argmax(1), labels_N, classes)
    found = {
        "top1": float(np.trace(counts_KK) / len(labels_N)),
        "balanced_accuracy": balanced_accuracy(counts_KK),
        "macro_f1": macro_f1(counts_KK),
        "calibration_error": calibration_error(scores_NK, labels_N),
    }
    if classes > 5:
        found["top5"] = top_share(scores_NK, labels_N, 5)
    return found


def confusion(answers_N: _Labels, labels_N: _Labels, classes: int) -> NDArray[np.int64]:
    """Number of images by true class (rows) and answer (columns), shape (K, K)."""
    counts = np.bincount(labels_N * classes + answers_N, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def top_share(scores_NK: _Scores, labels_N: _Labels, count: int) -> float:
    """Share of the images with fewer than `count` classes that score above the true one, or equal and before it."""
    own_N1 = np.take_along_axis(scores_NK, labels_N[:, None], 1)
    earlier_NK = np.arange(scores_NK.shape[1]) < labels_N[:, None]
    above_N = ((scores_NK > own_N1) | ((scores_NK == own_N1) & earlier_NK)).sum(1)
    return float((above_N < count).mean())


def recalls(counts_KK: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of each class's images that are right, shape (K,); not a number for a class without images."""
    images_K = counts_KK.sum(1)
    return np.where(images_K > 0, np.diag(counts_KK) / np.maximum(images_K, 1), np.nan)


def balanced_accuracy(counts_KK: NDArray[np.int64]) -> float:
    """Mean recall over the classes that have images."""
    return float(np.nanmean(recalls(counts_KK)))


def macro_f1(counts_KK: NDArray[np.int64]) -> float:
    """Mean of 2 TP / (2 TP + FP + FN) over the classes that have images or answers."""
    right_K, all_K = np.diag(counts_KK), counts_KK.sum(0) + counts_KK.sum(1)
    return float((2 * right_K[all_K > 0] / all_K[all_K > 0]).mean())


def calibration_error(scores_NK: _Scores, labels_N: _Labels) -> float:
    """Expected calibration error: sum over ranges of (images / N) |accuracy - mean confidence|.

    Confidence is the largest probability; ranges have equal widths from 0 to 1 (Guo et al., equation 3).
    """
    shifted_NK = scores_NK.astype(np.float64) - scores_NK.max(1, keepdims=True)
    confidence_N = 1 / np.exp(shifted_NK).sum(1)
    right_N = scores_NK.argmax(1) == labels_N
    range_N = np.clip(np.ceil(confidence_N * CALIBRATION_RANGES).astype(int) - 1, 0, CALIBRATION_RANGES - 1)
    gaps = [
        abs(float((right_N[range_N == one].astype(float) - confidence_N[range_N == one]).sum()))
        for one in range(CALIBRATION_RANGES)
    ]
    return sum(gaps) / len(labels_N)
