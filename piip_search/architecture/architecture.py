"""A PIIP network as a value."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from typing import Any

from piip_search.architecture.branch import Branch
from piip_search.architecture.interaction import NO_INTERACTION, Interaction
from piip_search.architecture.scaling import common_multiple, scaled_sides
from piip_search.architecture.segments import Merge, merge_taps, merged_maps, seen_side, stretches_of
from piip_search.architecture.short_form import parts_of, written
from piip_search.architecture.validity import check_branches, check_interaction, check_merge
from piip_search.errors import DesignError


@dataclass(frozen=True, slots=True)
class Architecture:
    """A PIIP network: 1 to 4 branches, the largest model first.

    Attributes:
        branches: From the largest model to the smallest, by width at stride 16.
        interaction: Interactions between neighbouring branches.
        merge: Kind of merge. `conv`: one map, by two 3x3 convolutions a branch, as detection and segmentation with ViTs
            train; `residual`: `conv` with a way around it for the map of the largest image, for short trainings;
            `linear`: one map, by a linear layer a branch, as classification from scratch trains; `pyramid`: four maps,
            by a 3x3 convolution a branch, as detection with ConvNeXts trains; `logits`: class scores, the mean of every
            branch's own head, as classification is fine-tuned; `tokens`: the tokens of a language model, the sum of a
            projector a branch. A single branch has no merge that gives one map: `residual` is read as `conv` there.

    Raises:
        DesignError: No network can be built from these parts; the message states the rule and the way out.
    """

    branches: tuple[Branch, ...]
    interaction: Interaction = NO_INTERACTION
    merge: Merge = "conv"

    def __post_init__(self) -> None:
        check_branches(self.branches)
        check_interaction(self.branches, self.interaction)
        check_merge(self.branches, self.interaction.count, self.merge)
        if len(self.branches) == 1 and self.merge == "residual":
            # One branch has nothing to merge: it is one design under both words, with one name and one fingerprint.
            object.__setattr__(self, "merge", "conv")

    @property
    def output(self) -> int:
        """Index of the branch whose grid the merge has: the one with the largest image, the last of equals."""
        return max(range(len(self.branches)), key=lambda index: (self.branches[index].resolution, index))

    @property
    def resolution(self) -> int:
        """Side of the network's image in pixels: that of the output branch."""
        return self.branches[self.output].resolution

    @property
    def patch(self) -> int:
        """Stride of the merged map, in pixels."""
        return self.branches[self.output].model.patch

    @property
    def multiple(self) -> int:
        """Multiple of both sides of an image, in pixels, at which every branch sees whole patches.

        A side of s pixels reaches branch j as s r_j / r; this is the least s for which all of them are multiples of
        p_j.
        """
        return common_multiple(
            [branch.resolution for branch in self.branches], [branch.model.patch for branch in self.branches]
        )

    @property
    def stretches(self) -> int:
        """Number of stretches of every branch's blocks: one an interaction."""
        return stretches_of(self.interaction.count, self.merge)

    @property
    def taps(self) -> tuple[int, ...]:
        """Stretches after which the branches merge: the first two and the last two for a pyramid, else the last."""
        return merge_taps(self.stretches, self.merge)

    @property
    def merged(self) -> tuple[tuple[int, int], ...]:
        """Channels and stride of every merged map: the first branch's width on the output's grid."""
        first, output = (self.branches[index].model for index in (0, self.output))
        return merged_maps(first, output, self.stretches, self.merge)

    def image(self, height: int, width: int) -> tuple[int, int]:
        """An image's sides in pixels after padding to the multiple."""
        multiple = self.multiple
        return math.ceil(height / multiple) * multiple, math.ceil(width / multiple) * multiple

    def sides(self, image: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Height and width in pixels of each branch's form of an image, rounded to whole patches if necessary."""
        whole = self.resolution
        return tuple(
            (
                seen_side(image[0], branch.resolution, whole, branch.model.patch),
                seen_side(image[1], branch.resolution, whole, branch.model.patch),
            )
            for branch in self.branches
        )

    @property
    def name(self) -> str:
        """The short form."""
        return written(self.branches, self.interaction, self.merge)

    def __str__(self) -> str:
        return self.name

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits, equal exactly for equal architectures; stable across versions and hosts."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """The architecture as plain data, for other processes and for the fingerprint.

        Settings of later versions are left out where they have their default, so that old fingerprints stay valid.
        """
        return {
            "branches": [_without_later(asdict(branch), Branch, 4) for branch in self.branches],
            "interaction": _without_later(asdict(self.interaction), Interaction, 3),
            "merge": self.merge,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Architecture":
        """The architecture from the plain data of `to_dict`.

        Raises:
            DesignError: The data is no architecture.
        """
        try:
            branches = tuple(_branch(**branch) for branch in data["branches"])
            return cls(branches, _interaction(**data["interaction"]), data["merge"])
        except (KeyError, TypeError) as error:
            raise DesignError(f"an architecture needs branches, interaction and merge: {error}") from None

    @classmethod
    def parse(cls, text: str) -> "Architecture":
        """Reads the short form.

        Raises:
            DesignError: The text is not a short form, or no such network can be built.
        """
        return cls(*parts_of(text))

    def scaled(self, image_scale: float) -> "Architecture":
        """The design at smaller image sizes, which a cheap proxy trains.

        Every resolution is multiplied and rounded to a multiple of one step, and every window in proportion. So the
        branches keep their pairing, and a window keeps its share of the image. Sizes with a large common step need
        little padding together. Among steps that are multiples of every patch, the one is chosen that minimises average
        padding (share of an image's area) plus the largest relative error of a branch's area.

        Args:
            image_scale: Factor on every side, in (0, 1].

        Raises:
            DesignError: The factor lies outside (0, 1].
        """
        if not 0 < image_scale <= 1:
            raise DesignError(f"image_scale must lie in (0, 1], got {image_scale}")
        if image_scale == 1:
            return self

        sides = scaled_sides(
            tuple(branch.resolution for branch in self.branches),
            tuple(branch.model.patch for branch in self.branches),
            image_scale,
        )
        branches = tuple(
            replace(
                branch,
                resolution=side,
                window=branch.window and max(1, round(branch.window * side / branch.resolution)),
            )
            for branch, side in zip(self.branches, sides, strict=True)
        )
        return replace(self, branches=branches)


# The designs of a search are made of few branches and interactions: the many of a ledger share them.
_branch = lru_cache(maxsize=20_000, typed=True)(Branch)
_interaction = lru_cache(maxsize=20_000, typed=True)(Interaction)


def _without_later(data: dict[str, Any], kind: type[Branch] | type[Interaction], first: int) -> dict[str, Any]:
    later = {field.name: field.default for field in fields(kind)[first:]}
    return {name: value for name, value in data.items() if name not in later or value != later[name]}
