"""Trains a classifier with timm's optimiser, schedule, mixup and moving average, and measures it.

Every epoch derives its random numbers from the seed and its own number. So an interrupted training, or one that ended
at a lower rung of the same schedule, ends exactly as a straight one (on a CPU).
Legend: B images of a step, N images, K classes.
"""

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from piip_search.architecture import Architecture
from piip_search.errors import UserError
from piip_search.models import PIIP, PIIPClassifier
from piip_search.models._torchvision import import_torchvision
from piip_search.models.weights.pretrained import load_pretrained
from piip_search.tasks.classification.section import ClassificationTraining
from piip_workers.networks.cuda_graphs import Recorded
from piip_workers.networks.inheritance import weights_file
from piip_workers.networks.layer_rates import UNDECAYED, rate_scales
from piip_workers.networks.proxies import Measurement
from piip_workers.networks.weights import checkpoints, epoch_of
from piip_workers.shared.group import Alone, Group
from piip_workers.tasks.classification.data import Labelled
from piip_workers.tasks.classification.metrics import metrics_of
from piip_workers.tasks.classification.pictures import (
    Batches,
    ClassPictures,
    measured_transform,
    training_transform,
)
from piip_workers.whole_files import draft_of, write_whole

import_torchvision()
from timm.data import Mixup  # noqa: E402
from timm.optim import create_optimizer_v2  # noqa: E402
from timm.scheduler import CosineLRScheduler  # noqa: E402
from timm.utils import ModelEmaV3  # noqa: E402

SEEDS_OF_A_PROCESS = 10**6
"""Distance of two processes' seeds."""
LEAST_SHARE_OF_RATE = 0.01
"""First and last learning rate as a share of the highest."""
CURVE_FILE = "history.json"
"""File with the rows of a training's epochs."""


@dataclass(frozen=True)
class ClassImages:
    """What a training reads.

    Attributes:
        train: Part for training.
        train_places: Positions of its images that are used.
        val: Part for measuring.
        val_places: Positions of its images that are measured.
        classes: Number of classes.
        unreadable: File that lists training images that cannot be decoded.
    """

    train: Labelled
    train_places: Sequence[int]
    val: Labelled
    val_places: Sequence[int]
    classes: int
    unreadable: Path


@dataclass(frozen=True)
class ClassifierRun:
    """One training.

    Attributes:
        design: Design at the scale of the training.
        images: What it reads.
        training: Recipe.
        seed: Seed of weights, order and changes.
        epochs: Passes over the images; 0 measures the untrained network.
        horizon: Epochs of the learning-rate schedule.
        accumulated: Parts of a step that are computed one after the other.
        drops: Whether branches drop paths at the rates of their models, as in a full training.
    """

    design: Architecture
    images: ClassImages
    training: ClassificationTraining
    seed: int
    epochs: int
    horizon: int
    accumulated: int = 1
    drops: bool = False


@dataclass(frozen=True)
class EndOfEpoch:
    """What is done after each epoch.

    Attributes:
        told: Takes the row of the epoch.
        every: Epochs between two measurements.
    """

    told: Callable[[dict[str, float]], None]
    every: int


def classifier_of(
    design: Architecture, classes: int, checkpointing: bool = False, drops: bool = False
) -> PIIP | PIIPClassifier:
    """The network of a design: every branch's own head (`logits`), or one head on the merged map (`linear`)."""
    rates = [branch.model.drop_path for branch in design.branches] if drops else None
    if design.merge == "logits":
        return PIIP(design, rates, checkpointing=checkpointing, outputs=classes)
    return PIIPClassifier(design, rates, checkpointing=checkpointing, classes=classes)


def train_classifier(
    run: ClassifierRun,
    folder: Path,
    begin: Callable[[nn.Module], None] | None = None,
    kept: bool = False,
    ends: EndOfEpoch | None = None,
    group: Group | None = None,
) -> Measurement:
    """Trains and measures a classifier, or goes on from the last checkpoint in the folder.

    Args:
        run: The training.
        folder: Folder for checkpoints and history.
        begin: Function that changes the network before its first epoch.
        kept: Whether to keep these weights (`weights_<epochs>.pth`) if the training goes on later.
        ends: What is done after each epoch; None measures as `training.measure_every` says.
        group: Processes that train together, of which this is one; None for this process alone.

    Raises:
        UserError: The processes cannot share the images of a step equally.
        FloatingPointError: The loss is no longer finite.
        DataError: A measured image cannot be decoded, or too many training images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return _Training(run, folder, ends, group or Alone()).run(begin, kept)


class _Training:
    def __init__(self, run: ClassifierRun, folder: Path, ends: EndOfEpoch | None, group: Group) -> None:
        self._run, self._folder, self._ends, self._group = run, folder, ends, group
        training, images = run.training, run.images
        if training.batch_size % group.size:
            raise UserError(
                f"{group.size} processes share the images of a step equally, got training.batch_size "
                f"{training.batch_size}; make it a multiple"
            )
        if (training.mixup or training.cutmix) and training.batch_size // group.size % 2:
            raise UserError(
                f"mixup and cutmix pair the images of each process, got training.batch_size {training.batch_size} for "
                f"{group.size} processes; make it a multiple of {2 * group.size}"
            )
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._labels_N = np.array([images.train.labels[place] for place in images.train_places])
        self._batches_an_epoch = len(self._batches(0))
        torch.manual_seed(run.seed)
        self._network = classifier_of(run.design, images.classes, training.checkpointing, run.drops)
        self._ema: Any = None
        self._weight_K = self._class_weights() if training.balance == "weight" else None
        side = run.design.resolution
        self._read = ClassPictures(
            images.train,
            images.train_places,
            training_transform(side, training),
            run.seed,
            training.cache_mib,
            images.unreadable,
        )
        self._measured = ClassPictures(
            images.val, images.val_places, measured_transform(side, training), None, training.cache_mib
        )
        self._loaders: dict[ClassPictures, tuple[DataLoader[Any], Batches]] = {}
        self._mixup: Any = None
        if training.mixup or training.cutmix:
            self._mixup = Mixup(
                training.mixup, training.cutmix, label_smoothing=training.smoothing, num_classes=images.classes
            )

    def run(self, begin: Callable[[nn.Module], None] | None, kept: bool) -> Measurement:
        run, last = self._run, last_whole_classifier(self._folder, self._run.epochs)
        if last is None:
            self._start(begin)
        self._network.to(self._device)
        if run.training.ema is not None:
            self._ema = ModelEmaV3(self._network, decay=run.training.ema, use_warmup=True)
        optimiser, schedule = self._optimiser()
        done = 0 if last is None else self._load(last, optimiser)
        earlier = _history(self._folder)
        history = [row for row in earlier if row["epoch"] <= done]
        later = [row for row in earlier if row["epoch"] > run.epochs]  # for a lower rung that is measured again
        forward = Recorded(self._network) if run.training.cuda_graphs else self._network
        for epoch in range(done, run.epochs):
            loss = self._train_epoch(epoch, optimiser, schedule, forward)
            row = {"epoch": epoch + 1.0, "loss": loss}
            every = run.training.measure_every if self._ends is None else self._ends.every
            if every and (epoch + 1) % every == 0 and epoch + 1 < run.epochs:
                row |= self._metrics()
            history.append(row)
            if not self._group.rank:
                # The row first: without its checkpoint it is dropped, but a checkpoint without its row would miss one.
                write_whole(self._folder / CURVE_FILE, json.dumps([*history, *later]))
                self._save(epoch + 1, optimiser)
                for path in checkpoints(self._folder):
                    if epoch_of(path) < epoch:  # the last two stay
                        path.unlink()
            if self._ends is not None and epoch + 1 < run.epochs:
                self._ends.told(row)
        metrics = self._metrics()
        if self._ends is not None and history and done < run.epochs:
            self._ends.told(history[-1] | metrics)
        if history:
            history[-1] |= metrics
        if self._group.rank:
            return Measurement(metrics, tuple(history), sum(one.numel() for one in self._network.parameters()))
        if history:
            write_whole(self._folder / CURVE_FILE, json.dumps([*history, *later]))
        for path in [path for path in checkpoints(self._folder) if epoch_of(path) < run.epochs]:
            path.unlink()
        if kept:
            with draft_of(weights_file(self._folder, run.epochs)) as draft:
                torch.save({"state_dict": self._state()}, draft)
        return Measurement(metrics, tuple(history), sum(one.numel() for one in self._network.parameters()))

    def _start(self, begin: Callable[[nn.Module], None] | None) -> None:
        if self._run.training.pretrained is not None:
            piip = self._network if isinstance(self._network, PIIP) else self._network.piip
            load_pretrained(piip, self._run.training.pretrained)
        if begin is not None:
            begin(self._network)

    def _optimiser(self) -> tuple[torch.optim.Optimizer, Any]:
        """The optimiser and its schedule, which gives a rate to each step."""
        training, run = self._run.training, self._run
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self._network.named_parameters():
            decay = training.weight_decay if _decays(name, parameter) else 0.0
            groups.setdefault((rate_of(name, run.design, training), decay), []).append(parameter)
        parameters = [
            {"params": found, "lr": training.learning_rate, "lr_scale": rate, "weight_decay": decay}
            for (rate, decay), found in groups.items()
        ]
        optimiser = create_optimizer_v2(parameters, opt="adamw", lr=training.learning_rate)
        steps = max(1, run.horizon * self._batches_an_epoch)
        least = LEAST_SHARE_OF_RATE * training.learning_rate
        schedule = CosineLRScheduler(
            optimiser,
            t_initial=steps,
            lr_min=least,
            warmup_t=round(steps * training.warmup),
            warmup_lr_init=least,
            warmup_prefix=False,
            t_in_epochs=False,
        )
        return optimiser, schedule

    def _train_epoch(
        self, epoch: int, optimiser: torch.optim.Optimizer, schedule: Any, forward: Callable[[Tensor], Any]
    ) -> float:
        run, losses = self._run, []
        _seed(run.seed * 1000 + epoch + SEEDS_OF_A_PROCESS * self._group.rank)
        self._network.train()
        for place, (image_BCHW, label_B) in enumerate(self._loaded(self._read, epoch, self._batches(epoch))):
            step = epoch * self._batches_an_epoch + place
            schedule.step_update(step)
            optimiser.zero_grad(set_to_none=True)
            loss = self._backward(image_BCHW, label_B, forward)
            if not math.isfinite(loss):
                raise FloatingPointError(
                    f"the loss is {loss} in epoch {epoch + 1}, step {place + 1}; lower training.learning_rate or "
                    "training.clip_norm"
                )
            self._sum_gradients()
            nn.utils.clip_grad_norm_(self._network.parameters(), run.training.clip_norm)
            optimiser.step()
            if self._ema is not None:
                self._ema.update(self._network, step=step)
            losses.append(loss)
        return sum(losses) / len(losses)

    def _sum_gradients(self) -> None:
        """Takes the mean of all processes' gradients."""
        if self._group.size == 1:
            return
        gradients = [one.grad for one in self._network.parameters() if one.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        self._group.add(flat)
        flat /= self._group.size
        for gradient, mean in zip(gradients, flat.split([one.numel() for one in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def _backward(self, image_BCHW: Tensor, label_B: Tensor, forward: Callable[[Tensor], Any]) -> float:
        """Adds the gradients of a step, in parts if it does not fit the memory; returns its loss."""
        image_BCHW, label_B = image_BCHW.to(self._device), label_B.to(self._device)
        target: Tensor = label_B
        if self._mixup is not None:
            image_BCHW, target = self._mixup(image_BCHW, label_B)
        total = 0.0
        parts = min(self._run.accumulated, len(label_B))
        for image, wanted in zip(image_BCHW.chunk(parts), target.chunk(parts), strict=True):
            with self._autocast():
                scores_BK = forward(image)
            loss = self._loss(scores_BK.float(), wanted) / len(label_B)
            loss.backward()
            total += float(loss.detach())
        return total

    def _loss(self, scores_BK: Tensor, target: Tensor) -> Tensor:
        """The sum of the images' losses: a mean by their weights would depend on the parts of a step."""
        smoothing = 0.0 if target.dim() > 1 else self._run.training.smoothing  # mixup smooths its own targets
        return nn.functional.cross_entropy(
            scores_BK, target, weight=self._weight_K, label_smoothing=smoothing, reduction="sum"
        )

    def _class_weights(self) -> Tensor:
        """The inverse of each class's share of the images, with a mean of 1 over the images."""
        counts_K = np.bincount(self._labels_N, minlength=self._run.images.classes)
        weights_K = len(self._labels_N) / (len(np.unique(self._labels_N)) * np.maximum(counts_K, 1))
        return torch.tensor(weights_K, dtype=torch.float32, device=self._device)

    def _batches(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch; a smaller one at the end is left out, as mixup pairs images."""
        size = self._run.training.batch_size
        draws = np.random.default_rng([self._run.seed, epoch])
        if self._run.training.balance == "sample":
            counts = Counter(self._labels_N.tolist())
            shares = np.array([1 / counts[label] for label in self._labels_N.tolist()])
            order = draws.choice(len(shares), len(shares), p=shares / shares.sum())
        else:
            order = draws.permutation(len(self._labels_N))
        whole = max(1, len(order) // size)
        # A single smaller batch too is shared equally, and in pairs for mixup.
        unit = self._group.size * (2 if self._run.training.mixup or self._run.training.cutmix else 1)
        batches = [order[at * size : min(len(order), (at + 1) * size) // unit * unit] for at in range(whole)]
        if not len(batches[0]):
            raise UserError(
                f"{len(order)} training images are too few for a step of {unit}; take fewer processes, or no mixup"
            )
        return [[int(one) for one in batch[self._group.rank :: self._group.size]] for batch in batches]

    def _loaded(
        self, pictures: ClassPictures, epoch: int, batches: Sequence[Sequence[int]]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        if pictures not in self._loaders:
            workers, batch_sampler = self._run.training.loader_workers, Batches()
            loader: DataLoader[Any] = DataLoader(
                pictures,
                batch_sampler=batch_sampler,
                num_workers=workers,
                persistent_workers=workers > 0,  # they keep decoded images
                pin_memory=self._device.type == "cuda",
            )
            self._loaders[pictures] = loader, batch_sampler
        loader, batch_sampler = self._loaders[pictures]
        batch_sampler.deal(epoch, batches)
        return iter(loader)

    def _metrics(self) -> dict[str, float]:
        scores_NK, labels_N = self.scores()
        return metrics_of(scores_NK, labels_N)

    def scores(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and true classes of the measured images."""
        network = self._network if self._ema is None else self._ema.module
        network.eval()
        size, count = self._run.training.batch_size, len(self._measured)
        batches = [list(range(at, min(at + size, count))) for at in range(0, count, size)]
        scores, labels = [], []
        with torch.no_grad(), self._autocast():
            for image_BCHW, label_B in self._loaded(self._measured, 0, batches):
                scores.append(network(image_BCHW.to(self._device)).float().cpu().numpy())
                labels.append(label_B.numpy())
        return np.concatenate(scores), np.concatenate(labels)

    def _autocast(self) -> Any:
        if self._run.training.precision == "float32":
            return nullcontext()
        return torch.autocast(self._device.type, torch.bfloat16)

    def _state(self) -> dict[str, Tensor]:
        """The weights that were measured."""
        network = self._network if self._ema is None else self._ema.module
        return {name: tensor.cpu() for name, tensor in network.state_dict().items()}

    def _save(self, epoch: int, optimiser: torch.optim.Optimizer) -> None:
        raw = (
            {} if self._ema is None else {"raw": {name: one.cpu() for name, one in self._network.state_dict().items()}}
        )
        content = {"state_dict": self._state(), **raw, "optimizer": optimiser.state_dict(), "epoch": epoch}
        with draft_of(self._folder / f"epoch_{epoch}.pth") as draft:
            torch.save(content, draft)

    def _load(self, checkpoint: Path, optimiser: torch.optim.Optimizer) -> int:
        content = torch.load(checkpoint, map_location=self._device, weights_only=True)
        self._network.load_state_dict(content.get("raw", content["state_dict"]))
        if self._ema is not None:
            self._ema.module.load_state_dict(content["state_dict"])
        optimiser.load_state_dict(content["optimizer"])
        return int(content["epoch"])


def rate_of(name: str, design: Architecture, training: ClassificationTraining) -> float:
    """Factor on the learning rate of a parameter: by its block in a branch, `new_parts` elsewhere.

    The heads of the merge `logits` are part of the pre-trained branches, as in the authors' code.
    """
    inner = name.removeprefix("piip.")
    if not inner.startswith("branches.") and not (design.merge == "logits" and inner.startswith("merges.")):
        return training.new_parts
    scales = rate_scales(design, training.layer_decay)
    return next((scale for part, scale in scales.items() if inner.startswith(part)), 1.0)


def _decays(name: str, parameter: nn.Parameter) -> bool:
    return parameter.dim() > 1 and name.rpartition(".")[2] not in UNDECAYED


def last_whole_classifier(folder: Path, epochs: int) -> Path | None:
    """The newest readable checkpoint of at most so many epochs: a process may have died while writing one."""
    for path in checkpoints(folder):
        if epoch_of(path) > epochs:
            continue
        with suppress(Exception):  # a broken or hostile file raises anything
            if torch.load(path, map_location="cpu", weights_only=True)["epoch"] == epoch_of(path):
                return path
    return None


def _history(folder: Path) -> list[dict[str, float]]:
    file = folder / CURVE_FILE
    found: list[dict[str, float]] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    return found


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
