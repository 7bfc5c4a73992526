"""Schedules on a table of learning curves: time to a target, by a virtual clock.

python benchmarks/tables.py lcbench lcbench.onnx 168908 lcbench.csv
python benchmarks/schedules.py --table lcbench.csv --rungs 6,17 --epochs 52 --workers 4 --seeds 10

Time is worker time over the mean time of a whole training. `piip` and `random` say who proposes; `+halving` is this
package's schedule, alone everything is trained to its end. `asha-stop` is random proposals of which one in three goes
on past a rung at once and the others end for ever, by the loss alone, as Ray Tune's does. `moasha` is Syne Tune's, by
loss and cost, where it is installed (pip install syne-tune): random proposals that stop or go on, by non-dominated
rank.
Regret is how much worse the best finished design within a tier is than the table's, the mean over tiers.
"""

import argparse
import heapq
import statistics
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from piip_search.config import SearchSpec, parse_spec
from piip_search.evaluation.pareto import hypervolume
from piip_search.simulation.simulation import Simulation
from piip_search.simulation.table import Table
from piip_workers.runners import simulated

SHARES = (0.90, 0.95, 0.99)
NEVER = 10**6
Finished = list[tuple[float, int]]
"""When a design was finished, in whole trainings, and which."""


def played(name: str, simulation: Simulation, options: argparse.Namespace, seed: int) -> Finished:
    """The package's own search, as it is."""
    clock = simulated.Clock()
    search = simulation.open("run", clock=clock)
    finished: Finished = []
    seen: set[int] = set()
    unit = whole(simulation) / options.workers

    def changed() -> None:
        for evaluation in search.finished:
            if evaluation.candidate.number not in seen:
                seen.add(evaluation.candidate.number)
                finished.append((clock.now / unit, simulation.place(evaluation.candidate.architecture)))

    simulated.run(search, simulation, simulated.Cluster(options.workers, seed=seed), clock, changed)
    return finished


def stopping(decide: Callable[..., bool], simulation: Simulation, options: argparse.Namespace, seed: int) -> Finished:
    """Random designs on workers; whoever is stopped at a rung frees its worker and never comes back."""
    table, random = simulation.table, np.random.default_rng(seed)
    fitting = random.permutation(np.flatnonzero(table.costs[simulation.cost] <= simulation.spec.bounds.tiers[-1]))
    rungs = [rung.epochs for rung in simulation.spec.rungs]
    unit = whole(simulation) / options.workers
    waiting, going, finished = list(fitting[::-1]), [], []
    now = 0.0
    while now / unit < options.trainings:
        while waiting and len(going) < options.workers:
            place = int(waiting.pop())
            heapq.heappush(going, (now + table.seconds[rungs[0]][place], place, 0))
        if not going:
            break
        now, place, rung = heapq.heappop(going)
        epochs = rungs[rung]
        if epochs == rungs[-1]:
            finished.append((now / unit, place))
        loss, cost = table.curves[simulation.loss][epochs][place], table.costs[simulation.cost][place]
        if decide(place, epochs, float(loss), float(cost)) and epochs != rungs[-1]:
            taken = table.seconds[rungs[rung + 1]][place] - table.seconds[epochs][place]
            heapq.heappush(going, (now + taken, place, rung + 1))
    return finished


def best_third() -> Callable[..., bool]:
    seen: dict[int, list[float]] = {}

    def decide(place: int, epochs: int, loss: float, cost: float) -> bool:
        losses = seen.setdefault(epochs, [])
        losses.append(loss)
        return loss <= np.quantile(losses, 1 / 3)

    return decide


def syne_tune(rungs: list[int], seed: int) -> Callable[..., bool]:
    from syne_tune.backend.trial_status import Trial
    from syne_tune.config_space import uniform
    from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

    scheduler = MOASHA(
        config_space={"x": uniform(0, 1)},
        metrics=["loss", "cost"],
        time_attr="step",
        max_t=3 ** (len(rungs) - 1),
        grace_period=1,
        reduction_factor=3,
        random_seed=seed,
    )
    # It compares at powers of its factor alone: the rungs are shown to it as these.
    steps = {epochs: 3**place for place, epochs in enumerate(rungs)}
    trials: dict[int, Any] = {}

    def decide(place: int, epochs: int, loss: float, cost: float) -> bool:
        import datetime

        if place not in trials:
            trials[place] = Trial(place, {"x": 0.5}, datetime.datetime.now())
            scheduler.on_trial_add(trials[place])
        said = scheduler.on_trial_result(trials[place], {"step": steps[epochs], "loss": loss, "cost": cost})
        return str(said) == "CONTINUE"

    return decide


def whole(simulation: Simulation) -> float:
    """Mean seconds of a whole training."""
    return float(simulation.table.seconds[simulation.spec.rungs[-1].epochs].mean())


METHODS = ("piip+halving", "piip", "random+halving", "random", "tpe+halving", "asha-stop", "moasha")


def run(name: str, path: Path, options: argparse.Namespace, seed: int) -> dict[str, float]:
    """What one method reached with one seed."""
    warnings.simplefilter("ignore")
    table = Table.read(path)
    simulation = Simulation.of(spec_of(name, table, options, seed), table, [options.loss], [options.cost])
    if name == "asha-stop":
        finished = stopping(best_third(), simulation, options, seed)
    elif name == "moasha":
        finished = stopping(syne_tune([rung.epochs for rung in simulation.spec.rungs], seed), simulation, options, seed)
    else:
        finished = played(name, simulation, options, seed)
    return figures(finished, simulation, options)


def spec_of(name: str, table: Table, options: argparse.Namespace, seed: int) -> SearchSpec:
    costs = next(iter(table.costs.values())) if options.cost is None else table.costs[options.cost]
    hours = options.trainings * float(table.seconds[options.epochs].mean()) / options.workers / 3600
    rungs = [int(text) for text in options.rungs.split(",")]
    halved = "+" in name or name in ("asha-stop", "moasha")
    return parse_spec(
        {
            "name": "table",
            "seed": seed,
            "sampler": name.partition("+")[0] if name.partition("+")[0] in ("piip", "tpe") else "random",
            "space": {"backbones": ["vit_nano"], "resolutions": [32]},  # the table's designs are searched
            "limit": {"gmacs": [float(np.quantile(costs, share)) for share in (0.25, 0.5, 1.0)]},
            "data": {"embedded": "digits"},
            "fidelity": {"epochs": options.epochs},
            "budget": {"trials": len(table), "hours": hours},
            **({"schedule": {"rungs": rungs, "keep": 3}} if halved else {}),
        }
    )


def figures(finished: Finished, simulation: Simulation, options: argparse.Namespace) -> dict[str, float]:
    table, tiers = simulation.table, simulation.spec.bounds.tiers
    losses, costs = table.losses[simulation.loss], table.costs[simulation.cost]
    reference = np.array([losses.max(), tiers[-1]])
    points = np.stack([losses, costs], 1)
    possible = hypervolume(points, reference)
    curve: list[tuple[float, float, float]] = []
    places: list[int] = []
    for when, place in finished:
        places.append(place)
        found = points[places]
        regret = [found[found[:, 1] <= tier, 0].min(initial=losses.max()) - simulation.best(tier) for tier in tiers]
        curve.append((when, float(np.mean(regret)), hypervolume(found, reference) / possible))
    result: dict[str, float] = {}
    for share in SHARES:
        result[f"trainings to {share:.0%}"] = next((when for when, _, volume in curve if volume >= share), NEVER)
    for target in options.regrets:
        result[f"trainings to regret {target:g}"] = next((when for when, regret, _ in curve if regret <= target), NEVER)
    for count in (5, 10, 20, 40):
        until = [regret for when, regret, _ in curve if when <= count]
        if count <= options.trainings:
            nothing = float(np.mean([losses.max() - simulation.best(tier) for tier in tiers]))
            result[f"regret after {count}"] = until[-1] if until else nothing
    result["finished"] = len(finished)
    return result


def shown(values: list[float]) -> str:
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], method="inverted_cdf")
    return "{} ({}-{})".format(*("–" if value >= NEVER / 2 else f"{value:.3g}" for value in (middle, low, high)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, nargs="+", help="one or several; seeds are played on each")
    parser.add_argument("--loss")
    parser.add_argument("--cost")
    parser.add_argument("--epochs", type=int, required=True, help="of a whole training")
    parser.add_argument("--rungs", required=True, help="epochs before that, such as 6,17")
    parser.add_argument("--trainings", type=float, default=40, help="worker time, in whole trainings")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--regrets", type=float, nargs="+", default=[0.02, 0.01])
    parser.add_argument("--methods", default=",".join(METHODS[:-1]))
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    print(
        f"{', '.join(path.name for path in options.table)}: rungs {options.rungs} of {options.epochs} epochs, "
        f"{options.workers} workers, {options.seeds} seeds each; median (10 %-90 %)\n",
        flush=True,
    )
    with ProcessPoolExecutor(options.processes) as pool:
        jobs = {
            name: [
                pool.submit(run, name, path, options, seed) for path in options.table for seed in range(options.seeds)
            ]
            for name in options.methods.split(",")
        }
        results = {name: [job.result() for job in found] for name, found in jobs.items()}
    mine = next(iter(results))
    print(f"| measure | {' | '.join(results)} | against the best peer |")
    print("|" + " --- |" * (len(results) + 2))
    for measure in next(iter(results.values()))[0]:
        values = {name: [row[measure] for row in rows] for name, rows in results.items()}
        peers = {name: found for name, found in values.items() if not name.startswith("piip")}
        verdict = ""
        if peers and measure != "finished":
            best = min(peers, key=lambda name: (statistics.median(peers[name]), statistics.fmean(peers[name])))
            differences = np.subtract(values[mine], peers[best])
            better = np.median(differences) < 0 or (np.median(differences) == 0 and differences.mean() < 0)
            p = wilcoxon(values[mine], peers[best]).pvalue if differences.any() else 1.0
            verdict = f"{best}: {'better' if better else 'worse'}, p {p:.2g}{'' if p < 0.05 else ' (not significant)'}"
        print(f"| {measure} | {' | '.join(shown(found) for found in values.values())} | {verdict} |")


if __name__ == "__main__":
    main()
