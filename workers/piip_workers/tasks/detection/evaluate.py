"""Measures a candidate of the detection task: builds it, trains the proxy, and returns the evaluation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from piip_search.architecture.stock import StockNetwork
from piip_search.errors import DataError
from piip_search.evaluation.evaluation import Candidate, Evaluation, folder_facts
from piip_search.tasks.detection.mmdet.config import proxy_config
from piip_search.tasks.detection.mmdet.data import CocoPaths, ProxyImages
from piip_search.tasks.detection.mmdet.stock import stock_config, stock_side
from piip_search.tasks.detection.section import DetectionData, DetectionTraining
from piip_workers.networks.inheritance import DESIGN_FILE, INHERITED, inheritance
from piip_workers.networks.proxies import Measurement, measure_seeds
from piip_workers.tasks.detection import data as data_sets

MOST_UNREADABLE = 20
"""Most undecodable images that are listed."""
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
    (folder / DESIGN_FILE).write_text(name, encoding="utf-8")
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


def _inheritance(candidate: Candidate, folder: Path) -> Begin:
    """Returns a function that loads the weights of the relative into a detector.

    Raises:
        FileNotFoundError: The weights are missing.
    """
    from mmengine.runner import CheckpointLoader

    from piip_workers.tasks.detection.proxy_training import last_whole_checkpoint

    def load(checkpoint: Path) -> Mapping[str, Any]:
        found: Mapping[str, Any] = CheckpointLoader.load_checkpoint(str(checkpoint), map_location="cpu")
        return found

    return inheritance(candidate, folder, last_whole_checkpoint, load)
