"""Copies a relative's weights into a design: every branch, interaction and merge that fits.

A network's weights do not depend on image sizes or windows, so two designs share the parts of equal backbones:

- a branch takes the weights of a branch with the same backbone (and patches), each at most once, in order;
- an interaction takes the weights of the one between the same two backbones after the same blocks of both, if it has
the same settings except for the direction; new parts stay fresh, and their gates at zero make them harmless;
- a merge takes the weights that bring the same backbone to the same width, and the pyramid of that width.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from piip_search.architecture import Architecture
from piip_search.cost.kinship import all_parts, shared_parts

_State = Mapping[str, Tensor]


@dataclass(frozen=True)
class InheritReport:
    """The weights that a network inherited from a relative.

    Attributes:
        taken: Inherited parts, each with the relative's part, by the names of modules.
        fresh: Parts that stay unchanged.
        tensors: Number of inherited tensors.
        of: Number of tensors of the network.
    """

    taken: dict[str, str]
    fresh: tuple[str, ...]
    tensors: int
    of: int

    def __str__(self) -> str:
        fresh = f"; fresh: {', '.join(self.fresh)}" if self.fresh else ""
        return f"{self.tensors} of {self.of} tensors taken over{fresh}"


def inherit(network: nn.Module, architecture: Architecture, state: _State, parent: Architecture) -> InheritReport:
    """Loads a relative's weights that fit into a network, in place.

    Args:
        network: A `PIIP`, or a `PIIPPyramid`, or a model around one.
        architecture: Architecture of the network.
        state: State of the relative, for a module of the same class.
        parent: Architecture of the relative.
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
    """The tensors of one part with its own names; None unless all of them exist in the right shape."""
    names = [name for name in own if name.startswith(mine + ".")]
    sources = {name: theirs + name.removeprefix(mine) for name in names}
    if not names or any(s not in state or state[s].shape != own[name].shape for name, s in sources.items()):
        return None
    return {name: state[source] for name, source in sources.items()}


def _branch_weights(own: _State, state: _State, prefix: str, taken: dict[str, str]) -> dict[str, Tensor]:
    """The weights of the branches whose projection was inherited."""
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
