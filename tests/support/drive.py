"""Drives a search with instant evaluations on a Ray cluster, as `piip-search run` does, and prints what came of it.

    python tests/support/drive.py \\
        '{"address": ..., "folder": ..., "spec": ..., "function": "support.fakes:measure", "settings": {}}'
"""

import json
import sys
from pathlib import Path

from piip_search.api.runners import placement_of
from piip_search.config import parse_spec
from piip_search.ledger import Ledger
from piip_search.search.search import open_search
from piip_workers.jobs.job import Work
from piip_workers.runners import ray_cluster, ray_tune


def main(options: dict) -> None:
    folder, spec = Path(options["folder"]), parse_spec(options["spec"])
    ray_cluster.connect(options["address"])
    placement = placement_of(spec)
    nodes = ray_cluster.Nodes(placement.least, folder, options.get("packages", ()))
    nodes.check()
    search = open_search("run", spec, Ledger(f"sqlite:///{folder}/ledger.db"), "recipe")
    work = Work(options["function"], options["settings"], str(folder / "results"), options.get("share", ""))
    ray_tune.run(search, work, folder / "ray", lambda: None, placement, nodes, print)
    found = {
        "evaluations": {e.candidate.number: [e.candidate.design.name, e.status] for e in search.evaluations},
        "ending": search.ending,
        "running": len(search.running),
        "client": ray_cluster.is_client(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
