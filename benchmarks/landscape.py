"""A simulation on what PIIP's authors published: does the search find better designs than they chose by hand?

python benchmarks/landscape.py --seeds 20 --trials 60

The landscape is a formula for box AP with nine coefficients, fitted to the published rows of plain ViTs (Mask R-CNN,
COCO). It is no measurement: it says nothing of what the papers did not vary, such as windows on their own. What it is
for is to see whether a search finds what such a landscape hides, over all designs of the shipped COCO space, under the
papers' noise of 0.1 AP. That models should shrink as images grow is nowhere in the formula.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from scipy.optimize import least_squares
from scipy.stats import wilcoxon

from piip_search.architecture import Architecture
from piip_search.architecture.backbones import backbone_named
from piip_search.architecture.design import as_architecture
from piip_search.architecture.published import Published, published_designs
from piip_search.config import SearchSpec, load_spec, parse_spec
from piip_search.config.shipped import find_space
from piip_search.cost import price
from piip_search.search.feasible import feasible_designs
from piip_search.search.samplers.sampler import make_sampler

NOISE = 0.1
"""Standard deviation of one training's AP: twelve published designs that were trained twice differ by 0.15."""
MODELS = ("vit_t", "vit_s", "vit_b", "vit_l")
TYPICAL = np.array([2.0, 1.0, 1.0, 2.0, 1.0, 1.0, 2.0, 0.2])
"""Where coefficients are drawn to, weakly, where rows do not tell them apart."""
MOST = np.array([60.0, 10.0, 10.0, 10.0, 10.0, 8.0, 8.0, 5.0, 3.0])
STARTS = 8
Landscape = Callable[[Architecture], float]
Facts = tuple[np.ndarray, np.ndarray, float, float]


def facts_of(design: Architecture) -> Facts:
    """Of each branch octaves of its model's size beyond a ViT-T and of its image beyond 224 px (beyond 1700 px nothing
    is gained, Table 12); how far interactions are used, which saturate (Table 9); octaves of the largest model's window
    beyond 14 tokens."""
    models = [backbone_named(branch.backbone) for branch in design.branches]
    sizes_B = np.array([np.log2(model.width / 192) + np.log2(model.depth / 12) for model in models])
    octaves_B = np.array([np.log2(min(branch.resolution, 1700) / 224) for branch in design.branches])
    used = 1 - 2 ** (-design.interaction.count / 3) if len(models) > 1 else 0.0
    first = design.branches[0]
    side = first.resolution / 16
    window = side if first.window is None else min(first.window, side)
    return sizes_B, octaves_B, used, float(np.log2(max(window, 14) / 14))


def average_precision(coefficients: np.ndarray, facts: Facts) -> float:
    """What sees detail plus what understands, each mostly that of the branch that is best at it.

    AP = c + soft max over branches of (a octaves + b size) + soft max over branches of (d octaves + e size)
    + g interactions + h window, where soft max with temperature t is t log sum exp(x / t).
    """
    sizes_B, octaves_B, used, window = facts
    base, detail, detail_size, meaning, meaning_size, hot, cold, shared, seen = coefficients

    def soft(values_B: np.ndarray, temperature: float) -> float:
        return float(temperature * np.log(np.exp(values_B / temperature).sum()))

    best_detail = soft(detail * octaves_B + detail_size * sizes_B, hot)
    best_meaning = soft(meaning * octaves_B + meaning_size * sizes_B, cold)
    return float(base + best_detail + best_meaning + shared * used + seen * window)


def evidence() -> list[Published]:
    """Published rows that the landscape is about: plain ViTs, deformable interactions in both directions."""
    return [
        row
        for row in published_designs()
        if row.task == "detection"
        and "box AP" in row.metrics
        and not row.id.startswith("det_cnx")
        and all(branch.backbone in MODELS for branch in row.architecture.branches)
        and row.architecture.interaction.attention == "deformable"
        and row.architecture.interaction.direction == "both"
        and row.id != "det_t7_b_ms"  # another recipe
    ]


def fitted(rows: Sequence[Published]) -> Landscape:
    """Least squares from several starts, no coefficient negative."""
    facts = [facts_of(row.architecture) for row in rows]
    targets = [row.metrics["box AP"] for row in rows]

    def misses(coefficients: np.ndarray) -> np.ndarray:
        left = [average_precision(coefficients, one) - target for one, target in zip(facts, targets, strict=True)]
        return np.concatenate([left, 0.03 * (coefficients[1:] - TYPICAL)])

    random = np.random.default_rng(0)
    least = np.where(np.isin(np.arange(9), (5, 6)), 0.1, 0.0)  # temperatures are positive
    starts = [np.append(30.0, TYPICAL) * random.uniform(0.5, 1.5, 9) for _ in range(STARTS)]
    best = min((least_squares(misses, start, bounds=(least, MOST)) for start in starts), key=lambda found: found.cost)
    return lambda design: average_precision(best.x, facts_of(design))


TABLE_7 = {
    "direct (published 42.6)": "vit_b@896:w14g3+vit_s@672:w14+vit_t@448:w14*12",
    "equal (44.6)": "vit_b@896:w14+vit_s@896:w14+vit_t@896:w14*12",
    "inverted (46.6)": "vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12",
}


@cache
def landscape() -> Landscape:
    return fitted(evidence())


def left_out_errors() -> tuple[float, float]:
    """Root mean square error on rows of designs that were left out: of the landscape, and of a line in log MACs."""
    rows = evidence()
    errors: list[tuple[float, float]] = []
    for row in rows:
        others = [other for other in rows if other.architecture != row.architecture]
        costs = np.log([other.gmacs for other in others])
        line = np.polyfit(costs, [other.metrics["box AP"] for other in others], 1)
        truth = row.metrics["box AP"]
        errors.append((fitted(others)(row.architecture) - truth, np.polyval(line, np.log(row.gmacs)) - truth))
    first, second = np.sqrt((np.array(errors) ** 2).mean(0))
    return float(first), float(second)


def space_of(inverted: bool) -> SearchSpec:
    """The shipped COCO space with the published merge, or a coarser one in which any image may go to any model."""
    content = load_spec(find_space("coco")).model_dump(mode="json")
    content["space"] |= {"merges": ["conv"]}
    if inverted:
        return parse_spec(content)
    content["space"] |= {
        "pairing": "free",
        "branches": [2, 3],
        "windows": [14],
        "interactions": [0, 4, 12],
        "resolutions": [224, 448, 672, 896, 1120, 1344, 1568],
    }
    return parse_spec(content)


def searched(name: str, spec: SearchSpec, space: object, designs: object, trials: int, seed: int) -> list[Architecture]:
    """What a sampler proposes when it is told noisy values of the landscape."""
    random = np.random.default_rng([seed, 7])
    sampler = make_sampler(name, space, designs, trials, seed, spec.bounds.tiers)  # type: ignore[arg-type]
    found: list[Architecture] = []
    for _ in range(trials):
        suggestion = sampler.ask()
        if suggestion is None:
            break
        design = as_architecture(suggestion.design)
        found.append(design)
        value = landscape()(design) + NOISE * random.standard_normal()
        sampler.tell(design, [1 - value / 100, price(design, spec.limit.convention).gmacs])
    return found


def inversion(design: Architecture) -> float:
    """1 where every smaller model sees a larger image, -1 where every larger one does: the mean over pairs of branches.

    Pairs of equal models or equal images count as 0.
    """
    pairs = list(itertools.combinations(design.branches, 2))
    signs = [
        np.sign(backbone_named(one.backbone).width - backbone_named(other.backbone).width)
        * np.sign(other.resolution - one.resolution)
        for one, other in pairs
    ]
    return float(np.mean(signs)) if pairs else 0.0


def front_of(designs: Sequence[Architecture], spec: SearchSpec) -> list[tuple[float, float, Architecture]]:
    """Cost, true value and design of the front."""
    rows = sorted(((price(d, spec.limit.convention).gmacs, -landscape()(d), d) for d in designs), key=lambda r: r[:2])
    front: list[tuple[float, float, Architecture]] = []
    for gmacs, negative, design in rows:
        if not front or -negative > front[-1][1]:
            front.append((gmacs, -negative, design))
    return front


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--samplers", default="piip,tpe,nsga2,random")
    parser.add_argument("--draws", type=int, default=100_000, help="designs from which the best of a tier is known")
    options = parser.parse_args()
    ours, macs = left_out_errors()
    compared = {name: landscape()(Architecture.parse(text)) for name, text in TABLE_7.items()}
    print(f"landscape of {len(evidence())} rows; error on rows left out {ours:.2f} AP, of MACs alone {macs:.2f}")
    print("Table 7, AP at about 460 G: " + ", ".join(f"{name} {value:.1f}" for name, value in compared.items()))
    for inverted in (True, False):
        spec = space_of(inverted)
        space, designs = feasible_designs(spec)
        tiers = spec.bounds.tiers
        random = np.random.default_rng(0)
        drawn = [space.decode(designs.rows_ND[i]) for i in random.permutation(len(designs))[: options.draws]]
        known = front_of(drawn, spec)
        print(
            f"\n{len(designs):,} designs, {'inverted' if inverted else 'any pairing'}, up to {tiers[-1]:g} G; "
            f"{options.seeds} seeds, {options.trials} trials",
            flush=True,
        )
        chosen = [
            row.architecture for row in evidence() if price(row.architecture, spec.limit.convention).gmacs <= tiers[-1]
        ]
        published = front_of(chosen, spec)
        results: dict[str, list[list[float]]] = {}
        for name in options.samplers.split(","):
            rows = []
            for seed in range(options.seeds):
                started = time.perf_counter()
                found = searched(name, spec, space, designs, options.trials, seed)
                seconds = (time.perf_counter() - started) / len(found)
                row: list[float] = []
                for count in (20, options.trials):
                    front = front_of(found[:count], spec)
                    row.append(
                        sum(any(g <= gmacs and value > best for g, value, _ in front) for gmacs, best, _ in published)
                    )
                    for tier in tiers:
                        best = max(value for gmacs, value, _ in known if gmacs <= tier)
                        row.append(best - max([v for g, v, _ in front if g <= tier], default=0.0))
                row.append(statistics.fmean(inversion(design) for _, _, design in front_of(found, spec)))
                row.append(seconds)
                rows.append(row)
            results[name] = rows
        measures = [
            f"{what}@{count}"
            for count in (20, options.trials)
            for what in (f"of {len(published)} published designs beaten", *(f"regret {tier:g}" for tier in tiers))
        ]
        measures += ["inversion on the front", "seconds an ask"]
        print(f"\n| measure | {' | '.join(results)} | p, against the best peer |")
        print("|" + " --- |" * (len(results) + 2))
        for place, measure in enumerate(measures):
            values = {name: [row[place] for row in rows] for name, rows in results.items()}
            cells = " | ".join(_shown(found) for found in values.values())
            print(f"| {measure} | {cells} | {_against(values, measure)} |")
        share = statistics.fmean(inversion(design) for design in drawn[:5000])
        print(f"\ninversion of legal designs drawn at random: {share:.2f}")


def _shown(values: Sequence[float]) -> str:
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], method="inverted_cdf")
    return f"{middle:.3g} ({low:.3g}-{high:.3g})"


def _against(values: dict[str, list[float]], measure: str) -> str:
    if "piip" not in values or len(values) < 2 or not ("regret" in measure or "beaten" in measure):
        return ""
    sign = -1 if "beaten" in measure else 1
    peers = {name: sign * np.array(found) for name, found in values.items() if name != "piip"}
    best = min(peers, key=lambda name: float(np.median(peers[name])))
    differences = sign * np.array(values["piip"]) - peers[best]
    if not differences.any():
        return f"{best}: equal"
    return f"{best}: {'better' if differences.mean() < 0 else 'worse'}, {wilcoxon(differences).pvalue:.2g}"


if __name__ == "__main__":
    main()
