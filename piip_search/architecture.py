"""What an architecture is: branches, interactions between them, and how they merge.

An `Architecture` is a frozen value with three equal faces: the dataclass, a plain dict, and the short form
that people read and type:

    vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12
    |     |   |                               |
    |     |   attention: w14 = windows of 14 tokens, g = global, w14g3 = every third block global
    |     image side in pixels                interactions between each pair of neighbours
    backbone, the largest model first

A ViT whose own patches are not 16 px says so after its attention where it is given others: `:gp16`. A ConvNeXt has
no attention: `convnext_t@1024`. Interactions with other than the published settings say so: `*12(heads=8)`,
`*6(attention=regular)`. A merge other than the usual one for its backbones says so at the end: `/linear`.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from typing import Any, Literal, cast, get_args

from piip_search.backbones import Backbone, ConvNeXt, Transformer, backbone_named, with_patch
from piip_search.stretches import (
    KEEPS_PREFIX,
    MERGES,
    PYRAMID_LEVELS,
    Merge,
    interaction_stages,
    merge_taps,
    merged_maps,
    most_interactions,
    seen_side,
    stretches_of,
)

Attention = Literal["deformable", "regular"]
ATTENTIONS: tuple[Attention, ...] = get_args(Attention)
Direction = Literal["both", "to_large", "to_small", "alternating"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)

MAX_BRANCHES = 4
GROUPS = 32
"""Groups of the group norms in merges; they divide the widths that are normed."""

_BRANCH = re.compile(
    r"(?P<backbone>\w+(?:\.\w+)?)@(?P<resolution>\d+)"
    r"(?P<attention>:(?:g|w(?P<window>\d+)(?:g(?P<global_every>\d+))?)(?:p(?P<patch>\d+))?)?"
)
_TAIL = re.compile(r"(?:\*(?P<count>\d+)(?:\((?P<settings>[^()]*)\))?)?(?:/(?P<merge>\w+))?")
_EXAMPLE = "vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12"
_WORDS = {"yes": True, "no": False}


@dataclass(frozen=True, slots=True)
class Branch:
    """One backbone at one image size.

    Attributes:
        backbone: Name of a backbone (`piip_search.backbones`).
        resolution: Side of the square image it reads, in pixels; a multiple of the patch size.
        window: Side of an attention window in tokens; None for global attention in every block.
        global_every: Every n-th block attends globally though the others are windowed; 0 for none.
        patch_size: Side of a ViT's patches in pixels where they are resampled to another size; None for its own.

    Raises:
        ValueError: The backbone is unknown, or a number does not fit it.
    """

    backbone: str
    resolution: int
    window: int | None = None
    global_every: int = 0
    patch_size: int | None = None

    def __post_init__(self) -> None:
        own = backbone_named(self.backbone)
        if self.patch_size is not None and (self.patch_size < 1 or self.patch_size == own.patch):
            raise ValueError(
                f"patches of {self.patch_size} px are no change to {self.backbone}'s own {own.patch}; leave p out"
            )
        patch = self.model.patch
        if self.resolution < patch or self.resolution % patch:
            nearest = max(patch, round(self.resolution / patch) * patch)
            raise ValueError(
                f"resolution must be a positive multiple of {self.backbone}'s patch of {patch} px, "
                f"got {self.resolution}; nearest: {nearest}"
            )
        if isinstance(own, ConvNeXt) and (self.window is not None or self.global_every):
            raise ValueError(f"{self.backbone} has no attention, got window {self.window}; write {self.backbone}@224")
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
        own = backbone_named(self.backbone)
        return own if self.patch_size is None else with_patch(own, self.patch_size)

    @property
    def grid(self) -> int:
        """Whole patches along one side: the tokens of a ViT, the last stage's of a ConvNeXt."""
        return self.resolution // self.model.patch

    @property
    def windows(self) -> tuple[int | None, ...]:
        """Window side of every block of a ViT, None where the block attends globally."""
        every = self.global_every
        return tuple(None if every and block % every == every - 1 else self.window for block in range(self.model.depth))

    def __str__(self) -> str:
        if isinstance(self.model, ConvNeXt):
            return f"{self.backbone}@{self.resolution}"
        attention = "g" if self.window is None else f"w{self.window}"
        every = f"g{self.global_every}" if self.global_every else ""
        return f"{self.backbone}@{self.resolution}:{attention}{every}" + (
            f"p{self.patch_size}" if self.patch_size else ""
        )


@dataclass(frozen=True, slots=True)
class Interaction:
    """Cross-attention between neighbouring branches (PIIP, section 3.3).

    Attributes:
        count: How many times along the depth the branches exchange features; 0 for never.
        heads: Attention heads of a unit; they divide half of every branch's width.
        points: Sampled points per head and query, of deformable attention.
        attention: `deformable`: each query samples a few points; `regular`: it attends to every token.
        direction: Who reads: both; the larger model alone; the smaller model alone; or the two by turns, the larger
            model first.
        projection: Whether a linear layer brings what is read to the reader's width first.
        norm: Whether what is read, the reader, and the FFN's input are normed.
    """

    count: int = 0
    heads: int = 16
    points: int = 4
    attention: Attention = "deformable"
    direction: Direction = "both"
    projection: bool = True
    norm: bool = True

    def __post_init__(self) -> None:
        if self.count < 0 or self.heads < 1 or self.points < 1:
            raise ValueError(f"interactions need count >= 0, heads >= 1 and points >= 1, got {self}")
        if self.attention not in ATTENTIONS or self.direction not in DIRECTIONS:
            raise ValueError(
                f"attention is one of {', '.join(ATTENTIONS)} and direction one of {', '.join(DIRECTIONS)}, got {self}"
            )
        if self.attention == "regular" and self.points != 4:
            raise ValueError(f"regular attention samples no points, got {self}; leave points out")
        if self.count == 0 and str(self) != "*0":
            raise ValueError(f"without interactions there is nothing to set, got {self}; leave the settings out")

    def reads(self, step: int) -> tuple[bool, bool]:
        """Whether the larger and the smaller model read in that interaction, counted from 0."""
        turns = {"both": (True, True), "to_large": (True, False), "to_small": (False, True)}
        return (step % 2 == 0, step % 2 == 1) if self.direction == "alternating" else turns[self.direction]

    def __str__(self) -> str:
        changed = [(f.name, getattr(self, f.name)) for f in fields(self)[1:] if getattr(self, f.name) != f.default]
        words = {value: word for word, value in _WORDS.items()}
        parts = [f"{name}={words[value] if isinstance(value, bool) else value}" for name, value in changed]
        return f"*{self.count}" + (f"({','.join(parts)})" if parts else "")


@dataclass(frozen=True, slots=True)
class Architecture:
    """A PIIP network: 1 to 4 branches, the largest model first.

    Attributes:
        branches: From the largest model to the smallest, by width at stride 16.
        interaction: What happens between neighbouring branches.
        merge: What comes out. `conv`: one map, by two 3x3 convolutions a branch, as detection and segmentation with
            ViTs train; `linear`: one map, by a linear layer a branch, as classification from scratch trains;
            `pyramid`: four maps, by a 3x3 convolution a branch, as detection with ConvNeXts trains; `logits`: class
            scores, the mean of every branch's own head, as classification is fine-tuned; `tokens`: the tokens of a
            language model, the sum of a projector a branch.

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
        if len({branch.model.patch for branch in self.branches if branch.model.family == "vit"}) > 1:
            raise ValueError(
                "all ViT branches share one patch size; resample one, as in vit_large_patch14_dinov2@448:gp16; got "
                + " + ".join(map(str, self.branches))
            )
        self._check_interaction()
        self._check_merge()

    def _check_interaction(self) -> None:
        count, heads = self.interaction.count, self.interaction.heads
        if len(self.branches) == 1 and self.interaction != Interaction():
            raise ValueError(f"a single branch has nothing to interact with, got {self.interaction}; leave it out")
        most = min(most_interactions(branch.model) for branch in self.branches)
        if count > most:
            raise ValueError(
                f"every interaction follows at least one block of every branch: at most {most} here, got {count}"
            )
        half = 2 if self.interaction.attention == "deformable" else 1
        for branch in self.branches if count else ():
            for stage in interaction_stages(branch.model, count):
                if stage.width // half % heads or stage.width < 4:
                    raise ValueError(
                        f"interaction heads must divide {'half of ' if half == 2 else ''}every width, got {heads} "
                        f"heads and {branch.backbone} of width {stage.width}; write e.g. *{count}(heads=8)"
                    )

    def _check_merge(self) -> None:
        if self.merge not in MERGES:
            raise ValueError(f"unknown merge {self.merge!r}; choose one of {', '.join(MERGES)}")
        models = [branch.model for branch in self.branches]
        convolutional = [model.name for model in models if isinstance(model, ConvNeXt)]
        if convolutional and self.merge in ("conv", "linear"):
            raise ValueError(
                f"{convolutional[0]} has a map at each of four strides, which the merge {self.merge} cannot join; "
                "use /pyramid, /logits or /tokens"
            )
        if self.merge == "pyramid":
            count = self.interaction.count
            if 0 < count < PYRAMID_LEVELS:
                raise ValueError(
                    f"the merge pyramid joins the branches after four stretches of blocks, got {count} interactions; "
                    "use none, or 4 and more"
                )
            if any(isinstance(model, Transformer) and model.patch != 16 for model in models):
                raise ValueError("the merge pyramid needs ViTs with patches of 16 px; resample them: :gp16")
            if any(most_interactions(model) < PYRAMID_LEVELS for model in models):
                raise ValueError(f"the merge pyramid needs {PYRAMID_LEVELS} blocks in every branch")
        if self.merge in KEEPS_PREFIX and any(
            isinstance(branch.model, Transformer) and branch.model.prefix and branch.window is not None
            for branch in self.branches
        ):
            raise ValueError(
                f"the merge {self.merge} keeps class tokens, which belong to no window; attend globally: :g"
            )
        if self.merge == "logits":
            self._check_pools(models)
        self._check_group_norms(models)

    def _check_pools(self, models: list[Backbone]) -> None:
        ways = {"map": "by attention over its tokens", "pair": "from two tokens by two heads"}
        for model in models:
            if model.pool in ways:
                raise ValueError(
                    f"{model.name} reads class scores {ways[model.pool]}, which the merge logits does not; choose "
                    "another backbone, or train a head of your own behind /linear"
                )

    def _check_group_norms(self, models: list[Backbone]) -> None:
        if len(models) == 1 or self.merge in ("logits", "tokens"):
            return
        normed = {stage.width for stage in models[0].stages}
        if self.merge == "linear":
            normed |= {model.width for model in models}
        wrong = sorted(width for width in normed if width % GROUPS)
        if wrong:
            nearest = max(GROUPS, round(wrong[0] / GROUPS) * GROUPS)
            raise ValueError(
                f"the merge {self.merge} norms in {GROUPS} groups, which must divide the width, got {wrong[0]}; "
                f"nearest: {nearest}"
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
        return self.branches[self.output].model.patch

    @property
    def multiple(self) -> int:
        """Pixels that both sides of an image must be a multiple of, for every branch to see whole patches at its scale.

        A side of s pixels reaches branch j as s r_j / r: the least s for which all of these are multiples of p_j.
        """
        return _multiple([branch.resolution for branch in self.branches],
                         [branch.model.patch for branch in self.branches])  # fmt: skip

    @property
    def stretches(self) -> int:
        """Into how many stretches every branch's blocks are split: one an interaction."""
        return stretches_of(self.interaction.count, self.merge)

    @property
    def taps(self) -> tuple[int, ...]:
        """Stretches after which the branches merge: the first two and the last two for a pyramid, else the last."""
        return merge_taps(self.stretches, self.merge)

    @property
    def merged(self) -> tuple[tuple[int, int], ...]:
        """Channels and stride of every map that the merge gives: the first branch's width on the output's grid."""
        first, output = (self.branches[index].model for index in (0, self.output))
        return merged_maps(first, output, self.stretches, self.merge)

    def image(self, height: int, width: int) -> tuple[int, int]:
        """An image's sides after padding to whole multiples, in pixels."""
        multiple = self.multiple
        return math.ceil(height / multiple) * multiple, math.ceil(width / multiple) * multiple

    def sides(self, image: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Height and width in pixels at which each branch sees an image; rounded to whole patches where it must be."""
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
        interaction = str(self.interaction) if len(self.branches) > 1 else ""
        merge = "" if self.merge == usual_merge(self.branches) else f"/{self.merge}"
        return "+".join(map(str, self.branches)) + interaction + merge

    def __str__(self) -> str:
        return self.name

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that are equal exactly when two architectures are; stable across versions and hosts."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: what crosses processes and what the fingerprint is taken of.

        Settings that came later are left out where they have their default, so that old fingerprints stay.
        """
        return {
            "branches": [_without_later(asdict(branch), Branch, 4) for branch in self.branches],
            "interaction": _without_later(asdict(self.interaction), Interaction, 3),
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
        branches = tuple(_branch(part) for part in parts if part is not None)
        interaction = Interaction(int(end["count"] or 0), **_settings(end["settings"] or "", text))
        return cls(branches, interaction, cast(Merge, end["merge"] or usual_merge(branches)))  # which checks them

    def scaled(self, image_scale: float) -> "Architecture":
        """The same design for smaller images: what a cheap proxy trains in place of it.

        Every resolution is multiplied and rounded to a multiple of one step, every window in proportion, so that the
        branches keep their pairing and a window keeps its share of the image. Sizes that share a large step need
        little padding together: of all steps that are whole patches in every branch, the one is taken at which the
        share of an image's area that padding adds on average, and the error of the area that is furthest from what is
        meant, are least together.

        Args:
            image_scale: Factor on every side, in (0, 1].

        Raises:
            ValueError: The factor lies outside (0, 1].
        """
        if not 0 < image_scale <= 1:
            raise ValueError(f"image_scale must lie in (0, 1], got {image_scale}")
        if image_scale == 1:
            return self

        sides = scaled_sides(
            tuple(branch.resolution for branch in self.branches),
            tuple(branch.model.patch for branch in self.branches), image_scale,
        )  # fmt: skip
        branches = tuple(
            replace(
                branch,
                resolution=side,
                window=branch.window and max(1, round(branch.window * side / branch.resolution)),
            )
            for branch, side in zip(self.branches, sides, strict=True)
        )
        return replace(self, branches=branches)


def _multiple(sides: Sequence[int], patches: Sequence[int]) -> int:
    """What `Architecture.multiple` says, for branches of these sides and patches in pixels."""
    whole = max(sides)
    steps = [patch * whole // math.gcd(patch * whole, side) for side, patch in zip(sides, patches, strict=True)]
    return math.lcm(*steps)


@lru_cache(maxsize=10_000)
def scaled_sides(sides: tuple[int, ...], patches: tuple[int, ...], scale: float) -> tuple[int, ...]:
    """Sides of `Architecture.scaled`. None grows, and what was larger than another stays larger."""
    unit = math.lcm(*patches)
    meant = [side * scale for side in sides]

    def stepped(step: int) -> tuple[int, ...]:
        found: dict[int, int] = {}
        last = 0
        for side in sorted(set(sides)):
            last = found[side] = min(side, max(last // step + 1, round(side * scale / step)) * step)
        return tuple(found[side] for side in sides)

    def loss(chosen: tuple[int, ...]) -> tuple[float, float]:
        error = 2 * max(abs(math.log(side / wanted)) for side, wanted in zip(chosen, meant, strict=True))
        return _multiple(chosen, patches) / max(chosen) + error, error

    most = max(1, round(max(meant) / unit))
    return min((stepped(unit * times) for times in range(1, most + 1)), key=loss)


def usual_merge(branches: tuple[Branch, ...]) -> Merge:
    """The merge that needs no mention: `pyramid` where a ConvNeXt takes part, else `conv`."""
    return "pyramid" if any(isinstance(branch.model, ConvNeXt) for branch in branches) else "conv"


def _without_later(data: dict[str, Any], kind: type[Branch] | type[Interaction], first: int) -> dict[str, Any]:
    later = {field.name: field.default for field in fields(kind)[first:]}
    return {name: value for name, value in data.items() if name not in later or value != later[name]}


def _branch(part: re.Match[str]) -> Branch:
    name = part["backbone"]
    if part["attention"] is None and isinstance(backbone_named(name), Transformer):
        raise ValueError(
            f"{part[0]!r} does not say how it attends; write {part[0]}:g for global attention, or {part[0]}:w14 for "
            f"windows; write it like {_EXAMPLE}"
        )
    if part["attention"] is not None and isinstance(backbone_named(name), ConvNeXt):
        raise ValueError(f"{name} has no attention; write {name}@{part['resolution']}")
    window, every, patch = (_number(part[key]) for key in ("window", "global_every", "patch"))
    return Branch(name, int(part["resolution"]), window, every or 0, patch)


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


def _settings(text: str, whole: str) -> dict[str, Any]:
    known = {field.name: field.default for field in fields(Interaction)[1:]}
    settings: dict[str, Any] = {}
    for key, _, value in (pair.partition("=") for pair in text.split(",") if pair):
        default = known.get(key)
        if isinstance(default, bool) and value in _WORDS:
            settings[key] = _WORDS[value]
        elif isinstance(default, str) or (type(default) is int and value.isdecimal()):
            settings[key] = value if isinstance(default, str) else int(value)
        else:
            raise ValueError(
                f"not an interaction setting: {key}={value} in {whole!r}; known: {', '.join(sorted(known))}, "
                "of which projection and norm are yes or no"
            )
    return settings
