"""The starting weights of a classifier's full training: the proxy's, pre-trained branches', or random ones."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from piip_search.architecture import Architecture
from piip_search.errors import WeightsError
from piip_search.evaluation.evaluation import Evaluation
from piip_search.export import Start
from piip_search.models import PIIP, PIIPClassifier
from piip_search.models.weights.inherit import inherit
from piip_search.models.weights.pretrained import load_pretrained
from piip_workers.networks.weights import StartingWeights
from piip_workers.tasks.classification.classifier_training import classifier_of

START_FILE = "weights.pth"
"""File of the starting weights in an export."""


def from_classifier_proxy(architecture: Architecture, evaluation: Evaluation, checkpoint: Path) -> StartingWeights:
    """The weights of a proxy that fit: all of them, as sizes of images and windows are not part of them.

    Args:
        architecture: The design.
        evaluation: Evaluation of the proxy, which may have seen smaller images.
        checkpoint: Checkpoint of the proxy.

    Raises:
        WeightsError: The file cannot be read, or belongs to another design.
    """
    try:
        state: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
        classes = next(len(tensor) for name, tensor in state.items() if name.endswith(("head.bias", "heads.0.bias")))
    except Exception as error:  # a broken or hostile file raises anything
        reason = f"{type(error).__name__}: {error}"
        raise WeightsError(
            f"{checkpoint} cannot be read ({reason}); start from others with --weights random or pretrained"
        ) from None
    trained = architecture.scaled(evaluation.candidate.fidelity.image_scale)
    network = _network(architecture, classes)
    taken = inherit(network, architecture, state, trained)
    if taken.fresh:
        raise WeightsError(f"{checkpoint} is not of {trained}: {taken}; start from others with --weights random")
    text = f"Training starts from `{START_FILE}`: the proxy's weights after its last epoch ({taken})."
    return StartingWeights(network, Start("proxy", text, START_FILE), dict(network.state_dict()))


def from_pretrained_branches(architecture: Architecture, place: str, classes: int) -> StartingWeights:
    """The weights of every pre-trained branch; the rest is random.

    Args:
        architecture: The design.
        place: `hub`, `miniature`, or a folder of files named like the timm models.
        classes: Number of classes.

    Raises:
        WeightsError: The weights cannot be found; the message says which file to place where.
    """
    network = _network(architecture, classes)
    taken = load_pretrained(piip_of(network), place)
    text = f"Training starts from `{START_FILE}`: pre-trained branches, the rest at random.\n\n" + "\n".join(
        f"- {one}" for one in taken
    )
    return StartingWeights(network, Start("pretrained", text, START_FILE), dict(network.state_dict()))


def random_classifier(architecture: Architecture, start: Start, classes: int) -> StartingWeights:
    """Random weights from a fixed seed."""
    return StartingWeights(_network(architecture, classes), start, {})


def piip_of(network: nn.Module) -> PIIP:
    """The PIIP network of a classifier."""
    if isinstance(network, PIIP):
        return network
    assert isinstance(network, PIIPClassifier), "a classifier is one of the two"
    return network.piip


def _network(architecture: Architecture, classes: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return classifier_of(architecture, classes).eval()
