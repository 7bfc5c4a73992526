"""The starting weights of a full training, and the folders where a proxy left its own."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from piip_search.evaluation.evaluation import Evaluation, training_folders
from piip_search.export import Start


@dataclass(frozen=True)
class StartingWeights:
    """A network with its weights, and the other tensors of its model if they come from one.

    Attributes:
        network: The network, with random weights where no others were found.
        start: Description of the weights.
        tensors: Tensors of the model that a training starts from; empty for a random start.
    """

    network: nn.Module
    start: Start
    tensors: dict[str, Tensor]

    def write(self, path: Path) -> None:
        """Writes a checkpoint in the form of mmengine's."""
        torch.save({"state_dict": self.tensors}, path)


def trial_folder(trials: Path, evaluation: Evaluation) -> Path:
    """The folder of a trial's checkpoints.

    Args:
        trials: Folder of all trials of its search (`piip_search.evaluation.evaluation.trials_folder`).
        evaluation: The trial; if its folder is not in this home, for example in a home that shares the ledger, the
            recorded folder is used.
    """
    here = training_folders(trials, evaluation)
    elsewhere = Path(evaluation.facts.home) / evaluation.facts.folder
    places = [*here, *([elsewhere] if elsewhere.is_absolute() else [])]
    return next((place for place in places if place.is_dir()), here[0])


def proxy_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a trial; None without one, for example after no epoch."""
    files = sorted(folder.glob("epoch_*.pth"), key=lambda path: int(path.stem.removeprefix("epoch_")))
    return files[-1] if files else None
