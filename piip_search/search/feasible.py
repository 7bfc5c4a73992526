"""The designs that a search may propose: those of its space within its limit."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from piip_search.architecture import Architecture
from piip_search.config import SearchSpec, SpecError
from piip_search.cost.gpu_share import GIB, process_bytes
from piip_search.space import Designs, Limit, SearchSpace

MOST_COMBINATIONS = 200_000_000
"""Most combinations of a space: enumerating more takes minutes and gigabytes before the first trial."""


def feasible_designs(spec: SearchSpec, source: object = "search space") -> tuple[SearchSpace, Designs]:
    """The designs of a space within the limit.

    Raises:
        SpecError: The space is empty, or a tier of the limit lies below its cheapest design.
    """
    space, limit = spec.space.build(), spec.bounds
    if space.combinations > MOST_COMBINATIONS:
        problem = (
            f"space: has {space.combinations:.2g} combinations, and at most {MOST_COMBINATIONS:.2g} can be "
            "enumerated; offer fewer image sizes, windows, branches or settings, or the inverted pairing"
        )
        raise SpecError(str(source), [problem])
    if not len(space):
        raise SpecError(str(source), ["space: has no design; allow more branches, models, sizes or interactions"])
    within, extremes = _enumerated(space, limit)
    if not len(within) or within.macs_N.min() > limit.gmacs[0] * 1e9:
        design = space.decode(extremes.cheapest.rows_ND[0])
        problems = _too_large(spec, space, extremes.lightest) or _out_of_reach(
            limit, design, extremes.cheapest.macs_N[0] / 1e9, extremes.fewest / 1e6
        )
        raise SpecError(str(source), problems)
    return space, within


@dataclass(frozen=True)
class _Extremes:
    """The designs of a space that come nearest to a limit.

    Attributes:
        cheapest: Design with the fewest multiply-accumulates.
        fewest: Number of parameters of the smallest design.
        lightest: Designs with the least training memory, one a chunk; empty without a memory limit.
    """

    cheapest: Designs
    fewest: int
    lightest: tuple[Designs, ...]


@lru_cache(maxsize=1)
def _enumerated(space: SearchSpace, limit: Limit) -> tuple[Designs, _Extremes]:
    """The designs within a limit, cached: a command needs them several times, and a large space takes seconds."""
    parts, cheapest, fewest, lightest = [], [], [], []
    for chunk in space.chunks(limit.convention, limit.head, limit.step):
        parts.append(chunk.within(limit))
        cheapest.append(chunk[[chunk.macs_N.argmin()]])
        fewest.append(int(chunk.params_N.min()))
        lightest += [] if chunk.training_N is None else [chunk[[chunk.training_N.argmin()]]]
    best = min(cheapest, key=lambda one: int(one.macs_N[0]))
    return Designs.concat(parts), _Extremes(best, min(fewest), tuple(lightest))


def _too_large(spec: SearchSpec, space: SearchSpace, lightest: Sequence[Designs]) -> list[str]:
    """The problem that no design's training fits the GPU; empty if one does."""
    if not lightest:
        return []
    parts = [(int(one.training_N[0]), one) for one in lightest if one.training_N is not None]
    training, least = min(parts, key=lambda part: part[0])
    if training <= spec.bounds.step_bytes:
        return []
    resources, design = spec.resources, space.decode(least.rows_ND[0])
    share = "" if resources.gpu == "auto" or resources.gpu >= 1 else f" x {resources.gpu:g}"
    return [
        f"resources.gpu_memory: no design's training fits {resources.gpu_memory:g} GiB{share}: the smallest needs "
        f"about {process_bytes(training) / GIB:.3g} GiB at {spec.training.batch_size} images a step ({design}); "
        f"{_less_memory(spec)}"
    ]


def _less_memory(spec: SearchSpec) -> str:
    """Ways to reduce the memory of a training, without settings that are already at their minimum."""
    training = spec.training
    ways = ["lower training.batch_size"] if training.batch_size > 1 else []
    ways.append("lower fidelity.image_scale")
    ways += ["set training.precision to bfloat16"] if training.precision != "bfloat16" else []
    ways += ["set training.checkpointing"] if not training.checkpointing and not training.cuda_graphs else []
    return f"{', '.join(ways)}, or offer smaller designs"


def _out_of_reach(limit: Limit, cheapest: Architecture, gmacs: float, least: float) -> list[str]:
    """Problems of tiers without designs, and of limits on parameters and memory that exclude all designs."""
    problems = [
        f"limit.gmacs: no design costs {tier:g} GMACs or less: the cheapest costs {gmacs:.3g} GMACs ({cheapest}); "
        "raise the limit or offer smaller models or images"
        for tier in limit.gmacs
        if tier < gmacs
    ]
    if limit.mparams is not None and least > limit.mparams:
        problems.append(f"limit.mparams: the smallest design has {least:.3g} M parameters, got {limit.mparams:g}")
    if not problems:
        others = [] if limit.mparams is None else [f"of at most {limit.mparams:g} M parameters"]
        others += [] if limit.step is None else ["that fits resources.gpu_memory"]
        problems.append(
            f"limit: no design {' and '.join(others)} costs {limit.gmacs[0]:g} GMACs or less; raise one of them"
        )
    return problems
