"""The front of one training for many designs against that of trainings alone, at equal processor time.

python benchmarks/shared_search.py quickstart-shared --seeds 3

The space has the evaluator `shared`. For each seed its search runs to its end. Then the same space is searched with a
training of its own for each design, by the same sampler, until that has taken as much processor time. A training that
ends later does not count. Printed are the hypervolume of each tier's front, with metric and cost as in the search, and
the ratio, with its 90 % interval over seeds (t distribution of the logarithms). Fronts hold measured models alone,
those that were tuned, and those that were trained alone.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from piip_search.analysis.effects.matched import mean_interval
from piip_search.analysis.rank_correlation import Interval
from piip_search.api.checks import looked_through
from piip_search.api.evaluators import evaluator_of, prepare
from piip_search.api.runners import Place, measurement
from piip_search.config import SearchSpec, load_spec, parse_spec
from piip_search.config.shipped import find_space
from piip_search.ledger import Ledger
from piip_search.search.search import open_search


def searched(spec: SearchSpec, home: Path, seconds: float | None) -> tuple[float, list[float], list[str]]:
    """Processor seconds of a search, hypervolume of each tier, and the best design of each.

    Args:
        spec: Search.
        home: Folder of its ledger and trainings; a new one.
        seconds: Processor seconds after which no result counts; None for a search to its end.
    """
    home.mkdir(parents=True)
    fingerprint = looked_through(spec, lambda _: None, print)
    ledger = Ledger(f"sqlite:///{home / 'ledger.db'}")
    search = open_search(spec.name, spec, ledger, spec.recipe(fingerprint))
    work = measurement(spec, home, spec.name, search)
    measure, preparation = evaluator_of(spec, work, search, fingerprint, home, Place.LOCAL)
    began = time.process_time()
    prepare(search, preparation, print)
    while (candidate := search.propose()) is not None:
        evaluation = measure(candidate)
        if seconds is not None and time.process_time() - began > seconds:
            break
        search.accept(evaluation)
    spent = time.process_time() - began
    fronts = search.history.fronts
    best = ["nothing" if front.best is None else front.best.candidate.design.name for front in fronts]
    ledger.close()
    return spent, [front.hypervolume for front in fronts], best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("space", help="file or name of a space with the evaluator shared")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--home", type=Path, default=Path("runs/shared-search"))
    options = parser.parse_args()
    shared = load_spec(find_space(options.space))
    content = shared.model_dump(mode="json")
    del content["evaluator"]
    content["budget"] = {"trials": 10_000}
    ratios = []
    for seed in range(options.seeds):
        spec = shared.model_copy(update={"seed": seed})
        spent, one, best = searched(spec, options.home / f"shared-{seed}", None)
        print(f"seed {seed}, shared: {spent:.0f} s, hypervolumes {np.round(one, 4)}, {best[-1]}", flush=True)
        alone = parse_spec({**content, "seed": seed})
        _, other, best = searched(alone, options.home / f"alone-{seed}", spent)
        print(f"seed {seed}, alone: {spent:.0f} s, hypervolumes {np.round(other, 4)}, {best[-1]}", flush=True)
        ratios.append([mine / max(theirs, 1e-9) for mine, theirs in zip(one, other, strict=True)])
    for tier, logs in zip(shared.bounds.tiers, np.log(ratios).T, strict=True):
        print(f"up to {tier:g}: {interval(logs)} times the hypervolume of trainings alone")


def interval(logs: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> str:
    """The geometric mean, with its 90 % interval from three values on."""
    found = mean_interval(logs.tolist())
    if not isinstance(found, Interval):
        return f"{np.exp(found):.2f}"
    return f"{np.exp(found.value):.2f} [{np.exp(found.low):.2f}, {np.exp(found.high):.2f}]"


if __name__ == "__main__":
    main()
