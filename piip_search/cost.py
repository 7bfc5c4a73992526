"""What an architecture costs, in closed form, before anything is built.

One multiply-accumulate (MAC) is counted once; the PIIP papers call it a FLOP. Two conventions:

`published` is what the tables of the PIIP papers count for ViT branches: the classification network, with one
linear layer a branch where detection really merges by convolutions, windows without padding, biases of
convolutions and two operations per normalised value. Left out: activations, softmax, residual sums, resizing.

`backbone` is what runs and trains: the chosen merge, tokens added to fill windows, and every matrix product,
convolution, attention product and bilinear sample. Left out: biases, norms, activations, softmax, residual sums,
resizing, and what follows the merged map (pyramid, neck, head).

Both are sums over branches, over pairs of neighbours times interactions, and over merges: that separability is
what lets a search space price all its designs at once.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Literal, get_args

from piip_search.architecture import Architecture, Branch, Interaction, Merge

Convention = Literal["published", "backbone"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)

POSITION_GRID = 14
"""Tokens along a side of the stored position embedding: 224 px of pre-training over a patch of 16 px."""
CLASSES = 1000
"""Classes of the head that the published counts include."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Multiply-accumulates for one image, and parameters, under one convention."""

    macs: int = 0
    params: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.macs + other.macs, self.params + other.params)

    def __mul__(self, times: int) -> "Cost":
        return Cost(self.macs * times, self.params * times)

    @property
    def gmacs(self) -> float:
        """Multiply-accumulates in units of 10^9."""
        return self.macs / 1e9

    @property
    def mparams(self) -> float:
        """Parameters in units of 10^6."""
        return self.params / 1e6


def price(architecture: Architecture, convention: Convention = "published") -> Cost:
    """Cost of a square image of the architecture's nominal size.

    Reproduces the papers' tables under `published` (PIIP, tables 1 and 12), and the modules in
    `piip_search.models` under `backbone`.
    """
    return sum((cost for _, cost in breakdown(architecture, convention)), Cost())


def breakdown(architecture: Architecture, convention: Convention = "published") -> list[tuple[str, Cost]]:
    """Where the cost sits: named parts that sum to `price`."""
    branches, interaction = architecture.branches, architecture.interaction
    first = branches[0]
    parts = [(str(branch), branch_cost(branch, convention)) for branch in branches]
    for large, small in itertools.pairwise(branches):
        if interaction.count:
            unit = unit_cost(large, small, interaction, convention)
            parts.append((f"interactions {large.backbone} - {small.backbone}", unit * interaction.count))
    if len(branches) > 1:
        merges = (merge_cost(branch, first, architecture.merge, convention) for branch in branches)
        parts.append(("merge", sum(merges, merge_cost(first, None, architecture.merge, convention))))
    if convention == "published":
        parts.append(("head", head_cost(first, branches[architecture.output])))
    return parts


def branch_cost(branch: Branch, convention: Convention) -> Cost:
    """Patch embedding, position embedding and all blocks of one branch.

    Per token of width d, with MLP ratio 4: 768 d (embedding), and per block 4 d^2 (attention's matrices),
    8 d^2 (MLP) and 2 d per key attended to. Under `backbone` the attention runs on whole windows, padded ones too.
    """
    model, tokens = branch.model, branch.tokens
    width, hidden = model.width, model.mlp_ratio * model.width
    pixels = 3 * model.patch**2
    published = convention == "published"
    macs = tokens * (pixels + published) * width
    for window in branch.windows:
        keys = tokens if window is None else window**2
        attended = tokens if window is None or published else (math.ceil(branch.grid / window) * window) ** 2
        macs += attended * (4 * width**2 + 2 * keys * width) + 2 * tokens * width * hidden
        macs += 4 * tokens * width * published
    attention = 4 * width**2 + 4 * width
    mlp = 2 * width * hidden + hidden + width
    scales = 2 * width * model.layer_scale
    position = (tokens + 1 if published else POSITION_GRID**2) * width
    params = (pixels + 1) * width + position + model.depth * (attention + mlp + 4 * width + scales)
    return Cost(macs, params)


def unit_cost(large: Branch, small: Branch, interaction: Interaction, convention: Convention) -> Cost:
    """One interaction between two neighbours: both directions (PIIP, section 3.3)."""
    return _injection_cost(large, small, interaction, convention) + _injection_cost(
        small, large, interaction, convention
    )


def _injection_cost(query: Branch, feature: Branch, interaction: Interaction, convention: Convention) -> Cost:
    """One direction: the query branch reads the feature branch.

    Query width d on n tokens, feature width e on m tokens, H heads, P points, value width d/2, FFN width h = d/4:
    m e d (projection) + m d d/2 (values) + 3 n d H P (offsets and weights) + n d d/2 (output) + 2 n d h + 9 n h (FFN).
    A bilinear sample is 4 MACs and its weight 1, per channel: of the values, d/2; the published count takes d.
    """
    width, value, hidden = query.model.width, query.model.width // 2, query.model.width // 4
    n, m = query.tokens, feature.tokens
    samples = interaction.heads * interaction.points
    published = convention == "published"
    macs = (
        m * feature.model.width * width
        + m * width * value
        + 3 * n * width * samples
        + n * value * width
        + 5 * n * interaction.points * (width if published else value)
        + 2 * n * width * hidden
        + (9 + published) * n * hidden
        + (4 * n + 2 * m) * width * published
    )
    params = (
        (feature.model.width + 1) * width
        + (width + 1) * value
        + (width + 1) * 3 * samples
        + (value + 1) * width
        + (width + 1) * hidden
        + 10 * hidden
        + (hidden + 1) * width
        + 8 * width  # three norms and two gates
    )
    return Cost(macs, params)


def merge_cost(branch: Branch, first: Branch | None, merge: Merge, convention: Convention) -> Cost:
    """What brings one branch to the width of the first; without `first`, what the first itself adds to that.

    `conv`: 3x3 convolutions d_j -> d_1 -> d_1, each with a group norm. `linear`: group norm, and for all but the
    first branch a linear layer d_j -> d_1 and a group norm. Published counts always take the linear one.
    """
    width, tokens = branch.model.width, branch.tokens
    if convention == "published" or merge == "linear":
        # The first branch has no linear layer, so what it was charged as one of the rest is taken back.
        target = width if first is None else first.model.width
        linear = Cost(tokens * (width * target + 2 * target), (width + 1) * target + 2 * target)
        norm = Cost(tokens * 2 * width, 2 * width + (convention == "backbone"))
        if convention == "backbone":
            linear, norm = Cost(tokens * width * target, linear.params), Cost(0, norm.params)
        return linear * -1 if first is None else linear + norm
    if first is None:
        return Cost()
    target = first.model.width
    return Cost(9 * tokens * (width + target) * target, 9 * (width + target) * target + 4 * target + 1)


def head_cost(first: Branch, output: Branch) -> Cost:
    """The classification head of the published counts: a norm over the merged map and a linear layer."""
    width = first.model.width
    return Cost(2 * output.tokens * width + CLASSES * width, 2 * width + (width + 1) * CLASSES)
