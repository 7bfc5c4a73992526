"""Samplers on a table of known designs: evaluations to a share of the hypervolume, and regret within each tier.

python benchmarks/samplers.py --table macro.csv --objectives error,mmacs --tiers 20,40,80 --seeds 20 --trials 200

Objectives are losses and costs of the table, such as error,mmacs,mparams; the first cost has the tiers. Every sampler
sees the losses of what it asks for, and the costs. `random`, `tpe`, `nsga2` and `gp` are Optuna's own, told all
objectives; what they ask for over the largest tier, or again, is a trial all the same. The same names with
`+limit` are moved to the nearest design that fits and is new. `ax` (pip install ax-platform) and `morea` (Syne Tune's
evolution, pip install syne-tune) take part where they are installed; `gp` and `ax` take seconds an ask. Significance:
Wilcoxon's signed-rank test over seeds against the best peer. With `--keep FILE` an interrupted comparison goes on where
it was, and samplers or seeds can be added later.
"""

import argparse
import functools
import importlib.util
import itertools
import json
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from scipy.stats import wilcoxon

from piip_search.evaluation import pareto
from piip_search.evaluation.pareto import hypervolume
from piip_search.search.samplers.acquisition import ExpectedFrontGain
from piip_search.simulation.table import Table, sizes_of

Ask = Iterator[int]


@dataclass(frozen=True)
class Question:
    """What a search is asked: losses to lower, known costs of which the first has the tiers."""

    losses: tuple[str, ...]
    costs: tuple[str, ...]
    tiers: tuple[float, ...]

    def losses_of(self, table: Table) -> np.ndarray:
        return np.stack([table.losses[name] for name in self.losses], 1)

    def costs_of(self, table: Table) -> np.ndarray:
        return np.stack([table.costs[name] for name in self.costs], 1)


SHARES = (0.90, 0.95, 0.99)
AT = (20, 50, 100)
NEVER = 10**6


def ours(table: Table, question: Question, seed: int) -> Ask:
    metrics = len(question.losses)
    proposer = ExpectedFrontGain(table.offered(*question.costs), question.tiers, seed, metrics=metrics)
    free = np.ones(len(table), dtype=bool)
    losses = question.losses_of(table)
    measured: dict[int, list[float]] = {}
    failed: list[int] = []
    while (proposal := proposer.propose(measured, (), failed, free)) is not None:
        free[proposal.index] = False
        values = losses[proposal.index]
        if np.isfinite(values).all():
            measured[proposal.index] = values.tolist()
        else:
            failed.append(proposal.index)
        yield proposal.index


def uniform(table: Table, question: Question, seed: int) -> Ask:
    random = np.random.default_rng(seed)
    while True:
        yield int(random.integers(len(table)))


def limited(table: Table, question: Question, seed: int) -> Ask:
    fitting = np.flatnonzero(table.costs[question.costs[0]] <= max(question.tiers))
    yield from (int(index) for index in np.random.default_rng(seed).permutation(fitting))


class Inputs:
    """A table's choices as peers are offered them: numbers as numbers in [0, 1], anything else as kinds.

    Attributes:
        sizes: Size of each design's value of each choice, for choices that are numbers; None for the others.
        counts: Number of values of each choice.
    """

    def __init__(self, table: Table) -> None:
        self.sizes: list[np.ndarray | None] = []
        self.counts = [int(column.max()) + 1 for column in table.codes.T]
        self._codes = table.codes
        for values in table.choices.values():
            kinds, places = np.unique(values, return_inverse=True)
            sizes = sizes_of(kinds)
            self.sizes.append(None if sizes is None or np.isnan(sizes).any() else sizes[places])

    def nearest(self, wish: Sequence[float], allowed: np.ndarray, random: np.random.Generator) -> int:
        """One of the allowed designs that are nearest: a kind that differs counts as the whole range of a number."""
        places = np.flatnonzero(allowed)
        distance = np.zeros(len(places))
        for column, (sizes, value) in enumerate(zip(self.sizes, wish, strict=True)):
            own = self._codes[places, column] != value if sizes is None else np.abs(sizes[places] - value)
            distance += own
        return int(random.choice(places[distance <= distance.min() + 1e-12]))


def through_optuna(
    make: Callable[[int], optuna.samplers.BaseSampler],
    inside: bool,
    table: Table,
    question: Question,
    seed: int,
) -> Ask:
    inputs = Inputs(table)
    spaces: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.CategoricalDistribution(range(count))
        if sizes is None
        else optuna.distributions.FloatDistribution(0, 1)
        for name, count, sizes in zip(table.choices, inputs.counts, inputs.sizes, strict=True)
    }
    points = np.hstack([question.losses_of(table), question.costs_of(table)])
    free = table.costs[question.costs[0]] <= max(question.tiers) if inside else np.ones(len(table), dtype=bool)
    random = np.random.default_rng(seed)
    study = optuna.create_study(directions=["minimize"] * points.shape[1], sampler=make(seed))
    while free.any():
        trial = study.ask(spaces)
        index = inputs.nearest([trial.params[name] for name in table.choices], free, random)
        if inside:
            free[index] = False
        if np.isfinite(points[index]).all():
            study.tell(trial, points[index].tolist())
        else:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        yield index


def _tpe(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(seed=seed, multivariate=True)


def _nsga2(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.NSGAIISampler(seed=seed, population_size=20)


def _gp(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.GPSampler(seed=seed)


def through_ax(table: Table, question: Question, seed: int) -> Ask:
    """Ax's own choice for several objectives; models of its own for costs too. What it asks again counts again."""
    import torch
    from ax.api.client import Client
    from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

    logging.disable(logging.WARNING)
    torch.manual_seed(seed)
    inputs, every = Inputs(table), np.ones(len(table), dtype=bool)
    random = np.random.default_rng(seed)
    client = Client()
    client.configure_experiment(
        [
            ChoiceParameterConfig(f"p{place}", list(range(count)), "int", is_ordered=False)
            if sizes is None
            else RangeParameterConfig(f"p{place}", (0.0, 1.0), "float")
            for place, (count, sizes) in enumerate(zip(inputs.counts, inputs.sizes, strict=True))
        ]
    )
    names = [*(f"loss{k}" for k in range(len(question.losses))), *(f"cost{c}" for c in range(len(question.costs)))]
    client.configure_optimization(
        objective=", ".join(f"-{name}" for name in names), outcome_constraints=[f"cost0 <= {max(question.tiers)}"]
    )
    points = np.hstack([question.losses_of(table), question.costs_of(table)])
    client.configure_generation_strategy(method="fast", initialization_random_seed=seed)
    while True:
        for number, parameters in client.get_next_trials(max_trials=1).items():
            index = inputs.nearest([parameters[f"p{place}"] for place in range(len(inputs.counts))], every, random)
            if np.isfinite(points[index]).all():
                client.complete_trial(number, dict(zip(names, points[index].tolist(), strict=True)))
            else:
                client.mark_trial_failed(number)
            yield index


def through_syne_tune(table: Table, question: Question, seed: int) -> Ask:
    """Syne Tune's regularised evolution of several objectives, its population as small as NSGA-II's here."""
    from syne_tune.config_space import choice
    from syne_tune.config_space import uniform as between
    from syne_tune.optimizer.schedulers.multiobjective import multi_objective_regularized_evolution as evolution

    inputs, every = Inputs(table), np.ones(len(table), dtype=bool)
    random = np.random.default_rng(seed)
    space = {
        f"p{place}": choice(list(range(count))) if sizes is None else between(0, 1)
        for place, (count, sizes) in enumerate(zip(inputs.counts, inputs.sizes, strict=True))
    }
    np.random.seed(seed)  # its first population is drawn from there, whatever its own seed
    searcher = evolution.MultiObjectiveRegularizedEvolution(space, population_size=20, sample_size=5, random_seed=seed)
    points = np.hstack([question.losses_of(table), question.costs_of(table)])
    for number in itertools.count():
        wish = searcher.suggest()
        index = inputs.nearest([wish[name] for name in space], every, random)
        if np.isfinite(points[index]).all():  # it knows no failures
            searcher.on_trial_complete(number, wish, points[index].tolist())
        yield index


PEERS = {"tpe": _tpe, "nsga2": _nsga2, "gp": _gp}
SAMPLERS: dict[str, Callable[..., Ask]] = {
    "piip": ours,
    "random": uniform,
    "random+limit": limited,
    **{name: functools.partial(through_optuna, make, False) for name, make in PEERS.items()},
    **{f"{name}+limit": functools.partial(through_optuna, make, True) for name, make in PEERS.items()},
    "ax": through_ax,
    "morea": through_syne_tune,
}
INSTALLED_APART = {"ax": "ax-platform", "morea": "syne-tune"}
MODULES = {"ax-platform": "ax", "syne-tune": "syne_tune"}
SLOW = ("gp", "gp+limit", "ax")


read = functools.cache(Table.read)
"""Once a process: a large table takes longer to read than most samplers to ask."""


def run(name: str, path: Path, question: Question, trials: int, seed: int) -> dict[str, float]:
    """What one sampler reached with one seed."""
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = read(path)
    costs, losses = question.costs_of(table), question.losses_of(table)
    losses = np.where(np.isfinite(losses), losses, np.nanmax(losses, 0))  # what failed is the worst
    tiers, first = question.tiers, costs[:, 0]
    started = time.perf_counter()
    asked = []
    for index in SAMPLERS[name](table, question, seed):
        asked.append(index)
        if len(asked) == trials:
            break
    seconds = (time.perf_counter() - started) / len(asked)
    over = first[asked] > max(tiers)
    result = {
        "ms an ask": 1000 * seconds,
        "over %": 100 * float(over.mean()),
        "again %": 100 * (1 - len(set(asked)) / len(asked)),
    }
    points = np.hstack([losses, costs])
    fitting = first <= max(tiers)
    for title, reference in references(losses[fitting], costs[fitting], max(tiers)).items():
        whole = hypervolume(undominated(points[fitting]), reference)
        volumes = [hypervolume(points[asked[: count + 1]], reference) / whole for count in range(len(asked))]
        for share in SHARES:
            reached = [count for count, volume in enumerate(volumes, 1) if volume >= share]
            result[f"{100 * share:.0f} % {title}"] = reached[0] if reached else NEVER
        if points.shape[1] > 2:  # few searches reach these shares
            result |= {f"% less than all, {title}@{n}": 100 * (1 - volumes[n - 1]) for n in AT if n <= len(asked)}
    for tier, (place, loss) in itertools.product(tiers, enumerate(question.losses)):
        best = losses[first <= tier, place].min()
        what = f"regret {tier:g}" if len(question.losses) == 1 else f"regret {loss} {tier:g}"
        for count in AT:
            if count <= len(asked):
                mine = [losses[index, place] for index in asked[:count] if first[index] <= tier]
                result[f"{what}@{count}"] = (min(mine) if mine else losses[:, place].max()) - best
    return result


def undominated(points: np.ndarray) -> np.ndarray:
    """The front of many points, which is quicker to add up."""
    if points.shape[1] > 2:
        return np.unique(points[pareto.undominated(points)], axis=0)
    order = np.lexsort((points[:, 0], points[:, 1]))
    best = np.minimum.accumulate(points[order, 0])
    return points[order][np.append(True, best[1:] < best[:-1])]


def references(losses: np.ndarray, costs: np.ndarray, tier: float) -> dict[str, np.ndarray]:
    """The table's worst losses and costs within the largest tier, and a point just beyond the better half of the front.

    Better is a lower first loss.
    """
    front = undominated(np.hstack([losses, costs]))
    spread = 0.05 * (front.max(0) - front.min(0))
    metrics, most = losses.shape[1], np.append(tier, costs[:, 1:].max(0))
    good = front[front[:, 0] <= np.median(front[:, 0])].max(0)
    tight = np.append((good + spread)[:metrics], np.minimum(most, (front.max(0) + spread)[metrics:]))
    return {"worst": np.append(losses.max(0), most), "tight": tight}


def table_of(results: dict[str, list[dict[str, float]]], mine: str) -> None:
    measures = list(next(iter(results.values()))[0])
    print(f"| measure | {' | '.join(results)} | against the best peer |")
    print("|" + " --- |" * (len(results) + 2))
    for measure in measures:
        values = {name: [row[measure] for row in rows] for name, rows in results.items()}
        cells = [interval(found) for found in values.values()]
        peers = {name: found for name, found in values.items() if name != mine}
        verdict = ""
        if measure not in ("ms an ask", "over %", "again %") and peers and mine in values:
            best = min(peers, key=lambda name: (statistics.median(peers[name]), statistics.fmean(peers[name])))
            verdict = f"{best}: {compared(values[mine], peers[best])}"
        print(f"| {measure} | {' | '.join(cells)} | {verdict} |")


def interval(values: Sequence[float]) -> str:
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], method="inverted_cdf")
    return f"{shown(middle)} ({shown(low)}-{shown(high)})"


def shown(value: float) -> str:
    return "never" if value > NEVER / 2 else f"{value:.3g}"


def compared(mine: Sequence[float], theirs: Sequence[float]) -> str:
    """Which is lower over the seeds, with Wilcoxon's p."""
    differences = np.subtract(mine, theirs)
    if not differences.any():
        return "equal"
    p = wilcoxon(mine, theirs).pvalue
    better = statistics.median(differences) < 0 or (statistics.median(differences) == 0 and differences.mean() < 0)
    return f"{'better' if better else 'worse'}, p {p:.2g}{'' if p < 0.05 else ' (not significant)'}"


def installed(name: str) -> bool:
    package = INSTALLED_APART.get(name)
    return package is None or importlib.util.find_spec(MODULES[package]) is not None


def usual() -> list[str]:
    """All samplers that are installed and take no seconds an ask."""
    return [name for name in SAMPLERS if name not in SLOW and installed(name)]


def check(names: Sequence[str]) -> None:
    if unknown := [name for name in names if name not in SAMPLERS]:
        raise ValueError(f"no sampler {unknown[0]!r}; choose from {', '.join(SAMPLERS)}")
    if missing := [name for name in names if not installed(name)]:
        package = INSTALLED_APART[missing[0]]
        raise ValueError(f"{missing[0]} needs {package}: pip install {package}")


def objectives_of(text: str, table: Table) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Losses and costs, in their order."""
    names = text.split(",")
    losses = tuple(table.loss(name) for name in names if name not in table.costs)
    costs = tuple(table.cost(name) for name in names if name in table.costs)
    if not losses or not costs or len(names) > 4:
        raise ValueError(f"--objectives are losses and costs, up to 4, such as error,macs,params, got {text!r}")
    return losses, costs


def budgets_of(text: str | None, costs: np.ndarray) -> list[float]:
    try:
        tiers = sorted(float(part) for part in text.split(",")) if text else [float(costs.max())]
    except ValueError:
        raise ValueError(f"--tiers are numbers with commas between them, such as 20,40,80, got {text!r}") from None
    if not tiers[0] >= costs.min():
        raise ValueError(f"no design costs {tiers[0]:g} or less; costs go from {costs.min():g} to {costs.max():g}")
    return tiers


def answered(path: Path | None, question: dict[str, object]) -> dict[tuple[str, int], dict[str, float]]:
    """What searches reached that an earlier run of the same question kept, by sampler and seed."""
    lines = (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path and path.exists() else []
    )
    return {(line["sampler"], line["seed"]): line["measures"] for line in lines if line["question"] == question}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--objectives", required=True, help="losses and costs, e.g. error,mmacs")
    parser.add_argument("--tiers", help="tiers of cost, rising; by default the dearest design's")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument(
        "--samplers", help=f"some of {', '.join(SAMPLERS)}; by default all that are installed and quick"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="a file for what every search reached; those in it are not run again")
    options = parser.parse_args()
    names = options.samplers.split(",") if options.samplers else usual()
    try:
        table = Table.read(options.table)
        losses, costs = objectives_of(options.objectives, table)
        question = Question(losses, costs, tuple(budgets_of(options.tiers, table.costs[costs[0]])))
        check(names)
    except ValueError as error:
        parser.error(str(error))
    against = f"{', '.join(losses)} against {', '.join(costs)}"
    what = f"{options.table.name}: {len(table)} designs, {against}, tiers {list(question.tiers)}"
    print(f"{what}, {options.seeds} seeds, {options.trials} trials; median (10 %-90 % of seeds)\n", flush=True)
    asked = {
        "table": options.table.name,
        "designs": len(table),
        "loss": ",".join(losses),
        "cost": ",".join(costs),
        "tiers": list(question.tiers),
        "trials": options.trials,
    }
    known = answered(options.keep, asked)
    searches = [(name, seed) for name in names for seed in range(options.seeds)]
    missing = [search for search in searches if search not in known]
    with ProcessPoolExecutor(options.workers) as pool:
        jobs = {
            pool.submit(run, name, options.table, question, options.trials, seed): (name, seed)
            for name, seed in missing
        }
        for done, job in enumerate(as_completed(jobs), 1):
            name, seed = jobs[job]
            known[name, seed] = job.result()
            if options.keep:
                with options.keep.open("a", encoding="utf-8") as file:
                    line = {"question": asked, "sampler": name, "seed": seed, "measures": known[name, seed]}
                    file.write(json.dumps(line) + "\n")
            print(f"{done} of {len(missing)} searches: {name}, seed {seed}", file=sys.stderr, flush=True)
    table_of({name: [known[name, seed] for seed in range(options.seeds)] for name in names}, "piip")


if __name__ == "__main__":
    main()
