"""How fast the pages of a large search answer, alone and while many downloads run.

    python benchmarks/dashboard.py --evaluations 15000 --downloads 40
    python benchmarks/dashboard.py --evaluations 100000 --downloads 0

A ledger of one search is filled without training, in a temporary folder or in `--home`, which is used again. A
dashboard serves it in a process of its own. Printed are the time of the first reading, of each page alone (the first
visit, and the median of three more), of the first download and of all downloads at once. Other pages are asked
meanwhile, one by one: the median and the longest answer. The last line has the dashboard's highest memory.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RUN = "large"
SPACE: dict[str, Any] = {
    "name": RUN,
    "sampler": "random",
    "space": {
        "backbones": ["vit_t", "vit_s", "vit_b", "vit_l"],
        "resolutions": [224, 336, 448, 560, 672, 784, 896, 1120, 1344, 1568],
        "windows": [14, 28],
        "interactions": [0, 3, 6, 12],
        "branches": [1, 2, 3],
    },
    "limit": {"gmacs": [250, 500, 1000, 1500]},
    "data": {"embedded": "digits"},
    "fidelity": {"epochs": 18},
    "resources": {"cpu": 8, "gpu": 1},
}
MOST_DESIGNS = 400_000
"""Most designs that are drawn; further evaluations are other seeds of the first ones."""
OTHER_PAGES = ("/part/searches", f"/search/{RUN}/part/summary", "/api/versions")
PAGES = (
    "/",
    "/part/searches",
    "/api/searches",
    f"/search/{RUN}",
    *(f"/search/{RUN}/part/{part}" for part in ("summary", "axes", "fronts", "rungs", "workers", "effects", "health")),
    f"/api/searches/{RUN}/designs",
    f"/api/searches/{RUN}/progress",
    f"/search/{RUN}/choose",
    "/api/versions",
)


def fill(home: Path, count: int) -> None:
    """Writes a search with that many evaluations, in two statements a thousand."""
    from sqlalchemy import insert

    from piip_search.config import parse_spec
    from piip_search.evaluation.evaluation import Candidate, Fidelity
    from piip_search.evaluation.reason import Reason
    from piip_search.ledger import Ledger
    from piip_search.ledger.tables import EvaluationRow, ProposalRow

    spec = parse_spec({**SPACE, "budget": {"trials": 2 * count}})
    ledger = Ledger(f"sqlite:///{home}/ledger.db")
    ledger.start(RUN, spec.question, "recipe", spec.model_dump(mode="json"))
    ledger.close()
    ledger = Ledger(f"sqlite:///{home}/ledger.db")
    reason = Reason(source="uniform")
    random, began = np.random.default_rng(0), datetime.now(UTC) - timedelta(days=10)
    space, fidelity = spec.search_space, Fidelity(epochs=18)
    rows_ND = np.unique(space.sample(min(2 * count, MOST_DESIGNS), 0), axis=0)
    drawn = [space.decode(row_D) for row_D in random.permutation(rows_ND)[:count]]
    designs = [drawn[number % len(drawn)] for number in range(count)]
    with ledger.engine.begin() as connection:
        for first in range(0, count, 1000):
            proposals, evaluations = [], []
            for number, design in enumerate(designs[first : first + 1000], first):
                candidate = Candidate(number, design, fidelity, number // len(drawn), reason=reason)
                at = began + timedelta(seconds=5 * number)
                pixels = sum(branch.resolution**2 for branch in design.branches) ** 0.5
                value = 0.6 * pixels / (pixels + 400) + float(random.normal(0, 0.01))
                shared = {"search_id": 1, "number": number, "key": candidate.key("recipe"), "sitting": 1}
                proposals.append(
                    {
                        **shared,
                        "position": 2 * number + 1,
                        "architecture": design.name,
                        "fingerprint": design.fingerprint,
                        "candidate": candidate.to_dict(),
                        "costs": {},
                        "proposed_at": at,
                    }
                )
                metrics = {"bbox_mAP": value, "bbox_mAP_50": 1.5 * value, "bbox_mAP_s": 0.4 * value}
                evaluations.append(
                    {
                        **shared,
                        "position": 2 * number + 2,
                        "status": "done",
                        "metrics": metrics,
                        "error": "",
                        "seconds": 900.0,
                        "history": [{"epoch": epoch + 1.0, "loss": 2.0 / (epoch + 1) ** 0.4} for epoch in range(18)],
                        "facts": {"host": f"node-{number % 3}", "training": candidate.training},
                        "finished_at": at + timedelta(seconds=4),
                        "host": f"node-{number % 3}",
                        "gpu_seconds": 900.0,
                    }
                )
            connection.execute(insert(ProposalRow), proposals)
            connection.execute(insert(EvaluationRow), evaluations)
    ledger.close()


class Dashboard:
    """A dashboard in a process of its own."""

    def __init__(self, home: Path) -> None:
        folders = os.pathsep.join(str(ROOT / one) for one in (".", "workers", "dashboards"))
        words = [sys.executable, "-u", "-m", "piip_search.cli", "dashboard", str(home), "--port", "0", "--no-browser"]
        environment = {**os.environ, "PYTHONPATH": folders}
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        found = re.search(r"(http://\S+)/(?:\?token=(\S+))?", self.process.stdout.readline())
        assert found is not None, "the dashboard printed no address"
        self.address, self.token = found[1], found[2]

    def get(self, path: str, patience: float = 900.0) -> tuple[float, int]:
        """Seconds until a whole answer, and its size."""
        begun = time.perf_counter()
        headers = {"accept-encoding": "gzip", **({"authorization": f"Bearer {self.token}"} if self.token else {})}
        with urllib.request.urlopen(
            urllib.request.Request(self.address + path, headers=headers), timeout=patience
        ) as answer:
            size = len(answer.read())
        return time.perf_counter() - begun, size

    @property
    def peak_mib(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024  # type: ignore[index]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def measure(dashboard: Dashboard, downloads: int) -> None:
    print(f"first list of all searches: {dashboard.get('/part/searches')[0]:.2f} s")
    for page in PAGES:
        first, size = dashboard.get(page)
        later = statistics.median(dashboard.get(page)[0] for _ in range(3))
        print(f"{page:<44} first {first:6.2f} s, then {later:6.3f} s, {size / 1024:8.0f} kB")
    table = f"/api/searches/{RUN}/evaluations.csv"
    if not downloads:
        return
    answers: list[float] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for page in OTHER_PAGES:
                try:
                    answers.append(dashboard.get(page, 20.0)[0])
                except (TimeoutError, urllib.error.URLError):
                    answers.append(20.0)
            time.sleep(0.05)

    with ThreadPoolExecutor(downloads + 1) as threads:
        looking = threads.submit(look)
        begun = time.perf_counter()
        times = list(threads.map(lambda _: dashboard.get(table)[0], range(downloads)))
        whole = time.perf_counter() - begun
        over.set()
        looking.result()
    print(f"{downloads} downloads at once: {whole:.1f} s, each {min(times):.1f} to {max(times):.1f} s")
    median, longest = statistics.median(answers), max(answers)
    print(f"other pages meanwhile: median {median:.2f} s, longest {longest:.2f} s of {len(answers)}")
    print(f"one download afterwards: {dashboard.get(table)[0]:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", type=int, default=15_000)
    parser.add_argument("--downloads", type=int, default=40)
    parser.add_argument("--home", type=Path, help="Folder for the ledger; one that is there is used again.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = options.home or Path(temporary)
        if not (home / "ledger.db").exists():
            home.mkdir(parents=True, exist_ok=True)
            fill(home, options.evaluations)
        dashboard = Dashboard(home)
        try:
            print(json.dumps({"evaluations": options.evaluations, "downloads": options.downloads}))
            measure(dashboard, options.downloads)
            print(f"highest memory: {dashboard.peak_mib} MiB")
        finally:
            dashboard.close()


if __name__ == "__main__":
    main()
