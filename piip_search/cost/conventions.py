"""What a cost is, and what each convention counts."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from piip_search.architecture.backbones import Backbone, Transformer
from piip_search.architecture.segments import KEEPS_PREFIX, Merge

Convention = Literal["published", "backbone", "detector"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)

Grid = tuple[int, int]
"""Height and width in tokens, or in pixels of a map."""

IMAGENET_CLASSES = 1000
"""Classes of ImageNet heads: those that the published counts include."""
OUTPUTS: dict[Merge, int] = {"logits": IMAGENET_CLASSES, "tokens": 4096}
"""What leaves by default: scores of ImageNet's classes; tokens as wide as those of Vicuna-7B, as in PIIP-LLaVA (13B:
5120)."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one image costs under one convention.

    Attributes:
        macs: Multiply-accumulates of a forward pass, each counted once; the PIIP papers call them FLOPs.
        params: Parameters.
        kept: Values that a training step keeps of the forward pass for the backward pass; 4 bytes each in float32, 2
            under bfloat16 autocast. Left out: parameters, their gradients, and the optimiser's state.
    """

    macs: int = 0
    params: int = 0
    kept: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.macs + other.macs, self.params + other.params, self.kept + other.kept)

    def __mul__(self, times: int) -> "Cost":
        return Cost(self.macs * times, self.params * times, self.kept * times)

    @classmethod
    def total(cls, costs: Iterable["Cost"]) -> "Cost":
        """The sum of costs."""
        macs = params = kept = 0
        for cost in costs:
            macs += cost.macs
            params += cost.params
            kept += cost.kept
        return cls(macs, params, kept)

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
        group: What it belongs to: a branch, the interactions of two neighbours, `merge`, `pyramid`, `neck`, `head`.
        kind: Which of its works: `embedding`, `attention`, `mlp`, `projection`, ...; empty where there is but one.
        cost: The share.
    """

    group: str
    kind: str
    cost: Cost


@dataclass(frozen=True, slots=True)
class CountingRules:
    """What is counted in one branch.

    Attributes:
        published: Whether the papers' operations count: two for every value that a norm touches, one a bias of a
            convolution, samples of the full width, and no token that fills up a window but in projections.
        pads: Whether the published count takes tokens that fill up windows through the projections to queries, keys and
            values.
        prefix: Class tokens and registers that pass the blocks.
        positions: Whether the position embedding has one entry a token of the image and one for a class token, as in
            the authors' classification class, and not the stored grid.
        light_merge: Whether branches merge by a linear layer whatever the architecture says.
        first_stride: Whether all samples of a ConvNeXt count at the stride of its first interaction.
        outputs: Class scores of the merge `logits`, channels of a token of the merge `tokens`.
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
    """What a convention counts in one branch.

    The authors counted with three scripts: ViT networks as their classification class, whatever the task (so for the
    merges `conv`, `linear` and `logits`); networks with ConvNeXts (`pyramid`) and those for language models
    (`tokens`) as what is trained.
    """
    prefix = model.prefix if isinstance(model, Transformer) and merge in KEEPS_PREFIX else 0
    outputs = outputs or OUTPUTS.get(merge, 0)
    if convention != "published":
        return CountingRules(prefix=prefix, outputs=outputs)
    return CountingRules(
        published=True,
        pads=merge == "pyramid" or (isinstance(model, Transformer) and model.intern_class),
        prefix=prefix,
        positions=merge in ("conv", "linear", "logits"),
        light_merge=merge in ("conv", "linear"),
        first_stride=merge == "tokens",
        outputs=outputs,
    )
