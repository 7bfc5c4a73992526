"""What is known of a measurement besides its metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a measurement besides its metrics. A field that is not known has its default.

    Attributes:
        host: Name of the machine that measured.
        torch: Version of torch there.
        answered_from: Run and number of the evaluation that answered, where the ledger knew the result.
        training: Name of the training (`Candidate.training`).
        trained: Short form of the network that was trained, at the scale of the proxy.
        images: Training images that were used.
        accumulated: Batches that make one step of the optimiser.
        halved_batch: Error of the first attempt, where the training was repeated with half the images a batch.
        folder: Folder of the checkpoints, from the home folder on.
        home: The home folder of that time.
        parameters: Parameters of the network that was trained, with its head.
        peak_memory_mib: Highest memory of the training, in MiB: of the GPU, or else of the process.
        queries: Queries of a detector that has them.
        inherited_from: Name of the weights that it started from.
        inherited: Which weights it took over, in words.
        unreadable_images: Training images that could not be decoded.
        unreadable: Paths of the first of them.
        seeds: Metrics of each seed, where there are several.
        deviation: Standard deviation of each metric between seeds.
        rest: Facts of an evaluator of one's own.
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
        """Plain data, as the ledger keeps it: without what is not known."""
        known = {name: getattr(self, name) for name in _TYPES if getattr(self, name)}
        return {**self.rest, **{name: _plain(value) for name, value in known.items()}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Facts":
        """The facts that `to_dict` wrote. A value of another type than its field's stays in `rest`."""
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
    """Whether a value has the type of its field, and its parts those of theirs."""
    if kind is Mapping:
        return isinstance(value, Mapping) and all(isinstance(part, Mapping | float | int) for part in value.values())
    if kind is list:
        return isinstance(value, list | tuple) and all(isinstance(part, str) for part in value)
    return isinstance(value, kind)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
