"""Candidates and evaluations, the requests to workers and their answers, as plain data."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from piip_search.architecture import Architecture
from piip_search.architecture.design import Design, ReadDesign, as_architecture, design_from_dict
from piip_search.evaluation.facts import Facts
from piip_search.evaluation.reason import Reason

Status = Literal["done", "failed"]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """The effort of one evaluation.

    Attributes:
        epochs: Passes over the selected training images.
        data_fraction: Share of the training images in use, in (0, 1].
        image_scale: Factor on every resolution of the architecture, in (0, 1].
        horizon: Epochs of the learning-rate schedule if `epochs` is a rung of a longer training; None if the training
            ends with `epochs`.
        seeds: Number of trainings with different seeds, whose metrics are averaged.
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
        """Epochs of the learning-rate schedule."""
        return self.epochs if self.horizon is None else self.horizon

    def to_dict(self) -> dict[str, Any]:
        """The fidelity as plain data; new settings are left out at their default, so that fingerprints stay valid."""
        later = {"horizon": None, "seeds": 1}
        return {name: value for name, value in asdict(self).items() if name not in later or value != later[name]}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One design to measure.

    Attributes:
        number: Position in its search, from 0.
        design: The design: an architecture, a stock network, or a row of a table in a simulation. A proxy trains
            `architecture.scaled(fidelity.image_scale)`.
        fidelity: Effort of the evaluation.
        seed: Seed of weights and data order, the first of several.
        parent: Name of the inherited weights (`Candidate.weights`); None for none. A name without epochs, as in older
            ledgers, means the training's last.
        reason: Reason of the proposal. Equality ignores it, as the measurement does not depend on it.
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
        """The sampler's estimate of the remaining gain at the proposal, by tier; empty without an estimate."""
        return dict(self.reason.left)

    @property
    def training(self) -> str:
        """Name of the candidate's training, shared by candidates that differ only in epochs.

        A worker stores a training's checkpoints under it, so that the next rung continues from the last. With several
        seeds it is the name for the first.
        """
        parts = [self.fidelity.data_fraction, self.fidelity.image_scale, self.fidelity.schedule_epochs]
        digest = hashlib.sha256(json.dumps([*parts, self.seed, self.parent]).encode()).hexdigest()[:8]
        return f"{self.design.fingerprint}-{digest}"

    @property
    def per_seed(self) -> tuple["Candidate", ...]:
        """The trainings whose metrics are averaged: this candidate with one seed each, from `seed` on."""
        fidelity = replace(self.fidelity, seeds=1)
        return tuple(replace(self, fidelity=fidelity, seed=self.seed + turn) for turn in range(self.fidelity.seeds))

    @property
    def weights(self) -> str:
        """Name of its final weights: those of its training after its epochs."""
        return f"{self.training}@{self.fidelity.epochs}"

    def key(self, recipe: str) -> str:
        """Fingerprint of the measurement: candidates with equal keys have equal results, so the second is answered.

        Args:
            recipe: Fingerprint of the data and of the training.
        """
        parts = [self.design.fingerprint, self.fidelity.to_dict(), self.seed, recipe]
        parts += [] if self.parent is None else [self.parent]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """The candidate as plain data, for other processes."""
        return {
            "number": self.number,
            "architecture": self.design.to_dict(),
            "fidelity": self.fidelity.to_dict(),
            "seed": self.seed,
            "parent": self.parent,
            "why": self.reason.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], read_design: ReadDesign = design_from_dict) -> "Candidate":
        """The candidate from the plain data of `to_dict`.

        Args:
            data: Plain data.
            read_design: Reads the design from its own plain data.
        """
        fidelity, parent = Fidelity(**data["fidelity"]), data.get("parent")
        reason = Reason.from_dict(data.get("why", {}))
        return cls(data["number"], read_design(data["architecture"]), fidelity, data["seed"], parent, reason)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of one candidate.

    Attributes:
        candidate: Measured candidate.
        status: `done` with metrics, or `failed` with an error.
        metrics: Finite numbers by name.
        error: Error in one line; empty when done.
        seconds: Wall-clock time of training and measuring; 0 for an answer from the ledger.
        history: One row of numbers per epoch (loss, and metrics if measured).
        facts: Further facts: host, versions, the network that was trained, the metrics of each seed.
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
            raise ValueError(f"a finished evaluation must have finite metrics, got {dict(self.metrics)}")
        if self.status == "failed" and not self.error:
            raise ValueError("a failed evaluation must have an error")

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as plain data, for other processes."""
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
        """The evaluation from the plain data of `to_dict`."""
        rest = {key: value for key, value in data.items() if key not in ("candidate", "history", "facts")}
        history, facts = tuple(data.get("history", ())), Facts.from_dict(data.get("facts", {}))
        return cls(Candidate.from_dict(data["candidate"]), history=history, facts=facts, **rest)


Evaluate = Callable[[Candidate], Evaluation]


def trials_folder(home: Path, run: str, recipe: str) -> Path:
    """The folder of a run's trainings, each in a subfolder named `Candidate.training`.

    Each recipe has its own folder: trainings of another recipe are no answers.

    Args:
        home: Home folder.
        run: Name of the run.
        recipe: Fingerprint of data and training.
    """
    return home / run / "trials" / recipe


EXAMPLES_FOLDER = "examples"
"""Folder of the examples beside a checkpoint."""
EXAMPLES_FILE = "examples.json"
"""File in it with a list of the examples."""
HALVED_FOLDER = "halves"
"""Folder inside a training's own for a second attempt with half the images a step."""


def folder_facts(folder: Path) -> dict[str, str]:
    """A training's folder as the ledger stores it: relative to the home folder, which may move later.

    Args:
        folder: Folder of the training, below a folder of `trials_folder`.
    """
    depth = _depth(folder.name)
    return {"folder": "/".join(folder.parts[-depth:]), "home": str(Path(*folder.parts[:-depth]))}


def training_folders(trials: Path, evaluation: Evaluation) -> tuple[Path, ...]:
    """Possible folders of a trial's checkpoints in the present home folder, likeliest first.

    The ledger's folder is a name to look for and not a path to follow: it may belong to another home, or to this one
    before it was moved or copied. It names the run, which is another one for an answer from the ledger.

    Args:
        trials: Folder of all trials of the run (`trials_folder`).
        evaluation: Evaluation of the trial.
    """
    own, recorded = trials / evaluation.candidate.training, PurePosixPath(evaluation.facts.folder).parts
    if not recorded:
        return own / HALVED_FOLDER, own
    half = (HALVED_FOLDER,) if recorded[-1] == HALVED_FOLDER else ()
    other = recorded[-_depth(recorded[-1]) :]
    named = len(other) == _depth(recorded[-1]) and other[1] == "trials" and all(map(_is_name, other))
    return (own.joinpath(*half), *((trials.parents[2].joinpath(*other),) if named else ()))


def _is_name(text: str) -> bool:
    return text not in ("/", "..") and "\0" not in text and len(text.encode(errors="replace")) < 256


def _depth(name: str) -> int:
    """Number of names from the home folder to a training's: run, `trials`, recipe, training, and a second attempt's."""
    return 5 if name == HALVED_FOLDER else 4
