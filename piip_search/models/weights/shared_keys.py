"""Names the parameters of designs such that two designs share a tensor exactly where their keys are equal.

Nothing is sliced: shared tensors are whole. No weight of a PIIP network depends on image sizes or windows, so designs
of equal backbones share nearly everything. Keys name the owner of a part, never its shape: parts of equal width that
belong to different backbones must stay apart.
"""

from dataclasses import replace

from piip_search.architecture import Architecture
from piip_search.architecture.branch_names import branch_names
from piip_search.architecture.segments import interaction_ranges


def network_key(architecture: Architecture, name: str) -> str:
    """The key of a parameter of a `PIIPPyramid`.

    | part | key |
    | --- | --- |
    | branch | `B/backbone` |
    | interaction | `I/large-small/blocks before it/settings` |
    | projection of a merge | `M/merge/first<-branch` |
    | placement of a merge | `A/merge/first<-output` |
    | weights of a merge | `W/merge/all branches` |
    | pyramid | `P/first<-output` |

    Args:
        architecture: Architecture of the network.
        name: Name of the parameter within the network.
    """
    kind, _, inner = name.removeprefix("piip.").partition(".")
    if kind == "pyramid":
        return f"P/{reads_of(architecture)}/{inner}"
    place, _, inner = inner.partition(".")
    names = branch_names(architecture)
    if kind == "branches":
        return f"B/{names[int(place)]}/{inner}"
    if kind == "interactions":
        pair, _, inner = inner.partition(".")
        return f"I/{_interaction(architecture, names, int(place), int(pair))}/{inner}"
    part, _, rest = inner.partition(".")
    owner = f"{architecture.merge}.{place}"
    if part == "projections":
        branch, _, rest = rest.partition(".")
        return f"M/{owner}/{names[0]}<-{names[int(branch)]}/{rest}"
    if part == "placement":
        return f"A/{owner}/{reads_of(architecture)}/{rest}"
    return f"W/{owner}/{'+'.join(names)}/{inner}"


def reads_of(architecture: Architecture) -> str:
    """What reads the merged map reads: the width of the first branch, filled by the branch of the largest image."""
    names = branch_names(architecture)
    output = names[architecture.output]
    return output if len(names) == 1 else f"{names[0]}<-{output}"


def _interaction(architecture: Architecture, names: list[str], step: int, pair: int) -> str:
    """Interactions of one pair after the same blocks of both are the same, whatever their number."""
    large, small = (
        interaction_ranges(architecture.branches[index].model, architecture.stretches)[step].stop
        for index in (pair, pair + 1)
    )
    settings = replace(architecture.interaction, count=1, direction="both")
    return f"{names[pair]}-{names[pair + 1]}/{large}-{small}/{str(settings).removeprefix('*1')}"
