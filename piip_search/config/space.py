"""Sections `space` and `limit`: the choices for a design, and the limit on its cost."""

from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, PlainSerializer, Tag, model_validator

from piip_search.architecture import MAX_BRANCHES, Attention, Direction
from piip_search.architecture.backbones import ConvNeXt, backbone_named
from piip_search.architecture.segments import MAP_MERGES, Merge
from piip_search.cost import AXES, Convention
from piip_search.sections.fields import MOST_CHOICES, Count, Positive, Section
from piip_search.space import Choices, Pairing, SearchSpace, parse_window, write_window
from piip_search.space import Window as SpaceWindow


def _window(value: object) -> object:
    if value is None or (isinstance(value, int | str) and not isinstance(value, bool)):
        return parse_window(value)
    raise ValueError(f"a window must be a number of tokens, global, or like 14g3, got {value!r}")


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    if not 1 <= value[0] <= value[1]:
        raise ValueError(f"steps must be two ratios, 1 <= least <= greatest, got {list(value)}")
    return value


_T = TypeVar("_T")
WindowField = Annotated[SpaceWindow, BeforeValidator(_window), PlainSerializer(write_window)]
Offers = Annotated[tuple[_T, ...], Field(min_length=1, max_length=MOST_CHOICES, strict=False)]
Steps = Annotated[tuple[float, float], Field(strict=False), AfterValidator(_rising)]


class SpaceSection(Section):
    """The choices for a design; the fields are those of `piip_search.space.SearchSpace`."""

    backbones: Offers[str]
    resolutions: Offers[int]
    windows: Offers[WindowField] = ((None, 0),)
    interactions: Offers[Annotated[int, Field(ge=0, le=10**6)]] = (0,)
    branches: Offers[Annotated[int, Field(ge=1, le=MAX_BRANCHES)]] = (1,)
    merges: Offers[Merge] | None = None
    attention: Offers[Attention] = ("deformable",)
    direction: Offers[Direction] = ("both",)
    projection: Offers[bool] = (True,)
    norm: Offers[bool] = (True,)
    heads: Annotated[int, Field(ge=1, le=1024)] = 16
    points: Annotated[int, Field(ge=1, le=64)] = 4
    patch: Count | None = None
    pairing: Pairing = "inverted"
    steps: Steps | None = None
    whole_windows: bool = False
    pretraining_grid: bool = False
    padding: Count | None = None

    def build(self, merges: tuple[Merge, ...] = MAP_MERGES) -> SearchSpace:
        """The search space; its merge is by default the usual one of its backbones.

        Args:
            merges: Merges that the task reads, the usual one first.
        """
        values = {name: getattr(self, name) for name in type(self).model_fields}
        if self.merges is None:
            convolutional = any(isinstance(backbone_named(name), ConvNeXt) for name in self.backbones)
            usual: Merge = "pyramid" if convolutional else "conv"
            values["merges"] = (usual if usual in merges else merges[0],)
        return SearchSpace(Choices(**values))


FORMER_WHOLE = "detector"
"""Former word for the convention `whole`, in files and fingerprints."""


TIERS_TAG = "a list of tiers"
CAP_TAG = "a highest cost"


def _convention(value: object) -> object:
    return "whole" if value == FORMER_WHOLE else value


Tiers = Annotated[tuple[Positive, ...], Field(min_length=1, max_length=MOST_CHOICES, strict=False)]


def _shape(value: object) -> str:
    return TIERS_TAG if isinstance(value, list | tuple) else CAP_TAG


Bound = Annotated[
    Annotated[Tiers, Tag(TIERS_TAG)] | Annotated[Positive | None, Tag(CAP_TAG)],
    Discriminator(_shape),
]
"""A list of tiers, or the highest cost."""


class LimitSection(Section):
    """The limit on the cost of one design: tiers on one axis, and the highest cost on any others.

    Attributes:
        gmacs: Multiply-accumulates in 10^9.
        mparams: Parameters in 10^6.
        training_gib: Memory in GiB of a training step at the full image size, with the recipe's images a step.
        convention: Counting convention of multiply-accumulates and parameters.
        image: Priced image: `trained` has the short side of the training, `square` both sides alike. The convention
            `published` always counts squares. None is a square in a search that an earlier version began.
    """

    gmacs: Bound = None
    mparams: Bound = None
    training_gib: Bound = None
    convention: Annotated[Convention, BeforeValidator(_convention)] = "published"
    image: Literal["trained", "square"] | None = "trained"

    @model_validator(mode="after")
    def _tiers_on_one_axis(self) -> Self:
        rising = [name for name in AXES if isinstance(getattr(self, name), tuple)]
        if not rising:
            raise ValueError(f"give a list of tiers on one of {', '.join(AXES)}, such as gmacs: [250, 500]")
        if len(rising) > 1:
            raise ValueError(
                f"tiers stand on one axis, got lists for {' and '.join(rising)}; give the others their highest cost, "
                f"such as {rising[-1]}: {max(getattr(self, rising[-1])):g}"
            )
        return self

    @property
    def axis(self) -> str:
        """Name of the tiers' axis."""
        return next(name for name in AXES if isinstance(getattr(self, name), tuple))

    @property
    def tiers(self) -> tuple[float, ...]:
        """Tiers, rising."""
        return tuple(sorted(set(getattr(self, self.axis))))

    @property
    def caps(self) -> dict[str, float]:
        """The highest cost on each other axis that has one."""
        return {name: cap for name in AXES if isinstance(cap := getattr(self, name), float)}
