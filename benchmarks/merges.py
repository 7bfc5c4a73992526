"""What the merge costs in short trainings: designs of one and of several branches under `conv` and `residual`.

python benchmarks/merges.py data/bccd --seeds 3 --epochs 8 --longer 24

Each design is trained with every seed for `--epochs`, and once for `--longer` with `--longer-seeds` seeds, on the space
of benchmarks/spaces/bccd.yaml. A single branch has no merge and is trained once. All trainings are kept in a ledger in
`--home`: an interrupted benchmark continues. `tau` is Kendall's tau between the mean of the short trainings and that of
the longer ones, over the designs that a search under this merge alone would compare.
"""

import argparse
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np

from piip_search.analysis.rank_correlation import tau_interval
from piip_search.api.checks import looked_through
from piip_search.api.runners import measurement
from piip_search.architecture import Architecture
from piip_search.config import SearchSpec, load_spec
from piip_search.evaluation.evaluation import Candidate, Evaluation, Fidelity
from piip_search.ledger import Ledger
from piip_search.search.policy import FixedPolicy
from piip_search.search.search import Search
from piip_workers.runners import local

SPACE = Path(__file__).parent / "spaces" / "bccd.yaml"
SINGLE = ("vit_nano@128:g", "vit_pico@128:g", "vit_micro@128:g", "vit_pico@192:g", "vit_nano@192:g")
SEVERAL = (
    "vit_micro@96:g+vit_nano@128:g*0",
    "vit_nano@96:g+vit_pico@128:g*2",
    "vit_nano@96:g+vit_pico@192:g*1",
    "vit_micro@64:g+vit_nano@128:g+vit_pico@192:g*2",
    "vit_micro@128:g+vit_nano@192:g*1",
)
MERGES = ("conv", "residual")


def spec_of(data: Path) -> SearchSpec:
    """The space of blood cells with its data at another place."""
    spec = load_spec(SPACE)
    moved = spec.data.model_copy(update={"root": data.resolve()})
    return spec.model_copy(update={"data": moved})


def trained(spec: SearchSpec, home: Path, candidates: list[Candidate]) -> list[Evaluation]:
    """The evaluations of candidates, those of earlier calls included."""
    home.mkdir(parents=True, exist_ok=True)
    numbered = [replace(candidate, number=number) for number, candidate in enumerate(candidates)]
    recipe = spec.recipe(looked_through(spec, print, print))
    search = Search("merges", spec, FixedPolicy(numbered), Ledger(f"sqlite:///{home / 'ledger.db'}"), recipe)
    local.run(search, measurement(spec, home, "merges", search), lambda: shown(search))
    return list(search.evaluations)


def shown(search: Search) -> None:
    """Prints the newest evaluation."""
    if search.evaluations and not search.running:
        last = search.evaluations[-1]
        value = search.objectives.value(last)
        what = last.error if value is None else f"{value:.4f}"
        print(f"{last.candidate.design} {last.candidate.fidelity.epochs} epochs, seed {last.candidate.seed}: {what}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="blood cells in COCO format")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--longer", type=int, default=0, help="epochs of the longer trainings; 0 for none")
    parser.add_argument("--longer-seeds", type=int, default=1)
    parser.add_argument("--designs", type=int, default=len(SEVERAL), help="designs of each kind")
    parser.add_argument("--home", type=Path, default=Path("runs/merges"))
    options = parser.parse_args()
    short, longer = Fidelity(options.epochs), Fidelity(options.longer)
    single = [Architecture.parse(name) for name in SINGLE[: options.designs]]
    several = [Architecture.parse(name) for name in SEVERAL[: options.designs]]
    under = {merge: [replace(design, merge=merge) for design in several] for merge in MERGES}
    asked = [(short, options.seeds), (longer, options.longer_seeds)][: 1 + (options.longer > 0)]
    designs = [*single, *itertools.chain(*under.values())]
    # Whole rounds of seeds, so that an interrupted benchmark has every design.
    candidates = [
        Candidate(0, design, fidelity, seed) for fidelity, seeds in asked for seed in range(seeds) for design in designs
    ]
    spec = spec_of(options.data)
    evaluations = trained(spec, options.home, candidates)
    values = {
        (fidelity.epochs, design): [
            evaluation.metrics[spec.metric]
            for evaluation in evaluations
            if evaluation.status == "done"
            and (evaluation.candidate.fidelity, evaluation.candidate.design) == (fidelity, design)
        ]
        for fidelity, _ in asked
        for design in designs
    }
    heads = [f"{fidelity.epochs} epochs" for fidelity, _ in asked]
    print(f"\n| design | {' | '.join(heads)} |\n|{' --- |' * (1 + len(heads))}")
    for design in designs:
        print(f"| `{design}` | {' | '.join(written(values[fidelity.epochs, design]) for fidelity, _ in asked)} |")
    for merge, mine in under.items():
        compared = [*single, *mine]
        means = [[float(np.mean(values[fidelity.epochs, design])) for design in compared] for fidelity, _ in asked]
        best = compared[int(np.argmax(means[-1]))]
        ranked = f"tau {tau_interval(*map(np.array, means))}, " if len(means) > 1 else ""
        print(f"{merge}: {ranked}best of the {heads[-1]}: {best}")


def written(values: list[float]) -> str:
    """Mean of the seeds, and their range."""
    return "–" if not values else f"{np.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})"


if __name__ == "__main__":
    main()
