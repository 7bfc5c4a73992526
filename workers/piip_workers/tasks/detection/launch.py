"""Starts full trainings: in this process, or one process a GPU."""

import subprocess
import sys
from collections.abc import Sequence

import torch

GRACE = 10.0
"""Seconds within which processes end that a Ctrl-C interrupted; each may be writing a checkpoint."""


def gpus_here() -> int:
    """GPUs of this machine."""
    return torch.cuda.device_count()


def train(arguments: Sequence[str], gpus: int = 1) -> int:
    """Runs `piip_workers.train` and gives its exit code.

    Args:
        arguments: Its command line.
        gpus: How many processes train together on this machine, each with a GPU of its own.
    """
    if gpus == 1:
        from piip_workers.tasks.detection.full_training import main

        return main(arguments)
    with subprocess.Popen(command(arguments, gpus)) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:  # not by Ctrl-C, which the processes get as well
                process.terminate()
            raise


def command(arguments: Sequence[str], gpus: int) -> list[str]:
    """The command line of several processes."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus)]
    return [*torchrun, "-m", "piip_workers.train", *arguments, "--launcher", "pytorch"]
