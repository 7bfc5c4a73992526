"""Gives a proxy the weights of the relative that its candidate names."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from piip_search.architecture import Architecture
from piip_search.errors import WeightsError
from piip_search.evaluation.evaluation import HALVED_FOLDER, Candidate
from piip_search.models.weights.inherit import inherit

DESIGN_FILE = "architecture.txt"
"""File in a training's folder with the short form of the trained design."""
INHERITED = "inherited.txt"
"""File in a training's folder with the names of the inherited tensors."""


def weights_file(folder: Path, epochs: int) -> Path:
    """The file with the weights after so many epochs."""
    return folder / f"weights_{epochs}.pth"


def inheritance(
    candidate: Candidate,
    folder: Path,
    last: Callable[[Path, int], Path | None],
    load: Callable[[Path], Mapping[str, Any]],
) -> Callable[[nn.Module], None]:
    """Returns a function that loads the weights of the relative into a network, after the candidate's epochs.

    Args:
        candidate: Candidate with a parent.
        folder: Folder of its training.
        last: Gives the newest readable checkpoint of a folder, of at most so many epochs.
        load: Reads a checkpoint as plain data and tensors, and no code.

    Raises:
        FileNotFoundError: The weights are missing.
    """
    training, _, epochs = str(candidate.parent).partition("@")
    relative = (folder.parent if folder.name == HALVED_FOLDER else folder).parent / training
    places = (relative / HALVED_FOLDER, relative)
    if epochs:
        found = [weights_file(place, int(epochs)) for place in places]
    else:
        found = [last(place, sys.maxsize) or place for place in places]
    checkpoint = next((path for path in found if path.is_file()), None)
    if checkpoint is None:
        raise FileNotFoundError(
            f"no weights of the relative in {relative}; bring that folder back, or begin another run with "
            "training.inherit: false"
        )
    parent = Architecture.parse((checkpoint.parent / DESIGN_FILE).read_text(encoding="utf-8"))
    design = candidate.architecture.scaled(candidate.fidelity.image_scale)

    def begin(network: nn.Module) -> None:
        try:
            state = load(checkpoint)["state_dict"]
        except Exception as error:  # a broken or hostile file raises anything, also a MemoryError
            reason = f"{type(error).__name__}: {error}"
            raise WeightsError(f"{checkpoint} cannot be read ({reason}); bring the relative's weights back") from None
        (folder / INHERITED).write_text(str(inherit(network, design, state, parent)), encoding="utf-8")

    return begin
