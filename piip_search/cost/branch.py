"""Cost of one branch: its backbone's embedding and blocks.

Legend: n tokens, d width, h hidden width of an MLP, w side of a window, k keys that a query attends to.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from piip_search.architecture import Branch
from piip_search.architecture.backbones import Backbone, ConvNeXt, Transformer
from piip_search.cost.conventions import Cost, CountingRules, Grid


@lru_cache(maxsize=100_000)
def branch_parts(branch: Branch, sides: Grid, counted: CountingRules) -> tuple[tuple[str, Cost], ...]:
    """Costs of a branch by kind of work.

    Args:
        branch: Backbone and windows.
        sides: Height and width of the image it sees, in pixels.
        counted: Counting rules.
    """
    return backbone_parts(branch.model, branch.windows, sides, counted)


def backbone_parts(
    model: Backbone, windows: Sequence[int | None], sides: Grid, counted: CountingRules
) -> tuple[tuple[str, Cost], ...]:
    """Costs of a backbone with these windows by kind of work; arrays of sides give arrays of costs."""
    if isinstance(model, ConvNeXt):
        return _convnext(model, sides, counted)
    return _transformer(model, windows, sides, counted)


def _transformer(
    model: Transformer, windows: Sequence[int | None], sides: Grid, counted: CountingRules
) -> tuple[tuple[str, Cost], ...]:
    """Costs of a ViT: 3 n p^2 d to embed; a block 4 n d^2 and 2 n k d for attention, 2 n d h for the MLP (3 if gated).

    Under windows, attention products count whole windows, and projections only real tokens. A twin block counts twice;
    a block with attention and MLP side by side has one norm and one scale.
    """
    d, h = model.width, model.mlp_width
    height, width = sides[0] // model.patch, sides[1] // model.patch
    tokens = height * width
    n = tokens + counted.prefix
    pixels = 3 * model.patch**2
    norm = _norm(model, n, d, counted)
    inner = [_norm(model, n, wide, counted) if model.inner_norms else Cost() for wide in (d, h)]
    embedding = Cost(
        tokens * (pixels + (counted.published and model.patch_bias)) * d,
        (pixels + model.patch_bias) * d
        + (tokens + 1 if counted.positions else model.position_grid**2) * d
        + counted.prefix * (1 + model.prefix_positions) * d,
        3 * sides[0] * sides[1],
    )
    for is_normed, rows in ((model.patch_norm, tokens), (model.embedding_norm, n)):
        if is_normed:
            embedding += _norm(model, rows, d, counted)
    query_norm = {"none": 0, "head": 2 * (norm.params // model.heads), "width": 2 * norm.params}[model.query_norm]
    scale = Cost(0, d, n * d) if model.layer_scale is not None else Cost()
    biases = (2 if model.relative_grid else 3) * d * model.qkv_bias + d * model.proj_bias + model.relative_biases
    kinds = Counter(windows).items()
    side_by_side, twice = model.block == "parallel", 2 if model.block == "twin" else 1
    entry = Cost(0, 0, n * d)  # the input of a residual
    # Queries, keys, values and their output in whole windows; the output again as tokens if there are windows; and the
    # biases of pairs of tokens, if any.
    extra = {"none": 0, "head": 2 * d + 2 * model.heads, "width": 2 * d + 2}[model.query_norm]
    attention_kept = sum(
        times
        * (
            _filled(height, width, side, counted) * (4 * d + model.heads + extra)
            + n * d * (side is not None)
            + (model.heads * _keys(height, width, side, counted) ** 2 if model.relative_grid else 0)
        )
        for side, times in kinds
    )
    matrices = 3 if model.gated else 2
    mlp = Cost(
        matrices * n * d * h,
        matrices * d * h + ((matrices - 1) * h + d) * model.mlp_bias,
        n * h * (4 if model.gated else 2),
    )
    attention = Cost(
        sum(times * _attention(height, width, d, side, counted) for side, times in kinds),
        (4 * d * d + biases + query_norm) * model.depth,
        attention_kept,
    )
    attention = (attention + (norm + inner[0] + scale) * model.depth) * twice + entry * model.depth
    mlp = (mlp + inner[1]) * model.depth * twice
    if not side_by_side:
        mlp += (norm + scale) * model.depth * twice + entry * model.depth
    return ("embedding", embedding), ("attention", attention), ("mlp", mlp)


def _norm(model: Transformer, n: int, wide: int, counted: CountingRules) -> Cost:
    """Cost of a norm over n tokens; its output is saved for the backward pass."""
    layer = model.norm == "layer"
    stats = n * (2 if layer else 1 + wide)
    return Cost(2 * n * wide * (counted.published and layer), wide * (2 if layer else 1), n * wide + stats)


def _filled(height: int, width: int, window: int | None, counted: CountingRules) -> int:
    """Number of tokens including padding of windows, or including prefix tokens of global attention."""
    if window is None:
        return height * width + counted.prefix
    return -(-height // window) * -(-width // window) * window**2  # rounds up to whole windows, also for arrays


def _keys(height: int, width: int, window: int | None, counted: CountingRules) -> int:
    """Number of tokens that a query attends to."""
    return height * width + counted.prefix if window is None else window**2


def _attention(height: int, width: int, d: int, window: int | None, counted: CountingRules) -> int:
    """MACs of a block's projections and attention products; the published count of products omits prefix tokens."""
    tokens = height * width
    n, filled = tokens + counted.prefix, _filled(height, width, window, counted)
    projected = filled if counted.pads else n
    if window is None:
        return 4 * n * d * d + 2 * (tokens if counted.published else n) ** 2 * d
    return 3 * projected * d * d + n * d * d + 2 * (n if counted.published else filled) * window**2 * d


def _convnext(model: ConvNeXt, sides: Grid, counted: CountingRules) -> tuple[tuple[str, Cost], ...]:
    """Costs of a ConvNeXt: 48 n d for the stem; a block 49 n d and 8 n d^2; a downsampling 4 n d_before d.

    The authors' counter ignores the layer norms of ConvNeXts.
    """
    bias = int(counted.published)
    first = model.widths[0]
    n = (sides[0] // 4) * (sides[1] // 4)
    stem = Cost(n * (48 + bias) * first, 49 * first + 2 * first, 3 * sides[0] * sides[1] + n * (first + 2))
    convolution, mlp, downsampling = Cost(), Cost(), Cost()
    before = 0
    for stage, depth in zip(model.stages, model.depths, strict=True):
        d = stage.width
        n = (sides[0] // stage.stride) * (sides[1] // stage.stride)
        convolution += Cost(n * (49 + bias) * d, 50 * d + 2 * d, n * (2 * d + 2)) * depth
        own = 2 * 4 * d if model.response_norm else d
        mlp += Cost(8 * n * d * d, 8 * d * d + 5 * d + own, n * d * _hidden(model)) * depth
        if stage.stride > 4:
            downsampling += Cost(
                n * (4 * before + bias) * d, (4 * before + 1) * d + 2 * before, 4 * n * (2 * before + 2)
            )
        before = d
    return ("stem", stem), ("convolution", convolution), ("mlp", mlp), ("downsampling", downsampling)


def _hidden(model: ConvNeXt) -> int:
    """Values that an MLP saves for each value of its input."""
    return 9 + (8 if model.response_norm else 1)


def convnext_blocks(model: ConvNeXt, sides: Grid) -> list[int]:
    """Values that one block of each stage and each downsampling save; arrays of sides give arrays."""
    kept = []
    for before, stage in zip((None, *model.stages), model.stages, strict=False):
        d, n = stage.width, (sides[0] // stage.stride) * (sides[1] // stage.stride)
        kept.append(n * (2 * d + 2) + n * d * _hidden(model))
        if before is not None:
            kept.append(4 * n * (2 * before.width + 2))
    return kept
