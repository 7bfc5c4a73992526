"""A design starts from the weights of a relative: every branch, interaction and merge that still fits.

None of a network's weights depends on image sizes or windows, so two designs share what has the same backbone:

- a branch takes over a branch of the same backbone (and patches), each at most once, in order;
- an interaction takes over the one between the same two backbones that follows the same blocks of both, where it has
  the same settings but for who reads; what is new stays fresh, and its gates at zero make it harmless;
- a merge takes over what brings the same backbone to the same width, and the pyramid of that width.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from piip_search.architecture import Architecture
from piip_search.cost.kinship import all_parts, shared_parts

_State = Mapping[str, Tensor]


@dataclass(frozen=True)
class InheritReport:
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


def inherit(network: nn.Module, architecture: Architecture, state: _State, parent: Architecture) -> InheritReport:
    """Gives a network what fits of a relative's weights, in place.

    Args:
        network: A `PIIP`, or a `PIIPPyramid`, or a detector around one.
        architecture: What it was built from.
        state: The relative's state, of a module of the same class.
        parent: What the relative was built from.
    """
    own = network.state_dict()
    prefix = next((name.partition("branches.0.")[0] for name in own if "branches.0." in name), "")
    pairs = shared_parts(architecture, parent)
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
    fresh = tuple(name for name in all_parts(architecture) if name not in taken)
    return InheritReport(taken, fresh, len(found) + len(around), len(own))


def _fitting(own: _State, state: _State, mine: str, theirs: str) -> dict[str, Tensor] | None:
    """The tensors of one part under its own names; None unless all of them are there in the right shape."""
    names = [name for name in own if name.startswith(mine + ".")]
    sources = {name: theirs + name.removeprefix(mine) for name in names}
    if not names or any(s not in state or state[s].shape != own[name].shape for name, s in sources.items()):
        return None
    return {name: state[source] for name, source in sources.items()}


def _branch_weights(own: _State, state: _State, prefix: str, taken: dict[str, str]) -> dict[str, Tensor]:
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


def _same(own: _State, state: _State, name: str) -> bool:
    return name in state and state[name].shape == own[name].shape
