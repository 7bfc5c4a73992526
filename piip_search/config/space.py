"""Sections `space` and `limit`: the choices for a design, and the limit on its cost."""

from typing import Annotated, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from piip_search.architecture import MAX_BRANCHES, Attention, Direction
from piip_search.architecture.backbones import ConvNeXt, backbone_named
from piip_search.architecture.segments import Merge
from piip_search.config.fields import MOST_CHOICES, Count, Positive, Section
from piip_search.cost import Convention, Head
from piip_search.space import Choices, Pairing, SearchSpace, parse_window, write_window
from piip_search.space import Limit as SpaceLimit
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

    def build(self) -> SearchSpace:
        """The search space; its merge is by default the usual one of its backbones."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        if self.merges is None:
            convolutional = any(isinstance(backbone_named(name), ConvNeXt) for name in self.backbones)
            values["merges"] = ("pyramid",) if convolutional else ("conv",)
        return SearchSpace(Choices(**values))


FORMER_WHOLE = "detector"
"""Former word for the convention `whole`, in files and fingerprints."""


def _convention(value: object) -> object:
    return "whole" if value == FORMER_WHOLE else value


class LimitSection(Section):
    """The limit on the cost of one design; the fields are those of `piip_search.space.Limit`."""

    gmacs: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=MOST_CHOICES, strict=False)]
    convention: Annotated[Convention, BeforeValidator(_convention)] = "published"
    mparams: Positive | None = None

    def build(self, head: Head | None) -> SpaceLimit:
        """The limit as a plain value, its tiers rising.

        Args:
            head: Layers that read the merged maps, under the convention `whole`.
        """
        return SpaceLimit(tuple(sorted(set(self.gmacs))), self.convention, self.mparams, head)
