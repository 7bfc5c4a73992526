"""What one training for many designs is worth: its children against trainings of their own.

python benchmarks/shared.py benchmarks/spaces/shared_bccd.yaml data/bccd --designs 12 --seeds 2

The space has the evaluator `shared`. Its parent is trained, then some designs of four image sizes are measured with
the parent's weights as they are, after a short training from them, and after trainings of their own with each seed. All
measurements are kept in a ledger in `--home`: an interrupted benchmark continues. Printed are Kendall's tau with the
mean of the trainings, its 90 % interval, tau within one image size, what the first of each ranking lacks to the best,
the mean share of what a training of its own reaches, and the price in trainings.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from piip_search.analysis.rank_correlation import agreement_within, tau_interval
from piip_search.api.checks import looked_through
from piip_search.api.evaluators import evaluator_of, prepare
from piip_search.api.runners import Place, measurement
from piip_search.architecture import Architecture
from piip_search.config import SearchSpec, load_spec
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.ledger import Ledger
from piip_search.search.feasible import feasible_designs
from piip_search.search.policy import FixedPolicy
from piip_search.search.search import Search
from piip_search.space.parents import tier_groups
from piip_workers.runners import local
from piip_workers.shared.deals import Deal

SIZES = 4
"""Number of largest images of the compared designs."""


def compared(spec: SearchSpec, count: int, tier: float | None = None) -> list[Architecture]:
    """Designs of the largest image sizes of a tier, equally many of each, in the order in which they are dealt."""
    space, within = feasible_designs(spec)
    tiers = tier_groups(within, spec.bounds.tiers)
    if tier not in (None, *tiers):
        raise SystemExit(f"error: no tier {tier:g}; the space has {', '.join(f'{one:g}' for one in tiers)}")
    rows_ND = within.rows_ND if tier is None else tiers[tier]
    deal = Deal(space, rows_ND, spec.seed)
    drawn = list(dict.fromkeys(deal.design(number) for number in range(50 * count)))
    each, sizes = count // SIZES, Counter(design.resolution for design in drawn)
    largest = sorted(size for size, found in sizes.items() if found >= each)[-SIZES:]
    return [design for size in largest for design in [one for one in drawn if one.resolution == size][:each]]


def shown(search: Search) -> None:
    """Prints the newest evaluation."""
    if search.evaluations and not search.running:
        last = search.evaluations[-1]
        value = search.objectives.value(last)
        what = last.error if value is None else f"{value:.4f} in {last.seconds:.0f} s"
        print(f"{last.candidate.design} {last.candidate.fidelity.epochs} epochs, seed {last.candidate.seed}: {what}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("space", type=Path)
    parser.add_argument("data", type=Path, help="folder of the data, in place of data.root")
    parser.add_argument("--designs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=2, help="trainings of its own for each design")
    parser.add_argument("--tier", type=float, help="limit of the tier of the compared designs; all tiers by default")
    parser.add_argument("--parent-seed", type=int, default=0, help="seed of the parent")
    parser.add_argument("--epochs", type=int, help="passes of the parent, in place of the space's")
    parser.add_argument("--pretrained", help="source of the branches' weights, such as miniature")
    parser.add_argument("--home", type=Path, default=Path("runs/shared"))
    options = parser.parse_args()
    spec = load_spec(options.space)
    data = spec.data.model_copy(update={"root": options.data.resolve()})
    training = spec.training.model_copy(update={"pretrained": options.pretrained})
    evaluator = spec.evaluator.model_copy(update={"epochs": options.epochs} if options.epochs else {})
    spec = spec.model_copy(update={"data": data, "training": training, "evaluator": evaluator})
    designs, (scored, tuned, alone) = compared(spec, options.designs, options.tier), spec.rungs
    spec = spec.model_copy(update={"seed": options.parent_seed})

    asked = [(design, fidelity, 0) for fidelity in (scored, tuned) for design in designs]
    asked += [(design, alone, seed) for seed in range(options.seeds) for design in designs]
    candidates = [Candidate(number, design, fidelity, seed) for number, (design, fidelity, seed) in enumerate(asked)]
    options.home.mkdir(parents=True, exist_ok=True)
    fingerprint = looked_through(spec, print, print)
    recipe = spec.recipe(fingerprint)
    name = f"shared-{recipe[:6]}"
    search = Search(name, spec, FixedPolicy(candidates), Ledger(f"sqlite:///{options.home / 'ledger.db'}"), recipe)
    work = measurement(spec, options.home, name, search)
    measure, preparation = evaluator_of(spec, work, search, fingerprint, options.home, Place.LOCAL)
    prepare(search, preparation, print)
    local.run(search, measure, lambda: shown(search))

    found = {
        (one.candidate.design, one.candidate.fidelity.epochs, one.candidate.seed): one
        for one in search.evaluations
        if one.status == "done"
    }
    report(spec, designs, found, sum(step.seconds for step in search.preparations), options.seeds)


def report(
    spec: SearchSpec,
    designs: list[Architecture],
    found: dict[tuple[object, int, int], Evaluation],
    parent: float,
    seeds: int,
) -> None:
    """Prints the tables."""
    scored, tuned, alone = (rung.epochs for rung in spec.rungs)
    value = {key: one.metrics[spec.metric] for key, one in found.items()}
    truth = np.array([np.mean([value[design, alone, seed] for seed in range(seeds)]) for design in designs])
    whole = float(np.mean([found[design, alone, seed].seconds for design in designs for seed in range(seeds)]))
    print("\n| design | GMACs | as it is | tuned | alone |\n| --- | ---: | ---: | ---: | ---: |")
    price = spec.objectives.price
    for design, own in zip(designs, truth, strict=True):
        as_is, after = value[design, scored, 0], value[design, tuned, 0]
        print(f"| `{design}` | {price(design):.3g} | {as_is:.3f} | {after:.3f} | {own:.3f} |")
    rankings = {
        "MACs": [price(design) for design in designs],
        "largest image": [float(design.resolution) for design in designs],
        "as it is": [value[design, scored, 0] for design in designs],
        "tuned": [value[design, tuned, 0] for design in designs],
    }
    print(f"\nparent: {parent:.0f} s, {parent / whole:.1f} trainings of {whole:.0f} s")
    print("\n| ranking | tau | one image size | lacks | share |\n| --- | --- | ---: | ---: | ---: |")
    for name, ranking in rankings.items():
        ranks = np.array(ranking)
        share = f"{np.mean(ranks / truth):.0%}" if max(ranks) < 1 and name != "MACs" else ""
        lacks = truth.max() - truth[int(np.argmax(ranks))]
        alike = agreement_within([design.resolution for design in designs], ranks, truth)
        told = "–" if alike is None else f"{alike[0]:+.2f} of {alike[1]}"
        print(f"| {name} | {tau_interval(ranks, truth)} | {told} | {lacks:.3f} | {share} |")
    if seeds > 1:
        first, second = ([value[design, alone, seed] for design in designs] for seed in (0, 1))
        print(f"two trainings alone agree by {tau_interval(first, second)}")
    for name, epochs in (("as it is", scored), ("tuned", tuned)):
        seconds = sum(found[design, epochs, 0].seconds for design in designs)
        print(f"{name}: {seconds / len(designs):.1f} s a design")


if __name__ == "__main__":
    main()
