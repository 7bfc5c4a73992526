"""Facts about a measurement besides its metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts about a measurement besides its metrics; an unknown field has its default.

    Attributes:
        host: Name of the measuring machine.
        torch: Version of torch on it.
        answered_from: Run and number of the evaluation in the ledger that answered, if one did.
        training: Name of the training (`Candidate.training`).
        trained: Short form of the trained network, at the scale of the proxy.
        images: Number of training images in use.
        accumulated: Number of batches in one step of the optimiser.
        halved_batch: Error of the first attempt, if the training was repeated with half the images a batch.
        folder: Folder of the checkpoints, relative to the home folder.
        home: Home folder at the time.
        parameters: Number of parameters of the trained network, with its head.
        peak_memory_mib: Highest memory of the training, in MiB: of the GPU, or else of the process.
        queries: Number of queries of a model with queries.
        inherited_from: Name of the inherited weights.
        inherited: Description of the inherited weights.
        unreadable_images: Number of undecodable training images.
        unreadable: Paths of the first of them.
        seeds: Metrics of each of several seeds.
        deviation: Standard deviation of each metric between seeds.
        rest: Facts of a custom evaluator.
    """

    host: str = ""
    torch: str = ""
    answered_from: str = ""
    training: str = ""
    trained: str = ""
    images: int = 0
    accumulated: int = 0
    halved_batch: str = ""
    folder: str = ""
    home: str = ""
    parameters: int = 0
    peak_memory_mib: int = 0
    queries: int = 0
    inherited_from: str = ""
    inherited: str = ""
    unreadable_images: int = 0
    unreadable: tuple[str, ...] = ()
    seeds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    deviation: Mapping[str, float] = field(default_factory=dict)
    rest: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The facts as plain data for the ledger, without unknown fields."""
        known = {name: getattr(self, name) for name in _TYPES if getattr(self, name)}
        return {**self.rest, **{name: _plain(value) for name, value in known.items()}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Facts":
        """The facts from the plain data of `to_dict`; a value with the wrong type stays in `rest`."""
        known = {name: data[name] for name, kind in _TYPES.items() if name in data and _is_a(data[name], kind)}
        rest = {name: value for name, value in data.items() if name not in known}
        if "unreadable" in known:
            known["unreadable"] = tuple(known["unreadable"])
        return cls(**known, rest=rest)


_TEXTS = ("host", "torch", "answered_from", "training", "trained", "halved_batch", "folder", "home")
_NUMBERS = ("images", "accumulated", "parameters", "peak_memory_mib", "queries", "unreadable_images")
_TYPES: dict[str, type] = {
    **dict.fromkeys((*_TEXTS, "inherited_from", "inherited"), str),
    **dict.fromkeys(_NUMBERS, int),
    "unreadable": list,
    "seeds": Mapping,
    "deviation": Mapping,
}


def _is_a(value: object, kind: type) -> bool:
    """Whether a value has the type of its field, and its parts theirs."""
    if kind is Mapping:
        return isinstance(value, Mapping) and all(isinstance(part, Mapping | float | int) for part in value.values())
    if kind is list:
        return isinstance(value, list | tuple) and all(isinstance(part, str) for part in value)
    return isinstance(value, kind)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
