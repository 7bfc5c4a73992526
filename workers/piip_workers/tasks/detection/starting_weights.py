"""The starting weights of a full training: the proxy's, pre-trained branches', or random ones."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from piip_search.architecture import Architecture
from piip_search.errors import WeightsError
from piip_search.evaluation.evaluation import Evaluation
from piip_search.export import Start
from piip_search.models import PIIPPyramid
from piip_search.models.weights.inherit import inherit
from piip_search.models.weights.pretrained import load_pretrained
from piip_workers.networks.weights import StartingWeights

NETWORK = "backbone.network."
"""Prefix of the network's parameters in a detector."""


def from_proxy(architecture: Architecture, evaluation: Evaluation, checkpoint: Path) -> StartingWeights:
    """The weights of a proxy that fit: all of them, as sizes of images and windows are not part of them.

    Args:
        architecture: The design.
        evaluation: Evaluation of the proxy, which may have seen smaller images.
        checkpoint: Checkpoint of the proxy, written by mmengine.

    Raises:
        WeightsError: The file cannot be read, or belongs to another design.
    """
    from piip_workers.mmlab.shims import install

    install()
    from mmengine.runner import CheckpointLoader

    try:
        state: dict[str, Any] = CheckpointLoader.load_checkpoint(str(checkpoint), "cpu", "silent")["state_dict"]
    except Exception as error:  # a broken or hostile file raises anything
        reason = f"{type(error).__name__}: {error}"
        raise WeightsError(
            f"{checkpoint} cannot be read ({reason}); start from others with --weights random or pretrained"
        ) from None
    trained = architecture.scaled(evaluation.candidate.fidelity.image_scale)
    network = _network(architecture)
    taken = inherit(network, architecture, _inside(state), trained)
    if taken.fresh:
        raise WeightsError(f"{checkpoint} is not of {trained}: {taken}; start from others with --weights random")
    around = {name: tensor for name, tensor in state.items() if not name.startswith(NETWORK)}
    text = (
        f"Training starts from `weights.pth`: the proxy's weights after its last epoch ({taken}, "
        f"and {len(around)} of the detector)."
    )
    return StartingWeights(network, Start("proxy", text, "weights.pth"), {**around, **_outside(network.state_dict())})


def from_pretrained(architecture: Architecture, place: str) -> StartingWeights:
    """The weights of every pre-trained branch.

    Args:
        architecture: The design.
        place: `hub`, `miniature`, or a folder of files named like the timm models.

    Raises:
        WeightsError: The weights cannot be found; the message says which file to place where.
    """
    network = _network(architecture)
    taken = load_pretrained(network.piip, place)
    branches = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("piip.branches.")}
    text = "Training starts from `weights.pth`: pre-trained branches, the rest at random.\n\n" + "\n".join(
        f"- {one}" for one in taken
    )
    return StartingWeights(network, Start("pretrained", text, "weights.pth"), _outside(branches))


def at_random(architecture: Architecture, start: Start) -> StartingWeights:
    """Random weights from a fixed seed."""
    return StartingWeights(_network(architecture), start, {})


def _network(architecture: Architecture) -> PIIPPyramid:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PIIPPyramid(architecture).eval()


def _inside(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(NETWORK): tensor for name, tensor in state.items() if name.startswith(NETWORK)}


def _outside(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {NETWORK + name: tensor for name, tensor in state.items()}
