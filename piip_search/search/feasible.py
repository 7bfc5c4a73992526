"""The designs that a search may propose: those of its space within its limit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from piip_search.config import SearchSpec, SpecError
from piip_search.cost import CostAxis
from piip_search.cost.gpu_share import process_bytes
from piip_search.space import Designs, Limit, SearchSpace
from piip_search.units import gibibytes, quantity

MOST_COMBINATIONS = 200_000_000
"""Most combinations of a space: enumerating more takes minutes and gigabytes before the first trial."""


def feasible_designs(spec: SearchSpec, source: object = "search space") -> tuple[SearchSpace, Designs]:
    """The designs of a space within the limit.

    Raises:
        SpecError: The space is empty, or a tier of the limit lies below its cheapest design.
    """
    space, limit = spec.search_space, spec.bounds
    if space.combinations > MOST_COMBINATIONS:
        problem = (
            f"space: has {space.combinations:.2g} combinations, and at most {MOST_COMBINATIONS:.2g} can be "
            "enumerated; offer fewer image sizes, windows, branches or settings, or the inverted pairing"
        )
        raise SpecError(str(source), [problem])
    if not len(space):
        raise SpecError(str(source), ["space: has no design; allow more branches, models, sizes or interactions"])
    within, extremes = _enumerated(space, limit)
    if not within.fits(limit.axes[0], limit.tiers[0]).any():
        problems = _too_large(spec, space, extremes.lightest) or _out_of_reach(space, limit, extremes.cheapest)
        raise SpecError(str(source), problems)
    return space, within


@dataclass(frozen=True)
class _Extremes:
    """The designs of a space that come nearest to a limit.

    Attributes:
        cheapest: Cheapest design on each axis with a limit, by the axis's name.
        lightest: Designs with the least training memory, one a chunk; empty without a memory limit.
    """

    cheapest: Mapping[str, Designs]
    lightest: tuple[Designs, ...]


@lru_cache(maxsize=1)
def _enumerated(space: SearchSpace, limit: Limit) -> tuple[Designs, _Extremes]:
    """The designs within a limit, cached: a command needs them several times, and a large space takes seconds."""
    parts: list[Designs] = []
    lightest: list[Designs] = []
    cheapest: dict[str, list[Designs]] = {name: [] for name, _ in limit.bounds}
    for chunk in space.chunks(limit.pricing, limit.step, limit.needs_memory):
        parts.append(chunk.within(limit))
        for name, found in cheapest.items():
            found.append(chunk[[chunk.counts(name).argmin()]])
        lightest += [] if chunk.training_N is None else [chunk[[chunk.training_N.argmin()]]]
    best = {name: min(found, key=lambda one: int(one.counts(name)[0])) for name, found in cheapest.items()}
    return Designs.concat(parts), _Extremes(best, tuple(lightest))


def _too_large(spec: SearchSpec, space: SearchSpace, lightest: Sequence[Designs]) -> list[str]:
    """The problem that no design's training fits the GPU; empty if one does."""
    if not lightest:
        return []
    parts = [(int(one.training_N[0]), one) for one in lightest if one.training_N is not None]
    training, least = min(parts, key=lambda part: part[0])
    if training <= spec.bounds.step_bytes:
        return []
    resources, design = spec.resources, space.decode(least.rows_ND[0])
    memory = quantity(resources.gpu_memory or 0.0, "GiB")
    share = "" if resources.gpu == "auto" or resources.gpu >= 1 else f" x {resources.gpu:g}"
    return [
        f"resources.gpu_memory: no design's training fits {memory}{share}: the smallest needs "
        f"about {gibibytes(process_bytes(training))} at {spec.training.batch_size} images a step ({design}); "
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


def _out_of_reach(space: SearchSpace, limit: Limit, cheapest: Mapping[str, Designs]) -> list[str]:
    """Problems of tiers without designs, and of other limits that exclude all designs."""
    axis = limit.cost_axis
    bounds = [(axis.name, tier) for tier in limit.tiers] + list(limit.caps)
    problems = [
        _too_dear(limit.pricing.axis(name), most, cheapest[name], space)
        for name, most in bounds
        if not cheapest[name].fits(name, most).all()
    ]
    if not problems:
        others = [f"of at most {limit.pricing.axis(name).format(cap)}" for name, cap in limit.caps]
        others += [] if limit.step is None else ["that fits resources.gpu_memory"]
        lowest = axis.format(limit.tiers[0])
        problems.append(f"limit: no design {' and '.join(others)} costs {lowest} or less; raise one of them")
    return problems


def _too_dear(axis: CostAxis, most: float, cheapest: Designs, space: SearchSpace) -> str:
    cost, design = axis.format(float(cheapest.on(axis.name)[0]), 3), space.decode(cheapest.rows_ND[0])
    return (
        f"limit.{axis.name}: no design costs {axis.format(most)} or less: the cheapest costs {cost} ({design}); "
        "raise the limit or offer smaller models or images"
    )
