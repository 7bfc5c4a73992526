"""Trains an exported configuration in full: `python -m piip_workers.train config.py --work-dir work`."""

import sys

from piip_workers.tasks.detection.full_training import main

if __name__ == "__main__":
    sys.exit(main())
