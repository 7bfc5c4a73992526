"""The starting weights of a full training, and the folders where a proxy left its own."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from piip_search.evaluation.evaluation import Evaluation, training_folders
from piip_search.export import Start
from piip_search.own_files import is_own

_CHECKPOINT = re.compile(r"epoch_[0-9]{1,9}\.pth")


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


def trial_folder(trials: Path, evaluation: Evaluation, trust: bool = False) -> Path:
    """The folder of a trial's checkpoints.

    The folder of the ledger's row is used if it is not in this home, for example in a home that shares the ledger. Its
    checkpoint has to be one's own, as anybody who may write the ledger names the folder.

    Args:
        trials: Folder of all trials of its search (`piip_search.evaluation.evaluation.trials_folder`).
        evaluation: The trial.
        trust: Whether the row's folder may be anybody's.
    """
    here = training_folders(trials, evaluation)
    found = next((place for place in here if place.is_dir()), None)
    elsewhere = recorded_folder(evaluation)
    if found is None and elsewhere is not None:
        checkpoint = proxy_checkpoint(elsewhere)
        if checkpoint is not None and (trust or is_own(checkpoint)):
            return elsewhere
    return found or here[0]


def recorded_folder(evaluation: Evaluation) -> Path | None:
    """The folder that a trial's row names; None for none."""
    folder = Path(evaluation.facts.home) / evaluation.facts.folder
    return folder if folder.is_absolute() and "\0" not in str(folder) else None


def proxy_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a trial; None without one, for example after no epoch."""
    return next(iter(checkpoints(folder)), None)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a training, newest first; files with other names are left out."""
    found = [path for path in folder.glob("epoch_*.pth") if _CHECKPOINT.fullmatch(path.name)]
    return sorted(found, key=epoch_of, reverse=True)


def epoch_of(checkpoint: Path) -> int:
    """The epoch that a checkpoint ends."""
    return int(checkpoint.stem.removeprefix("epoch_"))
