"""Trains an exported design in full: `python -m piip_workers.train config.py --work-dir work`.

The folder of the file says which task the design is for; the worker of that task reads the command line.
"""

import atexit
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from piip_search.export import Provenance
from piip_search.export.provenance import PROVENANCE
from piip_search.tasks import default_task
from piip_workers.tasks import worker_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the training; returns 2 for errors that a user can fix."""
    return worker_of(_task_of(sys.argv[1:] if arguments is None else arguments)).train(arguments)


def _task_of(arguments: Sequence[str]) -> str:
    """The task of the first file among some arguments; the first task for a folder without provenance."""
    folder = next((Path(one).parent for one in arguments if Path(one).is_file()), None)
    known = folder is not None and (folder / PROVENANCE).is_file()
    return (Provenance.read(folder).task if known and folder is not None else None) or default_task()


if __name__ == "__main__":
    code = main()
    if "LOCAL_RANK" in os.environ:
        # In a distributed training, torch's threads may outlive the interpreter. Its end then aborts a training that
        # is complete ("terminate called without an active exception").
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
