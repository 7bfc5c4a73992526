"""Which designs a search may propose: those of its space that keep its limit."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from piip_search.architecture import Architecture
from piip_search.config import SearchSpec, SpecError
from piip_search.cost.gpu_share import GIB, process_bytes
from piip_search.space import Designs, Limit, SearchSpace

MOST_COMBINATIONS = 200_000_000
"""Looking through more takes minutes and gigabytes before the first trial."""


def feasible_designs(spec: SearchSpec, source: object = "search space") -> tuple[SearchSpace, Designs]:
    """The designs that a search may propose.

    Raises:
        SpecError: The space is empty, or a tier of the limit lies below its cheapest design.
    """
    space, limit = spec.space.build(), spec.bounds
    if space.combinations > MOST_COMBINATIONS:
        problem = (
            f"space: has {space.combinations:.2g} combinations, of which at most {MOST_COMBINATIONS:.2g} can be looked "
            "through; offer fewer image sizes, windows, branches or settings, or the inverted pairing"
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
    """What of a space comes nearest to a limit.

    Attributes:
        cheapest: The design of the fewest multiply-accumulates.
        fewest: Parameters of the smallest design.
        lightest: The designs whose training takes the least memory, one a chunk; empty where no memory is limited.
    """

    cheapest: Designs
    fewest: int
    lightest: tuple[Designs, ...]


@lru_cache(maxsize=1)
def _enumerated(space: SearchSpace, limit: Limit) -> tuple[Designs, _Extremes]:
    """The designs within a limit. A command asks several times, and a large space takes seconds each time."""
    parts, cheapest, fewest, lightest = [], [], [], []
    for chunk in space.chunks(limit.convention, limit.detector, limit.step):
        parts.append(chunk.within(limit))
        cheapest.append(chunk[[chunk.macs_N.argmin()]])
        fewest.append(int(chunk.params_N.min()))
        lightest += [] if chunk.training_N is None else [chunk[[chunk.training_N.argmin()]]]
    best = min(cheapest, key=lambda one: int(one.macs_N[0]))
    return Designs.concat(parts), _Extremes(best, min(fewest), tuple(lightest))


def _too_large(spec: SearchSpec, space: SearchSpace, lightest: Sequence[Designs]) -> list[str]:
    """What to say where no design's training fits the GPU."""
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
    """What would make a training smaller: no setting that is at its end already."""
    training = spec.training
    ways = ["lower training.batch_size"] if training.batch_size > 1 else []
    ways.append("lower fidelity.image_scale")
    ways += ["set training.precision to bfloat16"] if training.precision != "bfloat16" else []
    ways += ["set training.checkpointing"] if not training.checkpointing and not training.cuda_graphs else []
    return f"{', '.join(ways)}, or offer smaller designs"


def _out_of_reach(limit: Limit, cheapest: Architecture, gmacs: float, least: float) -> list[str]:
    """Which tiers no design fits, and whether parameters, memory or all together rule all out."""
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
