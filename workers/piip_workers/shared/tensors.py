"""The tensors of a parent, and networks that use them in the place of their own."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from piip_search.errors import UserError
from piip_workers.networks.layer_rates import UNDECAYED


@dataclass(frozen=True)
class SharedTensors:
    """Parameters by key.

    Attributes:
        parameters: Parameters.
        rates: Factor on the learning rate of each.
        decayed: Keys of the parameters with weight decay.
    """

    parameters: dict[str, nn.Parameter] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    decayed: set[str] = field(default_factory=set)

    def adopt(self, network: nn.Module, keys: Mapping[str, str], rates: Mapping[str, float]) -> None:
        """Takes over the values of a network's parameters whose keys are new."""
        for name, parameter in network.named_parameters():
            key = keys[name]
            if key not in self.parameters:
                self.parameters[key] = nn.Parameter(parameter.detach().clone())
                self.rates[key] = rates.get(name, 1.0)
                if parameter.dim() > 1 and name.rpartition(".")[2] not in UNDECAYED:
                    self.decayed.add(key)

    def tie(self, network: nn.Module, keys: Mapping[str, str]) -> None:
        """Replaces the parameters of a network by the shared ones.

        Raises:
            UserError: A parameter has another shape than the shared one.
        """
        for name, parameter in list(network.named_parameters()):
            shared = self.parameters[keys[name]]
            _check_shape(name, parameter, shared)
            owner, _, last = name.rpartition(".")
            network.get_submodule(owner)._parameters[last] = shared

    @property
    def groups(self) -> Iterator[tuple[float, bool, list[str]]]:
        """Keys of one learning rate and decay: the factor on the rate, whether they decay, and the keys."""
        found: dict[tuple[float, bool], list[str]] = {}
        for key in self.parameters:
            found.setdefault((self.rates[key], key in self.decayed), []).append(key)
        for (rate, decays), keys in found.items():
            yield rate, decays, keys

    def values(self) -> dict[str, Tensor]:
        """Values by key, on the CPU."""
        return {key: parameter.detach().cpu().contiguous() for key, parameter in self.parameters.items()}

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Sets values by key; parameters without a value keep theirs."""
        with torch.no_grad():
            for key in self.parameters.keys() & values.keys():
                self.parameters[key].copy_(values[key])


def load_shared(network: nn.Module, keys: Mapping[str, str], values: Mapping[str, Tensor]) -> None:
    """Copies a parent's values into a network of its own.

    Args:
        network: Network.
        keys: Key of each of its parameters.
        values: Values by key.

    Raises:
        UserError: The parent has no value for a parameter, or one of another shape.
    """
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if keys[name] not in values:
                raise UserError(f"the parent has no weights for {name} (key {keys[name]}); prepare it again")
            _check_shape(name, parameter, values[keys[name]])
            parameter.copy_(values[keys[name]])


def _check_shape(name: str, parameter: Tensor, shared: Tensor) -> None:
    if parameter.shape != shared.shape:
        raise UserError(
            f"designs of this space cannot share {name}: it has the shape {tuple(parameter.shape)} in one and "
            f"{tuple(shared.shape)} in another; set evaluator to stand_alone"
        )
