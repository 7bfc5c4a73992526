"""Checks which branches, interactions and merges make one network.

Every check raises a DesignError with the rule, the value and the way out.
"""

from collections.abc import Sequence

from piip_search.architecture.backbones import Backbone, ConvNeXt, Transformer
from piip_search.architecture.branch import Branch
from piip_search.architecture.interaction import NO_INTERACTION, Interaction
from piip_search.architecture.segments import (
    KEEPS_PREFIX,
    MERGES,
    PYRAMID_LEVELS,
    Merge,
    interaction_stages,
    most_interactions,
)
from piip_search.errors import DesignError

MAX_BRANCHES = 4
GROUPS = 32
"""Number of groups of the group norms in merges; it divides the normed widths."""
_POOLS = {"map": "by attention over its tokens", "pair": "from two tokens by two heads"}
"""Sources of class scores that the merge `logits` does not build."""


def check_branches(branches: Sequence[Branch]) -> None:
    """Checks number, order and patches of the branches."""
    if not 1 <= len(branches) <= MAX_BRANCHES:
        raise DesignError(f"an architecture must have 1 to {MAX_BRANCHES} branches, got {len(branches)}")
    widths = [branch.model.width for branch in branches]
    if widths != sorted(widths, reverse=True):
        raise DesignError(
            f"branches go from the widest model to the narrowest, got widths {widths}; "
            "reorder them, the image sizes may come in any order"
        )
    if len({branch.model.patch for branch in branches if branch.model.family == "vit"}) > 1:
        raise DesignError(
            "all ViT branches share one patch size; resample one, as in vit_large_patch14_dinov2@448:gp16; got "
            + " + ".join(map(str, branches))
        )


def check_interaction(branches: Sequence[Branch], interaction: Interaction) -> None:
    """Checks that the branches have neighbours, blocks and widths for an interaction."""
    count, heads = interaction.count, interaction.heads
    if len(branches) == 1 and interaction != NO_INTERACTION:
        raise DesignError(f"a single branch has nothing to interact with, got {interaction}; leave it out")
    most = min(most_interactions(branch.model) for branch in branches)
    if count > most:
        raise DesignError(
            f"every interaction follows at least one block of every branch: at most {most} here, got {count}"
        )
    half = 2 if interaction.attention == "deformable" else 1
    for branch in branches if count else ():
        for stage in interaction_stages(branch.model, count):
            if stage.width // half % heads or stage.width < 4:
                raise DesignError(
                    f"interaction heads must divide {'half of ' if half == 2 else ''}every width, got {heads} "
                    f"heads and {branch.backbone} of width {stage.width}; write e.g. *{count}(heads=8)"
                )


def check_merge(branches: Sequence[Branch], interactions: int, merge: Merge) -> None:
    """Checks that the branches can merge in this way after so many interactions."""
    if merge not in MERGES:
        raise DesignError(f"unknown merge {merge!r}; choose one of {', '.join(MERGES)}")
    models = [branch.model for branch in branches]
    convolutional = [model.name for model in models if isinstance(model, ConvNeXt)]
    if convolutional and merge in ("conv", "linear", "residual"):
        raise DesignError(
            f"{convolutional[0]} has a map at each of four strides, which the merge {merge} cannot join; "
            "use /pyramid, /logits or /tokens"
        )
    if merge == "pyramid":
        _check_pyramid(models, interactions)
    if merge in KEEPS_PREFIX and any(
        isinstance(branch.model, Transformer) and branch.model.prefix and branch.window is not None
        for branch in branches
    ):
        raise DesignError(f"the merge {merge} keeps class tokens, which belong to no window; attend globally: :g")
    if merge == "logits":
        _check_pools(models)
    _check_group_norms(models, merge)


def _check_pyramid(models: Sequence[Backbone], interactions: int) -> None:
    if 0 < interactions < PYRAMID_LEVELS:
        raise DesignError(
            f"the merge pyramid joins the branches after four stretches of blocks, got {interactions} interactions; "
            "use none, or 4 and more"
        )
    if any(isinstance(model, Transformer) and model.patch != 16 for model in models):
        raise DesignError("the merge pyramid needs ViTs with patches of 16 px; resample them: :gp16")
    if any(most_interactions(model) < PYRAMID_LEVELS for model in models):
        raise DesignError(f"the merge pyramid needs {PYRAMID_LEVELS} blocks in every branch")


def _check_pools(models: Sequence[Backbone]) -> None:
    for model in models:
        if model.pool in _POOLS:
            raise DesignError(
                f"{model.name} reads class scores {_POOLS[model.pool]}, which the merge logits does not; choose "
                "another backbone, or train a head of your own behind /linear"
            )


def _check_group_norms(models: Sequence[Backbone], merge: Merge) -> None:
    if len(models) == 1 or merge in ("logits", "tokens"):
        return
    normed = {stage.width for stage in models[0].stages}
    if merge == "linear":
        normed |= {model.width for model in models}
    wrong = sorted(width for width in normed if width % GROUPS)
    if wrong:
        nearest = max(GROUPS, round(wrong[0] / GROUPS) * GROUPS)
        raise DesignError(
            f"the merge {merge} norms in {GROUPS} groups, which must divide the width, got {wrong[0]}; "
            f"nearest: {nearest}"
        )
