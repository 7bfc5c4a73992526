"""What features are worth: nearest neighbours and a linear classifier on pictures that nobody was trained for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn

from miniature_steps.pictures import read_picture

SIDE = 128
NEIGHBOURS, TEMPERATURE = 10, 0.07
Features = Callable[[NDArray[np.uint8]], Tensor]
"""Mean feature of each picture, shape (N, C), from pictures of shape (N, SIDE, SIDE, 3)."""


@dataclass(frozen=True)
class Labelled:
    """Pictures with classes, to learn from and to be judged by."""

    known_NHWC: NDArray[np.uint8]
    classes_N: NDArray[np.int64]
    asked_MHWC: NDArray[np.uint8]
    answers_M: NDArray[np.int64]


def trashnet(data: Path) -> Labelled:
    """Six kinds of rubbish: 591 pictures to learn from, 210 to be judged by."""
    parts: list[NDArray[Any]] = []
    for split in ("train", "val"):
        folders = sorted(path for path in (data / "trashnet" / split).iterdir() if path.is_dir())
        files = [(path, number) for number, folder in enumerate(folders) for path in sorted(folder.iterdir())]
        parts.append(np.stack([_small(read_picture(path)) for path, _ in files]))
        parts.append(np.array([number for _, number in files]))
    return Labelled(*parts)


def digits() -> Labelled:
    """Ten handwritten digits of scikit-learn; every fifth is asked, as in the embedded data set."""
    source = load_digits()
    pictures = np.stack([_small(np.repeat((one * 15.9).astype(np.uint8)[..., None], 3, 2)) for one in source.images])
    asked = np.arange(len(source.target)) % 5 == 0
    return Labelled(pictures[~asked], source.target[~asked], pictures[asked], source.target[asked])


def _small(picture_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    smaller = picture_HWC.shape[0] > SIDE
    return cv2.resize(picture_HWC, (SIDE, SIDE), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def accuracies(features: Features, pictures: Labelled) -> tuple[float, float]:
    """Shares of right answers by the nearest neighbours and by a linear classifier."""
    known_NC, asked_MC = features(pictures.known_NHWC), features(pictures.asked_MHWC)
    classes_N, answers_M = torch.from_numpy(pictures.classes_N), torch.from_numpy(pictures.answers_M)
    answers = (_neighbours(known_NC, classes_N, asked_MC), _linear(known_NC, classes_N, asked_MC))
    nearest, linear = (float((given_M == answers_M).double().mean()) for given_M in answers)
    return nearest, linear


def _neighbours(known_NC: Tensor, classes_N: Tensor, asked_MC: Tensor) -> Tensor:
    """Votes of the nearest known pictures by angle, the nearer the stronger."""
    centre_C = known_NC.mean(0)
    likeness_MN = F.normalize(asked_MC - centre_C) @ F.normalize(known_NC - centre_C).T
    nearest = likeness_MN.topk(NEIGHBOURS, 1)
    votes_MK = torch.zeros(len(asked_MC), int(classes_N.max()) + 1)
    votes_MK.scatter_add_(1, classes_N[nearest.indices], (nearest.values / TEMPERATURE).exp())
    return votes_MK.argmax(1)


def _linear(known_NC: Tensor, classes_N: Tensor, asked_MC: Tensor) -> Tensor:
    """A linear classifier over standardised features, trained for 300 steps."""
    torch.manual_seed(0)
    mean_C, std_C = known_NC.mean(0), known_NC.std(0) + 1e-6
    classifier = nn.Linear(known_NC.shape[1], int(classes_N.max()) + 1)
    optimiser = torch.optim.AdamW(classifier.parameters(), 1e-2, weight_decay=0.1)
    for _ in range(300):
        optimiser.zero_grad()
        F.cross_entropy(classifier((known_NC - mean_C) / std_C), classes_N).backward()
        optimiser.step()
    with torch.no_grad():
        scores_MK: Tensor = classifier((asked_MC - mean_C) / std_C)
    return scores_MK.argmax(1)
