"""Trains an exported configuration in full: `python -m piip_workers.train config.py --work-dir work`."""

import atexit
import os
import sys

from piip_workers.tasks.detection.full_training import main

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
