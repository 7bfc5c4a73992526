"""Trains an exported configuration in full: `python -m piip_workers.train config.py --work-dir work`.

The same as mmdet's own tools/train.py, for installations with nothing compiled.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from piip_workers.openmmlab import install


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the training; 2 where the configuration cannot be used."""
    install()
    from mmengine.config import Config, DictAction
    from mmengine.runner import Runner

    parser = argparse.ArgumentParser(
        prog="python -m piip_workers.train", description="Train an exported configuration."
    )
    parser.add_argument("config", help="configuration that piip-search exported")
    parser.add_argument("--work-dir", default="work", help="folder of checkpoints and logs")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the work folder")
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm", "mpi"), default="none")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE", help="settings to change")
    options = parser.parse_args(arguments)
    if not Path(options.config).is_file():
        print(f"error: no configuration {options.config}; piip-search export writes one", file=sys.stderr)
        return 2
    config = Config.fromfile(options.config)
    config.merge_from_dict(options.cfg_options or {})
    config.work_dir, config.resume, config.launcher = options.work_dir, options.resume, options.launcher
    Runner.from_cfg(config).train()
    return 0


if __name__ == "__main__":
    sys.exit(main())
