"""Cost of interactions between two neighbours.

Legend: a query branch of width d on n tokens reads a feature branch of width e on m tokens; H heads, P points.
"""

from collections import Counter
from functools import lru_cache

from piip_search.architecture import Branch, Interaction
from piip_search.architecture.backbones import Backbone, Stage
from piip_search.architecture.segments import interaction_stages
from piip_search.cost.conventions import Cost, Grid

INTERACTION_PARTS = ("projection", "values and output", "sampling", "ffn")


@lru_cache(maxsize=200_000)
def interaction_parts(
    large: Branch,
    small: Branch,
    sides: tuple[Grid, Grid],
    interaction: Interaction,
    published: bool,
    first_stride: bool,
) -> tuple[tuple[str, Cost], ...]:
    """Costs of all interactions of two neighbours by kind of work (PIIP, section 3.3).

    Args:
        large: The larger model.
        small: The smaller model.
        sides: Height and width of the image that each sees, in pixels.
        interaction: Settings of the interactions.
        published: Whether to count as the papers do.
        first_stride: Whether all samples of a ConvNeXt count at the stride of its first interaction.
    """
    return exchange_parts(large.model, small.model, sides, interaction, published, first_stride)


def exchange_parts(
    large: Backbone,
    small: Backbone,
    sides: tuple[Grid, Grid],
    interaction: Interaction,
    published: bool,
    first_stride: bool,
) -> tuple[tuple[str, Cost], ...]:
    """Costs of the interactions of two backbones; arrays of sides give arrays of costs."""
    total = [Cost()] * len(INTERACTION_PARTS)
    for reader, query, feature, first, times in _kinds(large, small, interaction):
        sampled = _tokens(first if first_stride else query, sides[reader])
        costs = _direction(query, sides[reader], feature, sides[1 - reader], interaction, published, sampled)
        total = [before + cost * times for before, cost in zip(total, costs, strict=True)]
    return tuple(zip(INTERACTION_PARTS, total, strict=True))


@lru_cache(maxsize=10_000)
def _kinds(
    large: Backbone, small: Backbone, interaction: Interaction
) -> tuple[tuple[int, Stage, Stage, Stage, int], ...]:
    """The distinct directions of interactions, as most are alike.

    Each is a tuple: the reading model (0 or 1), its stage, the other's stage, the first stage at which it ever
    interacts, and the number of such directions.
    """
    if not interaction.count:
        return ()
    stages = [interaction_stages(model, interaction.count) for model in (large, small)]
    kinds = Counter(
        (reader, pair[reader], pair[1 - reader])
        for step, pair in enumerate(zip(*stages, strict=True))
        for reader, reads in enumerate(interaction.reads(step))
        if reads
    )
    return tuple(
        (reader, query, feature, stages[reader][0], times) for (reader, query, feature), times in kinds.items()
    )


def _tokens(stage: Stage, sides: Grid) -> int:
    return (sides[0] // stage.stride) * (sides[1] // stage.stride)


def _direction(
    query: Stage,
    query_sides: Grid,
    feature: Stage,
    feature_sides: Grid,
    interaction: Interaction,
    published: bool,
    sampled: int,
) -> tuple[Cost, Cost, Cost, Cost]:
    """Costs of one direction by kind of work.

    m e d (projection), m d d/2 (values) and n d d/2 (output), 3 n d H P (offsets and weights) and 5 n P d/2 (bilinear
    samples: 4 multiply-accumulates and their weight, for each of the values), 2 n d d/4 and 9 n d/4 (FFN). Without a
    projection the values read the feature branch itself. Regular attention has queries, keys, values and output of the
    full width, and 2 n m d for its products. The published count takes samples of the full width, and all samples of a
    ConvNeXt at its first interaction's stride (its script does).
    """
    d, e, n, m = query.width, feature.width, _tokens(query, query_sides), _tokens(feature, feature_sides)
    hidden, read = d // 4, d if interaction.projection else e
    extra, normed = int(published), int(published and interaction.norm)
    # Saved: both sides before and after their norms; values, places and weights of samples; the samples and their sums;
    # layers times their gates. The layer of offsets and scores exists once for all images but is counted with each: a
    # little too much for batches. The neighbour's own tokens count in the branch that reads them.
    stats = 2 * interaction.norm
    projection = Cost(m * e * d, (e + 1) * d, m * d) if interaction.projection else Cost()
    norms = Cost(
        (2 * n * d + 2 * m * read) * normed,
        (2 * d + 2 * read) * interaction.norm,
        n * (d + stats) + (n * d + m * (read + stats)) * interaction.norm,
    )
    if interaction.attention == "deformable":
        value, samples = d // 2, interaction.heads * interaction.points
        matrices = Cost(
            m * read * value + n * value * d,
            (read + 1) * value + (value + 1) * d + d,
            m * value + n * value + value * d,
        )
        width = d if published else value
        sampling = Cost(
            3 * n * d * samples + 5 * sampled * interaction.points * width,
            3 * (d + 1) * samples,
            4 * n * samples + n * interaction.points * value + 3 * d * samples,
        )
    else:
        matrices = Cost(
            2 * n * d * d + 2 * m * read * d, 2 * d * d + 2 * read * d + d + d, 2 * n * d + 2 * m * d + d * d
        )
        sampling = Cost(2 * n * m * d, 0, n * interaction.heads)
    ffn = Cost(
        2 * n * d * hidden + (9 + extra) * n * hidden + 2 * n * d * normed,
        2 * d * hidden + hidden + d + 10 * hidden + 2 * d * interaction.norm + d,
        n * (d + 3 * hidden) + d * hidden + n * (d + 2) * interaction.norm,
    )
    return projection, matrices + norms, sampling, ffn
