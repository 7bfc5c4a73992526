"""What it costs to go on with a long search: seconds and memory until its first new proposal.

python benchmarks/resume.py --evaluations 5000,15000,100000 --samplers random,piip

Each ledger is made first: designs of the COCO space in a random order, as a search of random designs has them, each
with an evaluation. It is opened in a process of its own. `CPU` is the processor time from the ledger to the first new
proposal. `seconds` is its wall time, in three parts: the enumeration of the space, which depends on the space alone,
the replay, and the proposal. `MiB` is the largest resident memory of the process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RUN = "long"
RECIPE = "recipe"


def spec_of(sampler: str, evaluations: int) -> Any:
    """The COCO space with the published merge, for one more trial than are recorded."""
    from piip_search.config import load_spec

    spec = load_spec(ROOT / "search_spaces" / "coco.yaml")
    budget = spec.budget.model_copy(update={"trials": evaluations + 1})
    space = spec.space.model_copy(update={"merges": ("conv",)})
    return spec.model_copy(update={"sampler": sampler, "budget": budget, "space": space})


def make(file: Path, sampler: str, evaluations: int) -> None:
    """A ledger of a search that ended so many evaluations, through the ledger's own writer."""
    from sqlalchemy import event

    from piip_search.evaluation.evaluation import Candidate, Evaluation
    from piip_search.evaluation.reason import Reason
    from piip_search.ledger import Ledger
    from piip_search.search.feasible import feasible_designs

    spec = spec_of(sampler, evaluations)
    space, designs = feasible_designs(spec)
    chosen = np.random.default_rng(0).permutation(len(designs))[:evaluations]
    ledger = Ledger(f"sqlite:///{file}")
    # A crash may lose this file, which only this benchmark needs: nothing waits for the disk.
    event.listen(ledger.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    ledger.engine.dispose()
    ledger.start(RUN, spec.question, RECIPE, spec.model_dump(mode="json"))
    for number, index in enumerate(chosen):
        design = space.decode(designs.rows_ND[index])
        candidate = Candidate(number, design, spec.rungs[-1], spec.seed, reason=Reason("uniform"))
        pixels = sum(branch.resolution for branch in design.branches)
        history = tuple({"epoch": float(epoch), "loss": 2.0 / epoch} for epoch in range(1, 7))
        metrics = {"bbox_mAP": pixels / (pixels + 2000)}
        ledger.propose(RUN, candidate, RECIPE)
        ledger.accept(RUN, Evaluation(candidate, "done", metrics, seconds=60.0, history=history), RECIPE)
    ledger.close()


def measure(file: Path, sampler: str, evaluations: int) -> dict[str, Any]:
    """One opening, in this process."""
    from piip_search.ledger import Ledger
    from piip_search.search.feasible import feasible_designs
    from piip_search.search.search import open_search

    spec = spec_of(sampler, evaluations)
    began, processor = time.perf_counter(), time.process_time()
    feasible_designs(spec)
    enumerated = time.perf_counter()
    ledger = Ledger(f"sqlite:///{file}")
    search = open_search(RUN, spec, ledger, RECIPE)
    opened = time.perf_counter()
    assert search.replayed == evaluations
    candidate = search.propose()
    assert candidate is not None
    ended = time.perf_counter()
    processor = time.process_time() - processor
    ledger.close()
    return {
        "sampler": sampler,
        "evaluations": evaluations,
        "CPU": processor,
        "seconds": ended - began,
        "enumeration": enumerated - began,
        "replay": opened - enumerated,
        "proposal": ended - opened,
        "MiB": peak_mib(),
        "proposed": candidate.design.name,
    }


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evaluations", default="5000,15000,100000")
    parser.add_argument("--samplers", default="random,piip")
    parser.add_argument("--ledgers", type=Path, help="folder that keeps the ledgers; by default they are removed")
    parser.add_argument("--one", nargs=3, metavar=("FILE", "SAMPLER", "EVALUATIONS"), help="one opening, as JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(Path(options.one[0]), options.one[1], int(options.one[2]))))
        return
    with tempfile.TemporaryDirectory(prefix="piip-resume-") as name:
        folder = options.ledgers or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        rows = [
            opened(folder / f"{sampler}-{count}.db", sampler, count)
            for count in map(int, options.evaluations.split(","))
            for sampler in options.samplers.split(",")
        ]
    print("\n| sampler | evaluations | CPU | seconds | enumeration | replay | proposal | MiB |\n|" + " --- |" * 8)
    for row in rows:
        seconds = " | ".join(f"{row[part]:.1f} s" for part in ("CPU", "seconds", "enumeration", "replay", "proposal"))
        print(f"| {row['sampler']} | {row['evaluations']:,} | {seconds} | {row['MiB']:,.0f} |")


def opened(file: Path, sampler: str, evaluations: int) -> dict[str, Any]:
    """One opening, in a process of its own; the ledger is made before the first."""
    if not file.exists():
        make(file, sampler, evaluations)
    paths = os.pathsep.join(str(ROOT / part) for part in (".", "workers", "dashboards"))
    command = [sys.executable, "-W", "ignore", __file__, "--one", str(file), sampler, str(evaluations)]
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if ended.returncode:
        sys.exit(ended.stderr)
    row: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()
