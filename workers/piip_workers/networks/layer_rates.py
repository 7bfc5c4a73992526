"""Learning rates by layer, as in PIIP's recipes."""

from piip_search.architecture import Architecture
from piip_search.architecture.backbones import Transformer

UNDECAYED = ("pos_embed", "prefix", "prefix_positions", "relative_position_bias_table")


def rate_scales(architecture: Architecture, rate: float) -> dict[str, float]:
    """Factors on the learning rate by the prefix of a parameter's name within a `PIIP`; other parameters have 1.

    With L blocks in the first ViT: rate^(L + 1 - id). Embeddings have the id 0; block i of branch j, which has L_j
    blocks, has the id (i + 1) L / L_j (PIIP's public detection recipe). Convolutional branches train at the full rate,
    as there.
    """
    models = (branch.model for branch in architecture.branches)
    deepest = next((model.depth for model in models if isinstance(model, Transformer)), 0)
    scales: dict[str, float] = {}
    for index, branch in enumerate(architecture.branches):
        model = branch.model
        if not isinstance(model, Transformer):
            continue
        for part in ("patch_embed", "norm_pre", *UNDECAYED):
            scales[f"branches.{index}.{part}"] = rate ** (deepest + 1)
        for block in range(model.depth):
            scales[f"branches.{index}.blocks.{block}."] = rate ** (deepest + 1 - (block + 1) * deepest / model.depth)
    return scales
