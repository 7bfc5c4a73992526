"""Starts full trainings, in this process or with one process a GPU."""

import subprocess
import sys
from collections.abc import Sequence

import torch

GRACE = 10.0
"""Seconds that interrupted processes have to end; each may be writing a checkpoint."""


def gpus_here() -> int:
    """Number of GPUs of this machine."""
    return torch.cuda.device_count()


def train(arguments: Sequence[str], gpus: int = 1) -> int:
    """Runs `piip_workers.train` and returns its exit code.

    Args:
        arguments: Command line of `piip_workers.train`.
        gpus: Number of processes that train together on this machine, each with its own GPU.
    """
    if gpus == 1:
        from piip_workers.train import main

        return main(arguments)
    with subprocess.Popen(command(arguments, gpus)) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:  # not after a Ctrl-C, which the processes receive as well
                process.terminate()
            raise


def command(arguments: Sequence[str], gpus: int) -> list[str]:
    """The command line for several processes."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus)]
    return [*torchrun, "-m", "piip_workers.train", *arguments, "--launcher", "pytorch"]
