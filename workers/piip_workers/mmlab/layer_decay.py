"""Decays the learning rate by layer for mmengine, as in PIIP's recipes; its import registers `PIIPLayerDecay`."""

from typing import Any

from torch import nn

from piip_search.architecture import Architecture
from piip_search.architecture.backbones import Backbone
from piip_search.errors import UserError
from piip_search.models import PIIP
from piip_workers.mmlab.shims import install
from piip_workers.networks.layer_rates import UNDECAYED, rate_scales

install()
from mmengine.optim import OptimWrapper  # noqa: E402
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS  # noqa: E402


@OPTIM_WRAPPER_CONSTRUCTORS.register_module(name="PIIPLayerDecay")
class LayerDecay:
    """Builds an optimiser with a group for each learning rate and weight decay; vectors and positions have no decay."""

    def __init__(self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any]) -> None:
        """Stores the arguments that mmengine gives every constructor.

        Args:
            optim_wrapper_cfg: Wrapper and optimiser.
            paramwise_cfg: `architecture`, a short form, and `rate`.

        Raises:
            UserError: One of the two is missing, or the short form is invalid.
        """
        missing = {"architecture", "rate"} - set(paramwise_cfg)
        if missing:
            raise UserError(
                f"PIIPLayerDecay needs paramwise_cfg with {' and '.join(sorted(missing))}; write "
                "paramwise_cfg=dict(architecture='vit_s@96:g+vit_t@128:g*2', rate=0.85)"
            )
        self._wrapper = dict(optim_wrapper_cfg)
        self._optimizer = dict(self._wrapper.pop("optimizer"))
        self._architecture = Architecture.parse(paramwise_cfg["architecture"])
        self._scales = rate_scales(self._architecture, paramwise_cfg["rate"])

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """The optimiser for a `PIIP`, or for a model that contains one: with a head, in a wrapper.

        Raises:
            UserError: The model has no `PIIP`, or one with other backbones than the architecture: no rate, or wrong
                rates, would decay.
        """
        places = self._places(model)
        rate, decay = self._optimizer["lr"], self._optimizer.get("weight_decay", 0.0)
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                undecayed = parameter.dim() <= 1 or name.rpartition(".")[2] in UNDECAYED
                groups.setdefault((self._scale(name, places), 0.0 if undecayed else decay), []).append(parameter)
        self._optimizer["params"] = [
            {"params": parameters, "lr": rate * scale, "weight_decay": kept}
            for (scale, kept), parameters in groups.items()
        ]
        return OPTIM_WRAPPERS.build(self._wrapper, default_args={"optimizer": OPTIMIZERS.build(self._optimizer)})

    def _places(self, model: nn.Module) -> list[str]:
        """Prefixes of the names of a network's parameters."""
        networks = {name: module for name, module in model.named_modules() if isinstance(module, PIIP)}
        if not networks:
            raise UserError(
                f"PIIPLayerDecay found no PIIP network in {type(model).__name__}; use it with a PIIP backbone, or use "
                "mmengine's DefaultOptimWrapperConstructor"
            )
        for network in networks.values():
            if _models(network.architecture) != _models(self._architecture):
                raise UserError(
                    f"PIIPLayerDecay was given paramwise_cfg['architecture'] {self._architecture}, and the network is "
                    f"{network.architecture}; name the network's own"
                )
        return [f"{name}." if name else "" for name in networks]

    def _scale(self, name: str, places: list[str]) -> float:
        inside = [name.removeprefix(place) for place in places if name.startswith(place)]
        return next((scale for part, scale in self._scales.items() if any(one.startswith(part) for one in inside)), 1.0)


def _models(architecture: Architecture) -> list[Backbone]:
    return [branch.model for branch in architecture.branches]
