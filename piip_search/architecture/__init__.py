"""An architecture: branches, interactions between them, and their merge.

An `Architecture` is a frozen value with three equal forms: the dataclass, a plain dict, and the short form that people
read and type:

    vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12
    |     |   |                               |
    |     |   attention: w14 = windows of 14 tokens, g = global, w14g3 = every third block global
    |     image side in pixels                interactions between each pair of neighbours
    backbone, the largest model first

A ViT with patches of another size than its own names them after its attention: `:gp16`. A ConvNeXt has no attention:
`convnext_t@1024`. Interactions name their settings where these differ from the published ones: `*12(heads=8)`,
`*6(attention=regular)`. A merge other than the usual one for the backbones stands at the end: `/linear`.
"""

from piip_search.architecture.architecture import Architecture
from piip_search.architecture.branch import Branch
from piip_search.architecture.interaction import ATTENTIONS, DIRECTIONS, Attention, Direction, Interaction
from piip_search.architecture.scaling import scaled_sides
from piip_search.architecture.validity import GROUPS, MAX_BRANCHES

__all__ = [
    "ATTENTIONS",
    "DIRECTIONS",
    "GROUPS",
    "MAX_BRANCHES",
    "Architecture",
    "Attention",
    "Branch",
    "Direction",
    "Interaction",
    "scaled_sides",
]
