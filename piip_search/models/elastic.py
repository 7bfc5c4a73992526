"""One set of weights that runs at several operating points: networks of several designs that share their tensors."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from piip_search.architecture import Architecture
from piip_search.architecture.segments import STRIDES
from piip_search.errors import ChoiceError, UserError
from piip_search.models.heads import PIIPPyramid
from piip_search.models.weights.shared_keys import network_key

ELASTIC_POINTS = "points.json"
"""File with the operating points of an elastic network."""
ELASTIC_WEIGHTS = "weights.safetensors"
"""File with its tensors by key (`piip_search.models.weights.shared_keys`)."""
PRINTED = 1e-3
"""Greatest relative error of a cost that was copied from a table."""
UNITS = {"g": "gmacs", "m": "mparams", "ms": "milliseconds"}
"""Costs of a point by the unit in which a choice may limit them."""
_WITHIN = re.compile(r"<=\s*(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(G|MS|M)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """One way to run an elastic network.

    Attributes:
        design: The design: image sizes, windows, interactions and branches.
        metric: Name of the measured metric.
        value: The metric with the shared weights, as the search measured it.
        gmacs: Multiply-accumulates of one image in 10^9, under the convention of the search.
        mparams: Parameters in 10^6, under that convention.
        milliseconds: Median time of one square image on the device that wrote the file; None if it was not measured.
    """

    design: Architecture
    metric: str
    value: float
    gmacs: float
    mparams: float
    milliseconds: float | None = None


class ElasticPIIP(nn.Module):
    """A PIIP network with its pyramid that can be switched between designs; all share one set of tensors.

    Attributes:
        points: Operating points, the cheapest first.
        point: The point in use; the dearest at first.
        rises: Whether a higher metric is better.
    """

    def __init__(
        self,
        points: Sequence[OperatingPoint],
        values: Mapping[str, Tensor],
        rises: bool = True,
        strides: Sequence[int] = STRIDES,
    ) -> None:
        """Builds the networks.

        Args:
            points: Operating points, at least one.
            values: Tensors by key.
            rises: Whether a higher metric is better.
            strides: Strides of the maps, as the shared weights were trained for.

        Raises:
            UserError: There is no point, or a tensor is missing or has another shape.
        """
        super().__init__()
        if not points:
            raise UserError("an elastic network has at least one operating point, got none")
        self.points = tuple(sorted(points, key=lambda point: point.gmacs))
        self.rises = rises
        shared: dict[str, nn.Parameter] = {}
        self.networks = nn.ModuleList(_tied(point.design, values, shared, strides) for point in self.points)
        self._active = len(self.points) - 1
        self.eval()

    @property
    def point(self) -> OperatingPoint:
        """The operating point in use."""
        return self.points[self._active]

    def use(self, choice: str | int) -> OperatingPoint:
        """Switches to another operating point, which costs nothing.

        Args:
            choice: Position of the point, its design's short form, `best` for the best metric, or a highest cost:
                `<=0.1 G` (10^9 multiply-accumulates), `<=3 M` (10^6 parameters) or `<=20 ms` (as measured by the
                export) for the best point within it.

        Raises:
            ChoiceError: No point fits.
        """
        self._active = self._found(choice)
        return self.point

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """The maps of the point in use; see `PIIPPyramid.forward`."""
        maps: tuple[Tensor, ...] = self.networks[self._active](image_BCHW)
        return maps

    def _found(self, choice: str | int) -> int:
        places = list(range(len(self.points)))
        if isinstance(choice, int):
            if choice not in places:
                raise ChoiceError(f"there are points 0 to {len(self.points) - 1}, got {choice}")
            return choice
        within = _WITHIN.fullmatch(choice.strip())
        if within is not None:
            known = {place: getattr(self.points[place], UNITS[within[2].lower()]) for place in places}
            costs = {place: cost for place, cost in known.items() if cost is not None}
            if not costs:
                raise ChoiceError("the times of these points were not measured; export the network again")
            most = float(within[1]) * (1 + PRINTED)
            places = [place for place, cost in costs.items() if cost <= most]
            if not places:
                raise ChoiceError(
                    f"no point costs {within[1]} {within[2]} or less; the cheapest costs {min(costs.values()):.4g}"
                )
        elif choice != "best":
            names = [point.design.name for point in self.points]
            if choice not in names:
                raise ChoiceError(
                    f"no point {choice!r}; write best, <=0.1 G, <=3 M, <=20 ms, a position, or {names[0]}"
                )
            return names.index(choice)
        sign = 1 if self.rises else -1
        return max(places, key=lambda place: (sign * self.points[place].value, -self.points[place].gmacs))


def load_elastic(folder: Path) -> ElasticPIIP:
    """An elastic network from a folder that `piip-search export RUN elastic` wrote.

    Raises:
        UserError: The files are missing or do not fit.
    """
    try:
        content = json.loads((folder / ELASTIC_POINTS).read_text(encoding="utf-8"))
        values = load_file(folder / ELASTIC_WEIGHTS)
    except OSError as error:
        raise UserError(f"{folder} holds no elastic network: {error.strerror}; export one") from None
    except (ValueError, SafetensorError) as error:
        raise UserError(f"{folder} holds a damaged elastic network: {error}; export it again") from None
    try:
        metric, rises, strides = content["metric"], content["rises"], content["strides"]
        points = [
            OperatingPoint(
                Architecture.parse(row["architecture"]),
                metric,
                row[metric],
                row["gmacs"],
                row["mparams"],
                row.get("milliseconds"),
            )
            for row in content["points"]
        ]
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / ELASTIC_POINTS} lacks {error}; export the network again") from None
    return ElasticPIIP(points, values, rises, strides)


def _tied(
    design: Architecture, values: Mapping[str, Tensor], shared: dict[str, nn.Parameter], strides: Sequence[int]
) -> PIIPPyramid:
    """The network of a design with shared parameters, which are created as they are needed."""
    network = PIIPPyramid(design, strides=strides)
    for name, parameter in list(network.named_parameters()):
        key = network_key(design, name)
        if key not in values or values[key].shape != parameter.shape:
            found = "is missing" if key not in values else f"has the shape {tuple(values[key].shape)}"
            raise UserError(f"the tensor {key} of {design} {found}; export the network again")
        if key not in shared:
            shared[key] = nn.Parameter(values[key].clone(), requires_grad=False)
        owner, _, last = name.rpartition(".")
        network.get_submodule(owner)._parameters[last] = shared[key]
    return network


def rows_of(points: Sequence[OperatingPoint]) -> list[dict[str, object]]:
    """Operating points as plain data, as `ELASTIC_POINTS` has them."""
    return [
        {
            "architecture": point.design.name,
            point.metric: point.value,
            "gmacs": point.gmacs,
            "mparams": point.mparams,
            "milliseconds": point.milliseconds,
        }
        for point in points
    ]


def keys_of(points: Sequence[OperatingPoint], strides: Sequence[int] = STRIDES) -> set[str]:
    """Keys of the tensors that the networks of some points have."""
    with torch.device("meta"):
        networks = [(point.design, PIIPPyramid(point.design, strides=strides)) for point in points]
    return {network_key(design, name) for design, network in networks for name, _ in network.named_parameters()}
