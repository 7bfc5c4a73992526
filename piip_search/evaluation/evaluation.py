"""What is asked of a worker and what it answers, as plain data."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from piip_search.architecture import Architecture
from piip_search.architecture.design import Design, ReadDesign, as_architecture
from piip_search.evaluation.facts import Facts
from piip_search.evaluation.reason import Reason

Status = Literal["done", "failed"]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How much effort one evaluation takes.

    Attributes:
        epochs: Passes over the training images that are used.
        data_fraction: Share of the training images that are used, in (0, 1].
        image_scale: Factor on every resolution of the architecture, in (0, 1].
        horizon: Epochs that the learning-rate schedule spans, where `epochs` is a rung of a longer training; None where
            the training ends with `epochs`.
        seeds: Trainings with as many seeds, of whose metrics the means count.
    """

    epochs: int = 12
    data_fraction: float = 1.0
    image_scale: float = 1.0
    horizon: int | None = None
    seeds: int = 1

    def __post_init__(self) -> None:
        if self.horizon is not None and self.horizon < self.epochs:
            raise ValueError(f"a schedule spans the epochs trained, got horizon {self.horizon} for {self.epochs}")

    @property
    def schedule_epochs(self) -> int:
        """Epochs that the learning-rate schedule spans."""
        return self.epochs if self.horizon is None else self.horizon

    def to_dict(self) -> dict[str, Any]:
        """Plain data; what came later is left out at its default, so that fingerprints outlive new settings."""
        later = {"horizon": None, "seeds": 1}
        return {name: value for name, value in asdict(self).items() if name not in later or value != later[name]}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One design to be measured.

    Attributes:
        number: Position in its search, from 0.
        design: The design: an architecture, or a row of a table in a simulation. A proxy trains
            `architecture.scaled(fidelity.image_scale)`.
        fidelity: How hard to try.
        seed: Seed of weights and data order, the first one where there are several.
        parent: Name of the weights (`Candidate.weights`) that it starts from; None for none. Where it names no epochs,
            as in ledgers of earlier versions, the training's last.
        reason: Why it was proposed. No part of what is measured, so that candidates are equal without it.
    """

    number: int
    design: Design
    fidelity: Fidelity
    seed: int = 0
    parent: str | None = None
    reason: Reason = field(default=Reason(), compare=False)

    @property
    def architecture(self) -> Architecture:
        """The design as the architecture of a network.

        Raises:
            TypeError: It is a row of a table.
        """
        return as_architecture(self.design)

    @property
    def left(self) -> dict[float, float]:
        """What the sampler expected to be left to gain when it proposed this, by tier; empty where it said nothing."""
        return dict(self.reason.left)

    @property
    def training(self) -> str:
        """Name of the training that this is a part of: shared by candidates that differ in epochs alone.

        A worker keeps a training's checkpoints under it, so that the next rung goes on from the last. Of several seeds
        it is the first one's.
        """
        parts = [self.fidelity.data_fraction, self.fidelity.image_scale, self.fidelity.schedule_epochs]
        digest = hashlib.sha256(json.dumps([*parts, self.seed, self.parent]).encode()).hexdigest()[:8]
        return f"{self.design.fingerprint}-{digest}"

    @property
    def single(self) -> tuple["Candidate", ...]:
        """The trainings whose metrics are averaged: the same candidate with one seed each, from `seed` on."""
        fidelity = replace(self.fidelity, seeds=1)
        return tuple(replace(self, fidelity=fidelity, seed=self.seed + turn) for turn in range(self.fidelity.seeds))

    @property
    def weights(self) -> str:
        """Name of the weights that it ends with: those of its training after its epochs."""
        return f"{self.training}@{self.fidelity.epochs}"

    def key(self, recipe: str) -> str:
        """Fingerprint of the measurement: equal keys would give equal results, so one of them is never made.

        Args:
            recipe: Fingerprint of the data and of how a model is trained on it.
        """
        parts = [self.design.fingerprint, self.fidelity.to_dict(), self.seed, recipe]
        parts += [] if self.parent is None else [self.parent]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: what crosses processes."""
        return {
            "number": self.number,
            "architecture": self.design.to_dict(),
            "fidelity": self.fidelity.to_dict(),
            "seed": self.seed,
            "parent": self.parent,
            "why": self.reason.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], read_design: ReadDesign = Architecture.from_dict) -> "Candidate":
        """The candidate that `to_dict` wrote.

        Args:
            data: Plain data.
            read_design: Makes the design from its own plain data.
        """
        fidelity, parent = Fidelity(**data["fidelity"]), data.get("parent")
        reason = Reason.from_dict(data.get("why", {}))
        return cls(data["number"], read_design(data["architecture"]), fidelity, data["seed"], parent, reason)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came of one candidate.

    Attributes:
        candidate: What was asked.
        status: `done` with metrics, or `failed` with an error.
        metrics: Finite numbers by name, higher is better for the searched one (`bbox_mAP` and the like).
        error: Why it failed, in one line; empty when done.
        seconds: Wall-clock time of training and measuring; 0 when the answer came from the ledger.
        history: One row of numbers per epoch (loss, and metrics where they were taken).
        facts: What is known besides: host, versions, the network that was trained, the metrics of each seed.
    """

    candidate: Candidate
    status: Status
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0
    history: tuple[Mapping[str, float], ...] = ()
    facts: Facts = field(default=Facts())

    def __post_init__(self) -> None:
        if self.status == "done" and not (self.metrics and all(map(math.isfinite, self.metrics.values()))):
            raise ValueError(f"a finished evaluation has finite metrics, got {dict(self.metrics)}")
        if self.status == "failed" and not self.error:
            raise ValueError("a failed evaluation says why")

    def to_dict(self) -> dict[str, Any]:
        """Plain data: what crosses processes."""
        return {
            "candidate": self.candidate.to_dict(),
            "status": self.status,
            "metrics": dict(self.metrics),
            "error": self.error,
            "seconds": self.seconds,
            "history": [dict(row) for row in self.history],
            "facts": self.facts.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Evaluation":
        """The evaluation that `to_dict` wrote."""
        rest = {key: value for key, value in data.items() if key not in ("candidate", "history", "facts")}
        history, facts = tuple(data.get("history", ())), Facts.from_dict(data.get("facts", {}))
        return cls(Candidate.from_dict(data["candidate"]), history=history, facts=facts, **rest)


Evaluate = Callable[[Candidate], Evaluation]


def trials_folder(home: Path, run: str, recipe: str) -> Path:
    """Where the trainings of a run keep their checkpoints, each in a folder named `Candidate.training`.

    A recipe has a folder of its own: what another one trained is no answer to it.

    Args:
        home: The home folder.
        run: Name of the run.
        recipe: Fingerprint of data and training.
    """
    return home / run / "trials" / recipe


EXAMPLES_FOLDER = "examples"
"""Folder of the examples beside a checkpoint."""
EXAMPLES_FILE = "examples.json"
"""File in it that lists them."""
HALVED_FOLDER = "halves"
"""Folder, inside a training's own, of its second attempt with half the images a step."""


def folder_facts(folder: Path) -> dict[str, str]:
    """Where a training's checkpoints are, as the ledger keeps it: from the home folder, which may be moved later.

    Args:
        folder: Folder of the training, in a folder that `trials_folder` names.
    """
    depth = _depth(folder.name)
    return {"folder": "/".join(folder.parts[-depth:]), "home": str(Path(*folder.parts[:-depth]))}


def training_folders(trials: Path, evaluation: Evaluation) -> tuple[Path, ...]:
    """Where a trial's checkpoints may be in the home folder as it is now, the likeliest place first.

    What the ledger says is a name to look for, not a path to follow: it was another home's, or this one's before it was
    moved or copied. It names the run, which is another one where the ledger answered.

    Args:
        trials: Folder of all trials of the run (`trials_folder`).
        evaluation: The trial.
    """
    own, told = trials / evaluation.candidate.training, PurePosixPath(evaluation.facts.folder).parts
    if not told:
        return own / HALVED_FOLDER, own
    half = (HALVED_FOLDER,) if told[-1] == HALVED_FOLDER else ()
    other = told[-_depth(told[-1]) :]
    named = len(other) == _depth(told[-1]) and other[1] == "trials" and all(map(_is_name, other))
    return (own.joinpath(*half), *((trials.parents[2].joinpath(*other),) if named else ()))


def _is_name(text: str) -> bool:
    return text not in ("/", "..") and "\0" not in text and len(text.encode(errors="replace")) < 256


def _depth(name: str) -> int:
    """Names from the home folder to a training's: run, `trials`, recipe, training, and that of a second attempt."""
    return 5 if name == HALVED_FOLDER else 4
