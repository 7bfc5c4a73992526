"""Costs, and the counting rules of each convention."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from piip_search.architecture.backbones import Backbone, Transformer
from piip_search.architecture.segments import KEEPS_PREFIX, Merge

Convention = Literal["published", "backbone", "whole"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)

Grid = tuple[int, int]
"""Height and width in tokens, or in pixels of a map."""

IMAGENET_CLASSES = 1000
"""Classes of an ImageNet head, which the published counts include."""
OUTPUTS: dict[Merge, int] = {"logits": IMAGENET_CLASSES, "tokens": 4096}
"""Default outputs: ImageNet's class scores; tokens as wide as Vicuna-7B's, as in PIIP-LLaVA (13B: 5120)."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one image under one convention.

    Attributes:
        macs: Multiply-accumulates of a forward pass, each counted once; the PIIP papers call them FLOPs.
        params: Parameters.
        saved_values: Values of the forward pass that a training step saves for the backward pass; 4 bytes each in
            float32, 2 under bfloat16 autocast. Left out: parameters, their gradients, and the optimiser's state.
    """

    macs: int = 0
    params: int = 0
    saved_values: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.macs + other.macs, self.params + other.params, self.saved_values + other.saved_values)

    def __mul__(self, times: int) -> "Cost":
        return Cost(self.macs * times, self.params * times, self.saved_values * times)

    @classmethod
    def total(cls, costs: Iterable["Cost"]) -> "Cost":
        """The sum of costs."""
        macs = params = saved = 0
        for cost in costs:
            macs += cost.macs
            params += cost.params
            saved += cost.saved_values
        return cls(macs, params, saved)

    @property
    def gmacs(self) -> float:
        """Multiply-accumulates in units of 10^9."""
        return self.macs / 1e9

    @property
    def mparams(self) -> float:
        """Parameters in units of 10^6."""
        return self.params / 1e6


@dataclass(frozen=True, slots=True)
class Part:
    """A named share of a cost.

    Attributes:
        group: A branch, the interactions of two neighbours, `merge`, `pyramid`, `neck` or `head`.
        kind: Kind of work: `embedding`, `attention`, `mlp`, `projection`, ...; empty if the group has only one.
        cost: The share.
    """

    group: str
    kind: str
    cost: Cost


@dataclass(frozen=True, slots=True)
class CountingRules:
    """Rules for counting one branch.

    Attributes:
        published: Whether to count as the papers do: 2 operations per normalised value, 1 per convolution bias, samples
            at full width, and padding tokens of windows in the projections only.
        pads: Whether the published count includes padding tokens of windows in the projections to queries, keys and
            values.
        prefix: Number of class tokens and registers in the blocks.
        positions: Whether the position embedding has one entry for each token of the image and one for a class token,
            as in the authors' classification class, instead of the stored grid.
        light_merge: Whether branches merge by a linear layer regardless of the architecture's merge.
        first_stride: Whether all samples of a ConvNeXt count at the stride of its first interaction.
        outputs: Number of class scores of the merge `logits`, or channels of a token of the merge `tokens`.
    """

    published: bool = False
    pads: bool = False
    prefix: int = 0
    positions: bool = False
    light_merge: bool = False
    first_stride: bool = False
    outputs: int = 0


@lru_cache(maxsize=1000)
def rules_for(convention: Convention, merge: Merge, model: Backbone, outputs: int | None = None) -> CountingRules:
    """The counting rules of a convention for one branch.

    The authors counted with three scripts. ViT networks are counted as their classification class, whatever the task
    (so for the merges `conv`, `linear` and `logits`). Networks with ConvNeXts (`pyramid`) and those for language models
    (`tokens`) are counted as trained.
    """
    prefix = model.prefix if isinstance(model, Transformer) and merge in KEEPS_PREFIX else 0
    outputs = outputs or OUTPUTS.get(merge, 0)
    if convention != "published":
        return CountingRules(prefix=prefix, outputs=outputs)
    return CountingRules(
        published=True,
        pads=merge == "pyramid" or (isinstance(model, Transformer) and model.intern_class),
        prefix=prefix,
        positions=merge in ("conv", "linear", "residual", "logits"),
        light_merge=merge in ("conv", "linear", "residual"),
        first_stride=merge == "tokens",
        outputs=outputs,
    )
