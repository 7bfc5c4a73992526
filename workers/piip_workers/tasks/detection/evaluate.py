"""Measures a candidate of the detection task: builds it, trains the proxy, and returns the evaluation."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from piip_search.architecture import Architecture
from piip_search.architecture.stock import StockNetwork
from piip_search.errors import DataError, WeightsError
from piip_search.evaluation.evaluation import HALVED_FOLDER, Candidate, Evaluation, folder_facts
from piip_search.tasks.detection.mmdet.config import proxy_config
from piip_search.tasks.detection.mmdet.data import CocoPaths, ProxyImages
from piip_search.tasks.detection.mmdet.stock import stock_config, stock_side
from piip_search.tasks.detection.section import DetectionData, DetectionTraining
from piip_workers.networks.proxies import Measurement, measure_seeds
from piip_workers.tasks.detection import data as data_sets

MOST_UNREADABLE = 20
"""Most undecodable images that are listed."""
TRAINED = "architecture.txt"
"""File with the short form of the trained design."""
INHERITED = "inherited.txt"
"""File with the names of the inherited tensors."""
Begin = Callable[[nn.Module], None]
"""Changes a detector before its first epoch."""
NO_FILES: Mapping[str, str] = MappingProxyType({})
"""No own files."""


@dataclass(frozen=True, slots=True)
class TrainingStart:
    """What a training starts from, besides its candidate.

    Attributes:
        files: Users' own files that stock detectors are read from, by their configurations.
        begin: Function that changes the detector before its first epoch; None for its own first weights.
    """

    files: Mapping[str, str]
    begin: Begin | None


def measure(
    candidate: Candidate,
    data: Mapping[str, Any],
    training: Mapping[str, Any],
    directory: str,
    files: Mapping[str, str] = NO_FILES,
    begin: Begin | None = None,
) -> Evaluation:
    """Trains a candidate's proxy and measures COCO's averages, once for each of its seeds.

    Args:
        candidate: Candidate to measure.
        data: `DetectionData` as plain data.
        training: `DetectionTraining` as plain data.
        directory: Folder of all trainings; each has a subfolder, where a later attempt resumes.
        files: Users' own files that stock detectors are read from, by their configurations.
        begin: Function that changes the detector before its first epoch, for weights of another training.

    Returns:
        The evaluation; a failed one has the error, and its folder has the traceback.

    Raises:
        MachineError: The machine is at fault.
    """
    set_up, start = DetectionTraining.model_validate(training), TrainingStart(files, begin)
    chosen = DetectionData.model_validate(data)

    def train_once(single: Candidate, folder: Path, accumulated: int, facts: dict[str, Any]) -> Measurement:
        return _trained(single, chosen, set_up, folder, accumulated=accumulated, facts=facts, start=start)

    return measure_seeds(candidate, Path(directory), set_up, train_once)


def _trained(
    candidate: Candidate,
    data: DetectionData,
    training: DetectionTraining,
    folder: Path,
    accumulated: int,
    facts: dict[str, Any],
    start: TrainingStart,
) -> Measurement:
    from piip_workers.tasks.detection.images import unreadable_images
    from piip_workers.tasks.detection.proxy_training import train, usable_images

    fidelity, unreadable = candidate.fidelity, folder / "unreadable.txt"
    name, paths, settings = _network(candidate, data, training, accumulated, start.files)
    available = usable_images(settings(ProxyImages(1)))
    if not available:
        raise DataError(f"no training image in {paths.train.annotations} holds an object")
    used = max(1, round(available * fidelity.data_fraction))
    chosen = data_sets.chosen(available, used, candidate.seed)
    val = data_sets.measured_images(paths.val, training.val_images)
    (folder / TRAINED).write_text(name, encoding="utf-8")
    facts |= {"trained": name, "images": used, "accumulated": accumulated, **folder_facts(folder)}
    begin = start.begin if candidate.parent is None else _inheritance(candidate, folder)
    config = settings(ProxyImages(used, chosen, val, unreadable, torch.cuda.is_available()))
    if "num_queries" in config["model"]:
        facts["queries"] = config["model"]["num_queries"]
    found = train(config, folder, candidate.seed, fidelity.epochs, begin, kept=training.inherit)
    if candidate.parent is not None:
        facts |= {"inherited_from": candidate.parent, "inherited": (folder / INHERITED).read_text(encoding="utf-8")}
    skipped = unreadable_images(unreadable)
    if skipped:
        facts |= {"unreadable_images": len(skipped), "unreadable": skipped[:MOST_UNREADABLE]}
    return found


def _network(
    candidate: Candidate,
    data: DetectionData,
    training: DetectionTraining,
    accumulated: int,
    files: Mapping[str, str],
) -> tuple[str, CocoPaths, Callable[[ProxyImages], dict[str, Any]]]:
    """The name of the trained network, its data, and a function that gives its configuration for some images."""
    fidelity, design = candidate.fidelity, candidate.design
    if isinstance(design, StockNetwork):
        from piip_workers.tasks.detection.stock import stock_detector_of

        detector, side = stock_detector_of(design.config, files), stock_side(design.side, fidelity.image_scale)
        paths = data_sets.prepare(data, detector.masks)

        def stock_settings(images: ProxyImages) -> dict[str, Any]:
            return stock_config(
                detector,
                side,
                paths,
                training,
                fidelity=fidelity,
                images=images,
                seed=candidate.seed,
                accumulated=accumulated,
            )

        return replace(design, side=side).name, paths, stock_settings
    from piip_workers.tasks.detection.detectors import detector_config_of

    trained, detector_config = candidate.architecture.scaled(fidelity.image_scale), detector_config_of(training)
    paths = data_sets.prepare(data, detector_config.masks)

    def settings(images: ProxyImages) -> dict[str, Any]:
        return proxy_config(
            trained,
            paths,
            training,
            fidelity=fidelity,
            images=images,
            seed=candidate.seed,
            detector_config=detector_config,
            accumulated=accumulated,
        )

    return trained.name, paths, settings


def _inheritance(candidate: Candidate, folder: Path) -> Callable[[nn.Module], None]:
    """Returns a function that loads the weights of the relative into a detector, after the candidate's epochs.

    Raises:
        FileNotFoundError: The weights are missing.
    """
    from mmengine.runner import CheckpointLoader

    from piip_search.models.weights.inherit import inherit
    from piip_workers.tasks.detection.proxy_training import last_whole_checkpoint, weights_file

    training, _, epochs = str(candidate.parent).partition("@")
    relative = (folder.parent if folder.name == HALVED_FOLDER else folder).parent / training
    places = (relative / HALVED_FOLDER, relative)
    if epochs:
        found = [weights_file(place, int(epochs)) for place in places]
    else:
        found = [last_whole_checkpoint(place, sys.maxsize) or place for place in places]
    checkpoint = next((path for path in found if path.is_file()), None)
    if checkpoint is None:
        raise FileNotFoundError(
            f"no weights of the relative in {relative}; bring that folder back, or begin another run with "
            "training.inherit: false"
        )
    parent = Architecture.parse((checkpoint.parent / TRAINED).read_text(encoding="utf-8"))
    trained = candidate.architecture.scaled(candidate.fidelity.image_scale)

    def begin(detector: nn.Module) -> None:
        try:
            state = CheckpointLoader.load_checkpoint(str(checkpoint), map_location="cpu")["state_dict"]
        except Exception as error:  # a broken or hostile file raises anything, also a MemoryError
            reason = f"{type(error).__name__}: {error}"
            raise WeightsError(f"{checkpoint} cannot be read ({reason}); bring the relative's weights back") from None
        (folder / INHERITED).write_text(str(inherit(detector, trained, state, parent)), encoding="utf-8")

    return begin
