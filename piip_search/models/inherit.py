"""A design starts from the weights of a relative: every branch, interaction and merge that still fits.

None of a network's weights depends on image sizes or windows, so two designs share what has the same backbone:

- a branch takes over a branch of the same backbone (and patches), each at most once, in order;
- an interaction takes over the one between the same two backbones that follows the same blocks of both, where it is of
  the same kind, heads and points; what is new stays fresh, and its gates at zero make it harmless;
- a merge takes over what brings the same backbone to the same width, and the pyramid of that width.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from piip_search.architecture import Architecture
from piip_search.stretches import interaction_ranges

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Inherited:
    """What a network took from a relative.

    Attributes:
        taken: Parts that were taken over, each with the relative's part it came from, by the names of modules.
        fresh: Parts that stay as they were.
        tensors: How many tensors were taken.
        of: How many tensors the network has.
    """

    taken: dict[str, str]
    fresh: tuple[str, ...]
    tensors: int
    of: int

    def __str__(self) -> str:
        fresh = f"; fresh: {', '.join(self.fresh)}" if self.fresh else ""
        return f"{self.tensors} of {self.of} tensors taken over{fresh}"


def inherit(network: nn.Module, architecture: Architecture, state: State, parent: Architecture) -> Inherited:
    """Gives a network what fits of a relative's weights, in place.

    Args:
        network: A `PIIP`, or a `PIIPPyramid`, or a detector around one.
        architecture: What it was built from.
        state: The relative's state, of a module of the same class.
        parent: What the relative was built from.
    """
    own = network.state_dict()
    prefix = next((name.partition("branches.0.")[0] for name in own if "branches.0." in name), "")
    pairs = _parts(architecture, parent)
    taken: dict[str, str] = {}
    found: dict[str, Tensor] = {}
    for mine, theirs in pairs.items():
        tensors = _fitting(own, state, prefix + mine, prefix + theirs)
        if tensors is not None:
            taken[mine] = theirs
            found |= tensors
    found |= _branch_weights(own, state, prefix, taken)
    around = {name: state[name] for name in own if not name.startswith(prefix) and _same(own, state, name)}
    network.load_state_dict({**own, **found, **around})
    fresh = tuple(name for name in _all_parts(architecture) if name not in taken)
    return Inherited(taken, fresh, len(found) + len(around), len(own))


def _parts(child: Architecture, parent: Architecture) -> dict[str, str]:
    """Parts of the child that have a counterpart in the parent, and its name there."""
    branches = _matched_branches(child, parent)
    pairs = {f"branches.{mine}": f"branches.{theirs}" for mine, theirs in branches.items()}
    pairs |= _matched_interactions(child, parent, branches)
    if child.merge == parent.merge:
        levels = range(len(child.taps))
        pairs |= {
            f"merges.{level}.projections.{mine}": f"merges.{level}.projections.{theirs}"
            for level in levels
            for mine, theirs in branches.items()
            if (mine == 0) == (theirs == 0)
        }
        for kind in ("norms", "heads", "projectors"):
            pairs |= {f"merges.0.{kind}.{mine}": f"merges.0.{kind}.{theirs}" for mine, theirs in branches.items()}
    return pairs


def _matched_branches(child: Architecture, parent: Architecture) -> dict[int, int]:
    free = dict(enumerate(parent.branches))
    matched: dict[int, int] = {}
    for index, branch in enumerate(child.branches):
        alike = [place for place, other in free.items() if other.model == branch.model]
        if alike:
            matched[index] = alike[0]
            del free[alike[0]]
    return matched


def _matched_interactions(child: Architecture, parent: Architecture, branches: dict[int, int]) -> dict[str, str]:
    """Directions of interactions that follow the same blocks of both branches."""
    mine, theirs = child.interaction, parent.interaction
    if not (mine.count and theirs.count):
        return {}
    pairs: dict[str, str] = {}
    for pair in range(len(child.branches) - 1):
        large, small = branches.get(pair), branches.get(pair + 1)
        if large is None or small != large + 1:
            continue
        steps = {ends: step for step, ends in enumerate(_ends(parent, large))}
        for step, ends in enumerate(_ends(child, pair)):
            if ends in steps:
                pairs |= {
                    f"interactions.{step}.{pair}.{reader}": f"interactions.{steps[ends]}.{large}.{reader}"
                    for reader in ("large_reads", "small_reads")
                }
    alike = (mine.attention, mine.heads, mine.points) == (theirs.attention, theirs.heads, theirs.points)
    return pairs if alike else {}


def _ends(architecture: Architecture, pair: int) -> list[tuple[int, int]]:
    """After how many blocks of both neighbours each interaction stands."""
    ranges = [
        interaction_ranges(architecture.branches[index].model, architecture.stretches) for index in (pair, pair + 1)
    ]
    return [(large.stop, small.stop) for large, small in zip(*ranges, strict=True)]


def _fitting(own: State, state: State, mine: str, theirs: str) -> dict[str, Tensor] | None:
    """The tensors of one part under its own names; None unless all of them are there in the right shape."""
    names = [name for name in own if name.startswith(mine + ".")]
    sources = {name: theirs + name.removeprefix(mine) for name in names}
    if not names or any(s not in state or state[s].shape != own[name].shape for name, s in sources.items()):
        return None
    return {name: state[source] for name, source in sources.items()}


def _branch_weights(own: State, state: State, prefix: str, taken: dict[str, str]) -> dict[str, Tensor]:
    """The scalar that each branch's map is summed with, for the branches whose projection was taken over."""
    found: dict[str, Tensor] = {}
    for mine, theirs in taken.items():
        level, _, place = mine.partition(".projections.")
        source, _, other = theirs.partition(".projections.")
        name = f"{prefix}{level}.branch_weights"
        if place and name in own:
            weights = found.get(name, own[name]).clone()
            weights[int(place)] = state[f"{prefix}{source}.branch_weights"][int(other)]
            found[name] = weights
    return found


def _same(own: State, state: State, name: str) -> bool:
    return name in state and state[name].shape == own[name].shape


def _all_parts(architecture: Architecture) -> list[str]:
    """Every part that could be taken over."""
    branches = range(len(architecture.branches))
    parts = [f"branches.{index}" for index in branches]
    for step in range(architecture.interaction.count):
        readers = zip(("large_reads", "small_reads"), architecture.interaction.reads(step), strict=True)
        wanted = [reader for reader, reads in readers if reads]
        parts += [f"interactions.{step}.{pair}.{reader}" for pair in branches[:-1] for reader in wanted]
    if architecture.merge in ("logits", "tokens"):
        kinds = ("norms", "heads") if architecture.merge == "logits" else ("projectors",)
        return parts + [f"merges.0.{kind}.{index}" for kind in kinds for index in branches]
    if len(branches) > 1:
        parts += [
            f"merges.{level}.projections.{index}" for level in range(len(architecture.taps)) for index in branches
        ]
    return parts
