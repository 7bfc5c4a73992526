"""Memory that runs out, as far as Ray's memory monitor sees it: the machine keeps what it needs."""

import subprocess
import sys
import time
from collections.abc import Callable

import psutil

GIB = 2**30
ROOM, BEYOND = 2.0, 2.0
"""GiB that may be taken before the monitor kills, and how many more are taken at most."""
LEFT = 1.0
"""GiB that the machine keeps free in any case."""
PIECE = 0.25
WAIT = 15.0
"""Seconds within which the monitor has killed, once everything is taken."""
HOG = f"""
import sys
taken = []
for _ in sys.stdin:
    taken.append(b"x" * {int(PIECE * GIB)})
    print(flush=True)
"""
"""Takes a piece for each line that it is given, and gives all of it back when it ends."""


def memory_monitor(room: float = ROOM) -> dict[str, str]:
    """Variables with which a Ray node kills trials once so many GiB more than now are in use."""
    memory = psutil.virtual_memory()
    used = (memory.total - memory.available + room * GIB) / memory.total
    return {"RAY_memory_usage_threshold": f"{min(used, 0.95):.4f}", "RAY_memory_monitor_refresh_ms": "100"}


def fill_memory(ended: Callable[[], bool], room: float = ROOM) -> bool:
    """Takes memory, piece by piece, until something has ended.

    Args:
        ended: Whether it has.
        room: That of `memory_monitor`.

    Returns:
        Whether it has.
    """
    with subprocess.Popen([sys.executable, "-c", HOG], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as hog:
        assert hog.stdin is not None
        assert hog.stdout is not None
        for _ in range(int((room + BEYOND) / PIECE)):
            if psutil.virtual_memory().available < (LEFT + PIECE) * GIB:
                break
            hog.stdin.write(b"\n")
            hog.stdin.flush()
            hog.stdout.readline()
            time.sleep(0.1)  # the monitor looks as often
            if ended():
                break
        deadline = time.monotonic() + WAIT
        while not ended() and time.monotonic() < deadline:
            time.sleep(0.1)
        hog.kill()
        return ended()
