"""What an architecture is: branches, interactions between them, and how they merge.

An `Architecture` is a frozen value with three equal faces: the dataclass, a plain dict, and the short form
that people read and type:

    vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12
    |     |   |                               |
    |     |   attention: w14 = windows of 14 tokens, g = global, w14g3 = every third block global
    |     image side in pixels                interactions between each pair of neighbours
    backbone, the largest model first

An interaction with other than the published settings says so: `*12(heads=8)`. A merge other than the
detection merge of two 3x3 convolutions says so at the end: `/linear`.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, cast, get_args

from piip_search.backbones import Backbone, backbone_named

Merge = Literal["conv", "linear"]
MERGES: tuple[Merge, ...] = get_args(Merge)
MAX_BRANCHES = 4

_BRANCH = re.compile(r"(?P<backbone>\w+)@(?P<resolution>\d+):(?:g|w(?P<window>\d+)(?:g(?P<global_every>\d+))?)")
_TAIL = re.compile(r"(?:\*(?P<count>\d+)(?:\((?P<settings>[^()]*)\))?)?(?:/(?P<merge>\w+))?")
_EXAMPLE = "vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12"


@dataclass(frozen=True, slots=True)
class Branch:
    """One backbone at one image size.

    Attributes:
        backbone: Short name of a backbone (`piip_search.backbones`).
        resolution: Side of the square image it reads, in pixels; a multiple of the patch size.
        window: Side of an attention window in tokens; None for global attention in every block.
        global_every: Every n-th block attends globally though the others are windowed; 0 for none.

    Raises:
        ValueError: The backbone is unknown, or a number does not fit it.
    """

    backbone: str
    resolution: int
    window: int | None = None
    global_every: int = 0

    def __post_init__(self) -> None:
        patch = self.model.patch
        if self.resolution < patch or self.resolution % patch:
            nearest = max(patch, round(self.resolution / patch) * patch)
            raise ValueError(
                f"resolution must be a positive multiple of {self.backbone}'s patch of {patch} px, "
                f"got {self.resolution}; nearest: {nearest}"
            )
        if self.window is not None and self.window < 1:
            raise ValueError(f"window must be at least 1 token, got {self.window}; write g for global attention")
        if self.global_every and (self.window is None or not 2 <= self.global_every <= self.model.depth):
            raise ValueError(
                f"global_every must lie between 2 and {self.backbone}'s depth of {self.model.depth} and needs a "
                f"window, got global_every={self.global_every}, window={self.window}"
            )

    @property
    def model(self) -> Backbone:
        """The facts of the backbone."""
        return backbone_named(self.backbone)

    @property
    def grid(self) -> int:
        """Tokens along one side."""
        return self.resolution // self.model.patch

    @property
    def tokens(self) -> int:
        """Tokens of the whole image."""
        return self.grid**2

    @property
    def windows(self) -> tuple[int | None, ...]:
        """Window side of every block, None where the block attends globally."""
        every = self.global_every
        return tuple(None if every and block % every == every - 1 else self.window for block in range(self.model.depth))

    def __str__(self) -> str:
        attention = "g" if self.window is None else f"w{self.window}"
        return f"{self.backbone}@{self.resolution}:{attention}" + (f"g{self.global_every}" if self.global_every else "")


@dataclass(frozen=True, slots=True)
class Interaction:
    """Deformable cross-attention between neighbouring branches (PIIP, section 3.3).

    Attributes:
        count: How many times along the depth the branches exchange features; 0 for never.
        heads: Attention heads of a unit; they divide half of every branch's width.
        points: Sampled points per head and query.
    """

    count: int = 0
    heads: int = 16
    points: int = 4

    def __post_init__(self) -> None:
        if self.count < 0 or self.heads < 1 or self.points < 1:
            raise ValueError(f"interactions need count >= 0, heads >= 1 and points >= 1, got {self}")

    def __str__(self) -> str:
        changed = [f"{f.name}={getattr(self, f.name)}" for f in fields(self)[1:] if getattr(self, f.name) != f.default]
        return f"*{self.count}" + (f"({','.join(changed)})" if changed else "")


@dataclass(frozen=True, slots=True)
class Architecture:
    """A PIIP network: 1 to 4 branches, the largest model first.

    Attributes:
        branches: From the largest model to the smallest.
        interaction: What happens between neighbouring branches.
        merge: `conv`: two 3x3 convolutions a branch, as detection trains; `linear`: one linear layer a
            branch, as classification from scratch trains.

    Raises:
        ValueError: No network can be built from these parts; the message states the rule and the way out.
    """

    branches: tuple[Branch, ...]
    interaction: Interaction = Interaction()
    merge: Merge = "conv"

    def __post_init__(self) -> None:
        if not 1 <= len(self.branches) <= MAX_BRANCHES:
            raise ValueError(f"an architecture has 1 to {MAX_BRANCHES} branches, got {len(self.branches)}")
        widths = [branch.model.width for branch in self.branches]
        if widths != sorted(widths, reverse=True):
            raise ValueError(
                f"branches go from the widest model to the narrowest, got widths {widths}; "
                "reorder them, the image sizes may come in any order"
            )
        if len({branch.model.patch for branch in self.branches}) > 1:
            raise ValueError("all branches share one patch size; got " + " + ".join(map(str, self.branches)))
        if self.merge not in MERGES:
            raise ValueError(f"unknown merge {self.merge!r}; choose one of {', '.join(MERGES)}")
        self._check_interaction()

    def _check_interaction(self) -> None:
        count, heads = self.interaction.count, self.interaction.heads
        if len(self.branches) == 1 and self.interaction != Interaction():
            raise ValueError(f"a single branch has nothing to interact with, got {self.interaction}; leave it out")
        depth = min(branch.model.depth for branch in self.branches)
        if count > depth:
            raise ValueError(
                f"every interaction follows at least one block of every branch: at most {depth} here, got {count}"
            )
        for branch in self.branches if count else ():
            if branch.model.width // 2 % heads:
                raise ValueError(
                    f"interaction heads must divide half of every width, got {heads} heads and "
                    f"{branch.backbone} of width {branch.model.width}; write e.g. *{count}(heads=8)"
                )

    @property
    def output(self) -> int:
        """Index of the branch on whose grid the branches merge: the one with the largest image, the last of equals."""
        return max(range(len(self.branches)), key=lambda index: (self.branches[index].resolution, index))

    @property
    def resolution(self) -> int:
        """Side of the image that the network is given, in pixels: that of the output branch."""
        return self.branches[self.output].resolution

    @property
    def patch(self) -> int:
        """Stride of the merged map, in pixels."""
        return self.branches[0].model.patch

    @property
    def name(self) -> str:
        """The short form."""
        interaction = str(self.interaction) if len(self.branches) > 1 else ""
        return "+".join(map(str, self.branches)) + interaction + ("" if self.merge == "conv" else f"/{self.merge}")

    def __str__(self) -> str:
        return self.name

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that are equal exactly when two architectures are; stable across versions and hosts."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: what crosses processes and what the fingerprint is taken of."""
        return {
            "branches": [asdict(branch) for branch in self.branches],
            "interaction": asdict(self.interaction),
            "merge": self.merge,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Architecture":
        """The architecture that `to_dict` wrote.

        Raises:
            ValueError: The data describes no architecture.
        """
        try:
            branches = tuple(Branch(**branch) for branch in data["branches"])
            return cls(branches, Interaction(**data["interaction"]), data["merge"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"an architecture needs branches, interaction and merge: {error}") from None

    @classmethod
    def parse(cls, text: str) -> "Architecture":
        """Reads the short form.

        Raises:
            ValueError: The text is not a short form, or no such network can be built.
        """
        body, mark, tail = text.strip().partition("*")
        if not mark:
            body, mark, tail = text.strip().partition("/")
        parts = [_BRANCH.fullmatch(part.strip()) for part in body.split("+")]
        end = _TAIL.fullmatch(mark + tail)
        if end is None or None in parts:
            raise ValueError(f"not an architecture: {text!r}; write it like {_EXAMPLE}")
        branches = tuple(
            Branch(
                part["backbone"], int(part["resolution"]), _number(part["window"]), _number(part["global_every"]) or 0
            )
            for part in parts
            if part is not None
        )
        interaction = Interaction(int(end["count"] or 0), **_settings(end["settings"] or "", text))
        return cls(branches, interaction, cast(Merge, end["merge"] or "conv"))  # the constructor checks it

    def scaled(self, image_scale: float) -> "Architecture":
        """The same design for smaller images: what a cheap proxy trains in place of it.

        Every resolution is multiplied and rounded to whole patches, every window in proportion, so that the
        branches keep their pairing and a window keeps its share of the image.

        Args:
            image_scale: Factor on every side, in (0, 1].

        Raises:
            ValueError: The factor lies outside (0, 1].
        """
        if not 0 < image_scale <= 1:
            raise ValueError(f"image_scale must lie in (0, 1], got {image_scale}")
        if image_scale == 1:
            return self

        def shrink(value: float) -> int:
            return max(1, round(value * image_scale))

        branches = tuple(
            replace(
                branch,
                resolution=shrink(branch.grid) * branch.model.patch,
                window=branch.window and shrink(branch.window),
            )
            for branch in self.branches
        )
        return replace(self, branches=branches)


def interaction_ranges(depth: int, count: int) -> tuple[range, ...]:
    """Splits a branch's blocks into the stretches that run between interactions.

    The stretches tile the depth; where they cannot be equal the later ones are one block longer, as the
    authors split the 32 blocks of ViT-H into 12 (2,2,2,2,3,...,3). Without interactions there is one stretch.
    """
    if count == 0:
        return (range(depth),)
    short, longer = divmod(depth, count)
    lengths = [short] * (count - longer) + [short + 1] * longer
    starts = [sum(lengths[:index]) for index in range(count + 1)]
    return tuple(range(start, stop) for start, stop in itertools.pairwise(starts))


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


def _settings(text: str, whole: str) -> dict[str, int]:
    known = {field.name for field in fields(Interaction)} - {"count"}
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    for key, _, value in pairs:
        if key not in known or not value.isdecimal():
            raise ValueError(
                f"not an interaction setting: {key}={value} in {whole!r}; known: {', '.join(sorted(known))}"
            )
    return {key: int(value) for key, _, value in pairs}
