"""Costs as axes: what a limit bounds, a search trades off against metrics, and a chart shows."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from piip_search.architecture import Architecture
from piip_search.architecture.design import Design, as_architecture
from piip_search.architecture.stock import StockNetwork
from piip_search.cost.conventions import Convention, Cost, Grid, Part
from piip_search.cost.head import Head
from piip_search.cost.price import breakdown, price, training_bytes
from piip_search.cost.training_step import Step
from piip_search.units import GIB, quantity


@dataclass(frozen=True, slots=True)
class CostLabel:
    """The name of an axis of cost and the format of its numbers, as plain data.

    Attributes:
        name: Name in files, such as `gmacs`, or the name of a table's cost.
        unit: Unit of its numbers, such as `G`; empty if it is unknown.
        heading: Title of a column, such as `GMACs`.
        noun: What it counts, in a sentence: `MACs alone rank designs as well`.
        title: Title of an axis of a chart, such as `GMACs (backbone convention)`.
    """

    name: str
    unit: str
    heading: str
    title: str
    noun: str

    def format(self, value: float, digits: int = 6) -> str:
        """A cost with its unit."""
        return quantity(value, self.unit, digits)


@dataclass(frozen=True, slots=True)
class CostAxis:
    """A cost of designs that is known before any training.

    Attributes:
        label: Its name and format.
        of: Returns the cost of a design.
    """

    label: CostLabel
    of: Callable[[Design], float]

    @property
    def name(self) -> str:
        """Name in files."""
        return self.label.name

    def format(self, value: float, digits: int = 6) -> str:
        """A cost with its unit."""
        return self.label.format(value, digits)


@dataclass(frozen=True, slots=True)
class Pricing:
    """How the architectures of a search are priced.

    Attributes:
        convention: Counting convention of multiply-accumulates and parameters.
        head: Layers that read the merged maps, under the convention `whole`.
        short_side: Short side of the priced image as a share of the design's image size, which is the long side. The
            convention `published` always counts squares, as the papers do.
        step: Full-size training step, for the axis `training_gib`; None leaves that axis out.
        outputs: Class scores of the merge `logits`, or channels of a token of the merge `tokens`; None for the default.
            The convention `published` always counts the default, as the papers do.
    """

    convention: Convention = "published"
    head: Head | None = None
    short_side: float = 1.0
    step: Step | None = None
    outputs: int | None = None

    def outputs_under(self, convention: Convention) -> int | None:
        """The outputs that a convention counts; None for the default."""
        return None if convention == "published" else self.outputs

    def image(self, architecture: Architecture) -> Grid | None:
        """Height and width of the priced image; None for the nominal square."""
        if self.convention == "published" or self.short_side == 1:
            return None
        return int(architecture.resolution * self.short_side), architecture.resolution

    def price(self, design: Design) -> Cost:
        """The cost of an architecture in closed form, or the counted cost of a stock network.

        Raises:
            TypeError: The design is a row of a table.
        """
        if isinstance(design, StockNetwork):
            return _counted(design)
        return _price(self, as_architecture(design))

    def parts(self, architecture: Architecture) -> list[Part]:
        """The price of an architecture by named parts."""
        outputs = self.outputs_under(self.convention)
        return breakdown(architecture, self.convention, self.image(architecture), self.head, outputs)

    def axis(self, name: str) -> CostAxis:
        """The axis of that name.

        Raises:
            KeyError: There is none of that name, or it needs a step.
        """
        if name == "training_gib" and self.step is None:
            raise KeyError(name)
        unit, heading, title, noun = AXES[name]
        label = CostLabel(name, unit, heading, title.format(self.convention), noun)
        return CostAxis(label, _AxisCost(self, name))

    @property
    def axes(self) -> tuple[CostAxis, ...]:
        """All axes that can be priced."""
        return tuple(self.axis(name) for name in AXES if name != "training_gib" or self.step is not None)


NOMINAL = Pricing()
"""Prices of the papers' tables."""
AXES = {
    "gmacs": ("G", "GMACs", "GMACs ({} convention)", "MACs"),
    "mparams": ("M", "M params", "parameters (10⁶)", "parameters"),
    "training_gib": ("GiB", "training GiB", "memory of a training step (GiB)", "training memory"),
}
"""Unit, heading, title and noun of each axis in closed form, by name."""
SCALES = {"gmacs": 1e9, "mparams": 1e6, "training_gib": float(GIB)}
"""Counts (multiply-accumulates, parameters, bytes) in one unit of an axis."""


@dataclass(frozen=True, slots=True)
class _AxisCost:
    """The cost of an architecture on one axis; equal ones are equal, unlike closures."""

    pricing: Pricing
    name: str

    def __call__(self, design: Design) -> float:
        if self.name == "training_gib":
            return _training_bytes(self.pricing, as_architecture(design)) / GIB
        cost = self.pricing.price(design)
        return cost.gmacs if self.name == "gmacs" else cost.mparams


def _counted(network: StockNetwork) -> Cost:
    if network.macs is None or network.params is None:
        raise TypeError(f"the cost of {network.name} has not been counted")
    return Cost(network.macs, network.params)


@lru_cache(maxsize=100_000)
def _price(pricing: Pricing, architecture: Architecture) -> Cost:
    """Price of an architecture, cached: fronts need the same prices after every evaluation."""
    outputs = pricing.outputs_under(pricing.convention)
    return price(architecture, pricing.convention, pricing.image(architecture), pricing.head, outputs)


@lru_cache(maxsize=100_000)
def _training_bytes(pricing: Pricing, architecture: Architecture) -> int:
    assert pricing.step is not None, "an axis of memory has a step"
    return training_bytes(architecture, pricing.step)
