"""Detectors whose weights are shared by many designs: built and fed as the proxies are."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from piip_search.architecture import Architecture
from piip_search.errors import DataError, UserError
from piip_search.evaluation.evaluation import Fidelity
from piip_search.export.settings import Settings, render
from piip_search.models.weights.shared_keys import network_key, reads_of
from piip_search.tasks.detection.mmdet.config import proxy_config
from piip_search.tasks.detection.mmdet.data import ProxyImages
from piip_search.tasks.detection.section import DetectionData, DetectionTraining
from piip_workers.mmlab.shims import install, losses_of_one_process, unformatted
from piip_workers.networks.layer_rates import rate_scales
from piip_workers.quiet import quiet
from piip_workers.shared.task import Asked
from piip_workers.tasks.detection import data as data_sets
from piip_workers.tasks.detection.detectors import detector_config_of
from piip_workers.tasks.detection.proxy_training import usable_images

install()
from mmdet.registry import DATASETS, MODELS  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.dataset import Compose, pseudo_collate  # noqa: E402
from mmengine.registry import DefaultScope  # noqa: E402

import piip_workers.tasks.detection.backbone  # noqa: E402, F401
import piip_workers.tasks.detection.images  # noqa: E402, F401

NETWORK_PREFIX = "backbone.network."
"""Beginning of the names of the PIIP network's parameters in a detector."""
UNREADABLE_LIST = "unreadable.txt"
"""File that lists undecodable training images."""
NECK_LISTS = {"FPN": ("lateral_convs", "fpn_convs"), "ChannelMapper": ("convs", "extra_convs")}
"""Lists of modules of a neck: those that read one map each, and the further levels; by class of the neck."""


class SharedDetectors:
    """Detectors around PIIP networks, with the images and the recipe of the proxies."""

    def __init__(
        self,
        data: Mapping[str, Any],
        training: Mapping[str, Any],
        folder: Path,
        seed: int,
        data_fraction: float,
        design: Architecture,
    ) -> None:
        """Looks through the training images.

        Args:
            data: `DetectionData` as plain data.
            training: `DetectionTraining` as plain data.
            folder: Folder for files of this training.
            seed: Seed of the images and of their order.
            data_fraction: Share of the training images in use.
            design: Any design of the training.

        Raises:
            DataError: No training image holds an object.
        """
        self._training = DetectionTraining.model_validate(training)
        torch.set_num_threads(self._training.threads)
        self._detector = detector_config_of(self._training)
        self._paths = data_sets.prepare(DetectionData.model_validate(data), self._detector.masks)
        self._folder, self._seed, self._design = folder, seed, design
        folder.mkdir(parents=True, exist_ok=True)
        self.network: Mapping[str, Any] = {"strides": list(self._detector.strides)}
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        register_all_modules(init_default_scope=False)
        self._images = ProxyImages(1)
        available = usable_images(self._settings(design))
        if not available:
            raise DataError(f"no training image in {self._paths.train.annotations} holds an object")
        used = max(1, round(available * data_fraction))
        chosen = data_sets.chosen(available, used, seed)
        self._images = ProxyImages(used, chosen, unreadable=folder / UNREADABLE_LIST, pinned=self.device.type == "cuda")
        images = self._data_set(design)
        sizes = [images.get_data_info(place) for place in range(len(images))]
        self._upright_N = np.array([size["height"] > size["width"] for size in sizes])

    def build(self, design: Architecture) -> nn.Module:
        with quiet(self._folder / "output.txt"), DefaultScope.overwrite_default_scope("mmdet"):
            network: nn.Module = MODELS.build(self._configuration(design).model)
            network.init_weights()  # type: ignore[operator]
        if any(getattr(module, "running_mean", None) is not None for module in network.modules()):
            raise UserError(
                f"evaluator: {self._training.detector} has batch norms, whose statistics differ from design to design; "
                "choose a detector without them, such as retinanet, or set evaluator to stand_alone"
            )
        return network.to(self.device)

    @staticmethod
    def keys(design: Architecture, network: nn.Module) -> dict[str, str]:
        return detector_keys(design, network)

    def rates(self, design: Architecture, network: nn.Module) -> dict[str, float]:
        scales = rate_scales(design, self._training.layer_decay)
        inside = {name: name.removeprefix(f"{NETWORK_PREFIX}piip.") for name, _ in network.named_parameters()}
        return {
            name: next((scale for part, scale in scales.items() if inner.startswith(part)), 1.0)
            for name, inner in inside.items()
        }

    def batches(self, epoch: int) -> list[tuple[int, ...]]:
        # Upright images and lying ones apart, as in the proxies: this needs less padding. Leftovers of both are mixed.
        random, size, upright_N = np.random.default_rng([self._seed, epoch]), self._training.batch_size, self._upright_N
        order = random.permutation(len(upright_N))
        # The epoch is part of an image's number, for its augmentation.
        kinds = [[int(one) + epoch * len(order) for one in order[upright_N[order] == kind]] for kind in (True, False)]
        ends = [len(kind) // size * size for kind in kinds]
        left = [image for kind, end in zip(kinds, ends, strict=True) for image in kind[end:]]
        whole = [kind[at : at + size] for kind, end in zip(kinds, ends, strict=True) for at in range(0, end, size)]
        whole += [left[at : at + size] for at in range(0, len(left), size)]
        return [tuple(whole[place]) for place in random.permutation(len(whole))]

    def read(self, asked: Iterable[Asked]) -> Iterator[Any]:
        loader: DataLoader[Any] = DataLoader(
            _SizedImages(self._data_set(self._design), self._pipeline),
            batch_sampler=_Batches(asked),
            num_workers=self._training.loader_workers,
            collate_fn=pseudo_collate,
            pin_memory=self._images.pinned,
        )
        return iter(loader)

    def loss(self, network: nn.Module, batch: Any) -> Tensor:
        prepared = network.data_preprocessor(batch, True)  # type: ignore[operator]
        with losses_of_one_process():
            loss, _ = network.parse_losses(network(**prepared, mode="loss"))  # type: ignore[operator]
        found: Tensor = loss
        return found

    def _pipeline(self, design: Architecture) -> Any:
        with DefaultScope.overwrite_default_scope("mmdet"):
            return Compose(_part(self._settings(design))["pipeline"])

    def _data_set(self, design: Architecture) -> Any:
        with quiet(self._folder / "output.txt"), DefaultScope.overwrite_default_scope("mmdet"):
            return DATASETS.build(_part(self._settings(design)))

    def _configuration(self, design: Architecture) -> Any:
        path = self._folder / "network.py"
        with unformatted():
            path.write_text(render(self._settings(design), "a network of the parent"), encoding="utf-8")
            return Config.fromfile(path)

    def _settings(self, design: Architecture) -> Settings:
        """The settings of a design's own training."""
        return proxy_config(
            design,
            self._paths,
            self._training,
            fidelity=Fidelity(1),
            images=self._images,
            seed=self._seed,
            detector_config=self._detector,
        )


class _SizedImages(Dataset[Any]):
    """A data set whose images are asked for by design and number; images depend on a design's largest side alone."""

    def __init__(self, images: Any, pipeline: Callable[[Architecture], Any]) -> None:
        self._images, self._pipeline = images, pipeline
        self._pipelines: dict[int, Any] = {}

    def __getitem__(self, asked: tuple[Architecture, int]) -> Any:
        design, image = asked
        if design.resolution not in self._pipelines:
            self._pipelines[design.resolution] = self._pipeline(design)
        self._images.pipeline = self._pipelines[design.resolution]
        return self._images[image]


class _Batches:
    """The batches of a loader, asked for as they are needed."""

    def __init__(self, asked: Iterable[Asked]) -> None:
        self._asked = asked

    def __iter__(self) -> Iterator[list[tuple[Architecture, int]]]:
        return ([(one.design, image) for image in one.images] for one in self._asked)


def detector_keys(design: Architecture, network: nn.Module) -> dict[str, str]:
    """The key of each parameter of a detector.

    Neck and head are shared by all designs, but for the layers that read the pyramid: their owner is who fills it.
    """
    reading = tuple(f"neck.{name}." for name in _reading(network))
    found = {}
    for name, _ in network.named_parameters():
        if name.startswith(NETWORK_PREFIX):
            found[name] = network_key(design, name.removeprefix(NETWORK_PREFIX))
        elif name.startswith(reading):
            found[name] = f"N/{reads_of(design)}/{name}"
        else:
            found[name] = f"D/detector/{name}"
    return found


def _reading(network: nn.Module) -> list[str]:
    """Modules of the neck that read a map of the pyramid: one a level, and the first further level if it does."""
    neck = getattr(network, "neck", None)
    kind = type(neck).__name__
    if kind not in NECK_LISTS:
        raise UserError(
            f"evaluator: weights can be shared behind a neck of {' or '.join(NECK_LISTS)}, and this detector has "
            f"{kind}; choose another detector, or set evaluator to stand_alone"
        )
    each, further = NECK_LISTS[kind]
    if kind == "ChannelMapper":
        return [each, *([f"{further}.0"] if getattr(neck, further, None) else [])]
    levels = len(getattr(neck, each))
    more = getattr(neck, "add_extra_convs", False) == "on_input" and len(getattr(neck, further)) > levels
    return [each, *([f"{further}.{levels}"] if more else [])]


def _part(settings: Settings) -> Settings:
    part: Settings = settings["train_dataloader"]["dataset"]
    return part
