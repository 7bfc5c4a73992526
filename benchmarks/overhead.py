"""What a trial costs besides its training: seconds of a trial that does nothing, against bare Ray Tune.

python benchmarks/overhead.py --trials 100,1000

All run on a Ray of two CPUs that is started for each, two trials at a time, in actors that are used again:

- `Ray Tune`: Tune with a trainable that does nothing, and a searcher that proposes a number at once;
- `without searcher`: the same with configurations that Tune draws itself, before it starts;
- `piip-search`: what `piip-search run` does (searcher, ledger, results folder) with the random sampler, without mirror;
- `with mirror`: the same, mirrored into an MLflow store in the background;
- `sampler piip`: the same without mirror, with the sampler of our own; its share is what it adds.

Time counts from the end of the first trial to that of the last, so that no process start is in it; `first half` and
`second half` tell whether a trial grows dearer the more there are. `mirrored` is when the mirror has all of it.
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

ROOT = Path(__file__).resolve().parents[1]
SPACE: dict[str, Any] = {
    "name": "overhead",
    "space": {
        "backbones": ["vit_t", "vit_s", "vit_b", "vit_l"],
        "resolutions": list(range(224, 1793, 112)),
        "windows": [14, 28],
        "interactions": [0, 2, 4, 6, 12],
        "branches": [1, 2, 3],
    },
    "limit": {"gmacs": [250, 500, 1000, 1500]},
    "data": {"embedded": "digits"},
}
KINDS = ("Ray Tune", "without searcher", "piip-search", "with mirror", "sampler piip")


def nothing(candidate: Any) -> Any:
    """An evaluation at once."""
    from piip_search.evaluation.evaluation import Evaluation

    pixels = sum(branch.resolution for branch in candidate.architecture.branches)
    history = ({"epoch": 1.0, "loss": 2.0}, {"epoch": 2.0, "loss": 1.0})
    return Evaluation(candidate, "done", {"bbox_mAP": pixels / (pixels + 2000)}, seconds=0.0, history=history)


def bare(trials: int, folder: Path, searched: bool) -> list[float]:
    """When each trial of bare Tune ended."""
    import ray
    from ray import tune
    from ray.tune.search import Searcher

    os.environ.update(TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1", RAY_AIR_NEW_OUTPUT="0")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    ends: list[float] = []

    class Ends(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            ends.append(time.monotonic())

    class Nothing(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            pass

        def step(self) -> dict[str, Any]:
            return {"metric": 0.5, "done": True}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            return True

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            pass

        def load_checkpoint(self, checkpoint: Any) -> None:
            pass

    class Numbers(Searcher):
        def suggest(self, trial_id: str) -> dict[str, Any]:
            return {"x": 0.5}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            pass

        def save(self, checkpoint_path: str) -> None:
            pass

        def restore(self, checkpoint_path: str) -> None:
            pass

    algorithm = {"search_alg": Numbers()} if searched else {}
    tune.Tuner(
        tune.with_resources(Nothing, {"cpu": 1}),
        param_space=None if searched else {"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=2, reuse_actors=True, **algorithm),
        run_config=tune.RunConfig(name="bare", storage_path=str(folder), verbose=0, callbacks=[Ends()]),
    ).fit()
    return ends


def ours(kind: str, trials: int, folder: Path) -> tuple[list[float], float]:
    """When each trial of a search ended, and when all of it was mirrored."""
    import ray

    from piip_search.config import parse_spec
    from piip_search.ledger import Ledger
    from piip_search.ledger.environment import circumstances
    from piip_search.search.search import open_search
    from piip_workers.jobs.job import Work
    from piip_workers.runners import ray_tune

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    sampler = "piip" if kind == "sampler piip" else "random"
    spec = parse_spec({**SPACE, "sampler": sampler, "budget": {"trials": trials}})
    mirror = None
    if kind == "with mirror":
        from piip_dashboards.drawing import front_files
        from piip_workers.tracking.background import InBackground
        from piip_workers.tracking.search_run import MlflowTracker

        artifacts = (folder / "artifacts").as_uri()
        mirror = InBackground(
            lambda: MlflowTracker(f"sqlite:///{folder}/mlflow.db", artifacts, front_files), patience=600
        )
    search = open_search(
        spec.name, spec, Ledger(f"sqlite:///{folder}/ledger.db"), "recipe", mirror, circumstances=circumstances()
    )
    ends: list[float] = []

    def changed() -> None:
        if len(search.evaluations) > len(ends):
            ends.append(time.monotonic())

    ray_tune.run(search, Work("overhead:nothing", {}, str(folder / "results")), folder / "ray", changed)
    assert len(search.evaluations) == trials
    return ends, time.monotonic()


def measure(kind: str, trials: int) -> dict[str, Any]:
    """One measurement, in this process."""
    with tempfile.TemporaryDirectory(prefix="piip-overhead-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if kind in KINDS[:2]:
            ends, mirrored = bare(trials, folder, searched=kind == KINDS[0]), 0.0
        else:
            ends, mirrored = ours(kind, trials, folder)
    middle = len(ends) // 2
    return {
        "kind": kind,
        "trials": trials,
        "s a trial": (ends[-1] - ends[0]) / (trials - 1),
        "first half": (ends[middle] - ends[0]) / middle,
        "second half": (ends[-1] - ends[middle]) / (len(ends) - 1 - middle),
        "mirrored": max(0.0, mirrored - ends[-1]) if kind == "with mirror" else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", default="100,1000")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--repeats", type=int, default=1, help="turn about; the fastest of each counts")
    parser.add_argument("--one", nargs=2, metavar=("KIND", "TRIALS"), help="one measurement, as JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], int(options.one[1]))))
        return
    paths = os.pathsep.join(str(ROOT / part) for part in (".", "workers", "dashboards", "benchmarks"))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    counts = [int(count) for count in options.trials.split(",")]
    for _ in range(options.repeats):
        for count in counts:
            for kind in options.kinds.split(","):
                command = [sys.executable, "-W", "ignore", __file__, "--one", kind, str(count)]
                ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
                if ended.returncode:
                    sys.exit(ended.stderr)
                row = json.loads(ended.stdout.splitlines()[-1])
                print(row, flush=True)
                known = rows.get((kind, count))
                if known is None or row["s a trial"] < known["s a trial"]:
                    rows[kind, count] = row
    print("\n| | trials | s a trial | of Ray Tune | first half | second half | mirrored after |\n|" + " --- |" * 7)
    for (kind, count), row in rows.items():
        base = rows.get(("Ray Tune", count))
        ratio = "" if base is None else f"{row['s a trial'] / base['s a trial']:.2f}"
        after = "" if row["mirrored"] is None else f"{row['mirrored']:.1f} s"
        print(
            f"| {kind} | {count} | {row['s a trial']:.3f} | {ratio} | {row['first half']:.3f} | "
            f"{row['second half']:.3f} | {after} |"
        )


if __name__ == "__main__":
    main()
