"""Section `resources`: the resources of one trial."""

import math
import re
from typing import Annotated, Literal, Self, cast

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from piip_search.sections import shortened
from piip_search.sections.fields import Count, Positive, Section


def _gpu(value: object) -> object:
    if value == "auto":
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or cast(float, value) < 0 or (cast(float, value) > 1 and cast(float, value) % 1):
        raise ValueError(f"gpu must be a number from 0 to 1, or auto, got {shortened(value)}")
    return float(cast(float, value))


def _custom(value: dict[str, float]) -> dict[str, float]:
    own = ("cpu", "gpu", "memory", "object_store_memory")
    for name, amount in value.items():
        if name.lower() in own or not _RESOURCE.fullmatch(name):
            raise ValueError(f"custom resources have names of the cluster's own, such as a100, got {shortened(name)}")
        if amount > 1 and amount % 1:
            raise ValueError(f"an amount above one must be a whole number, got {amount:g} of {name}")
    return value


_RESOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
Gpu = Annotated[float | Literal["auto"], BeforeValidator(_gpu)]
Custom = Annotated[dict[str, Positive], AfterValidator(_custom)]


class Resources(Section):
    """The resources of one trial, in Ray's units, and the use of its processes.

    Attributes:
        cpu: Logical CPUs.
        gpu: GPUs, at most 1 in a new search; a fraction lets trials share one, `auto` gives each trial the share of its
            predicted memory. A trial's process takes no more of the GPU's memory than its share.
        gpu_memory: Memory of one GPU in GiB. Designs whose training is predicted to need more are not proposed.
        custom: Custom resources of the cluster by name, such as `a100: 1`.
        at_once: Most trials at a time; None for as many as the cluster holds. A number makes an autoscaling cluster
            grow.
        reuse_actors: Whether a process measures several trials. This keeps CUDA's state between trials; off, every
            trial takes seconds to start.
        retries: Restarts of a trial from its last checkpoint after its process or machine died.
    """

    cpu: Positive = 1.0
    gpu: Gpu = 0.0
    gpu_memory: Annotated[float, Field(gt=0, le=100_000)] | None = None
    custom: Custom = Field(default_factory=dict)
    at_once: Count | None = None
    reuse_actors: bool = True
    retries: Annotated[int, Field(ge=0)] = 3

    @model_validator(mode="after")
    def _memory_is_of_a_gpu(self) -> Self:
        if self.gpu == "auto" and self.gpu_memory is None:
            raise ValueError("gpu: auto shares a GPU by its memory; give its memory, for example gpu_memory: 80")
        if self.gpu_memory is not None and not self.gpu:
            raise ValueError("gpu_memory is for trials on GPUs, and gpu is 0; set gpu to auto or to a number")
        return self


def unsupported(resources: Resources) -> list[str]:
    """Settings that only earlier versions accepted and that a new search may not use, one line each."""
    if resources.gpu == "auto" or resources.gpu <= 1:
        return []
    return [
        f"resources.gpu: a trial trains on one GPU, got {resources.gpu:g}, and the others would be reserved and idle; "
        "set it to 1, to a fraction of one, or to auto"
    ]
