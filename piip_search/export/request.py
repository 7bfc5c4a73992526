"""The request of an export."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, Self

from piip_search.architecture import Architecture
from piip_search.cost import Cost, Head, conventions_of, price
from piip_search.export.provenance import Provenance
from piip_search.sections import TrainingSection

NETWORK_FORMATS = ("torch", "onnx")
"""Formats of the bare network, which do not depend on the task."""
WeightsKind = Literal["proxy", "pretrained", "random"]
PixelNorm = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Mean and standard deviation of the channels red, green and blue, of pixels from 0 to 255."""
UNIT_NORM: PixelNorm = ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
"""Makes pixels numbers from -1 to 1."""
Reading = Literal["fit", "crop"]
"""How an image becomes the network's input: `fit` keeps all of it and pads it; `crop` takes the centre of the resized
image, a square."""


def norm_formula(norm: PixelNorm, pixel: str = "pixel") -> str:
    """Formula of a normalisation, for a reader and for Python.

    Channels of equal values have one number for all. Others have ImageNet's usual form, of pixels from 0 to 1, with a
    list of red, green and blue.

    Args:
        norm: The normalisation.
        pixel: What stands for the pixels, from 0 to 255.
    """
    mean, std = norm
    if len(set(mean)) == len(set(std)) == 1:
        return f"({pixel} - {mean[0]:g}) / {std[0]:g}"
    lists = [f"[{', '.join(f'{value / 255:g}' for value in values)}]" for values in norm]
    return f"({pixel} / 255 - {lists[0]}) / {lists[1]}"


@dataclass(frozen=True, slots=True)
class Start:
    """The starting weights of a full training.

    Attributes:
        kind: The proxy's weights, pre-trained branches, or random ones.
        text: A description for a reader, in a sentence or two.
        file: Name of the file in the export, if any.
    """

    kind: WeightsKind
    text: str
    file: str | None = None


RANDOM = Start(
    "random",
    "Weights start at random; results like the published ones need pre-trained branches.",
)


class TrainingPlan(Protocol):
    """The full training of a design, which its task writes as files."""

    @property
    def training(self) -> TrainingSection:
        """Recipe of the search."""
        ...

    @property
    def head(self) -> Head | None:
        """Head for the data set; None if its cost is unknown."""
        ...

    @property
    def title(self) -> str:
        """Network and data of the training, for the first line of the README."""
        ...

    @property
    def outputs(self) -> str:
        """What the bare network gives, for the README."""
        ...

    @property
    def norm(self) -> PixelNorm:
        """Normalisation of the images."""
        ...

    @property
    def reading(self) -> Reading:
        """How images are read: `fit` for networks of maps, `crop` for class scores."""
        ...

    def starting(self, pretrained: str | None) -> Self:
        """A copy with another source of pre-trained branches."""
        ...

    def files(self, export: "Export") -> Mapping[str, str]:
        """The texts of the task's own format by the names of their files; empty if the export leaves it out."""
        ...

    def readme(self, export: "Export") -> str:
        """The README's section about these files; empty if the export leaves them out."""
        ...


@dataclass(frozen=True, slots=True)
class Export:
    """A design to export, with everything that its files need.

    Attributes:
        architecture: The design.
        plan: Its full training.
        formats: Formats to write.
        start: Starting weights of the full training.
        images: Number of training and validation images, if known.
        seed: Seed of the full training.
        proved: Whether the written files are tested.
        provenance: Trial of the design, if it comes from one.
        notes: Lines for the README.
    """

    architecture: Architecture
    plan: TrainingPlan
    formats: tuple[str, ...]
    start: Start = RANDOM
    images: tuple[int, int] | None = None
    seed: int = 0
    proved: bool = True
    provenance: Provenance | None = None
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def box(self) -> tuple[int, int]:
        """Long and short side in pixels of the box for an image."""
        return self.plan.training.box(self.architecture.resolution)

    @property
    def costs(self) -> dict[str, Cost]:
        """Cost of one image of the full size, under every convention that counts the design."""
        head = self.plan.head
        return {name: price(self.architecture, name, head=head) for name in conventions_of(self.architecture, head)}
