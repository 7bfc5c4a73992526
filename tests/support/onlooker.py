"""Another user of this machine who looks for a text: in the list of processes, in their environments, in a folder.

The text and the folder come from stdin; as long as it is open the processes are watched. The places go to stdout.
"""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NOBODY = 65534


@contextmanager
def looked_for(text: str, folder: Path) -> Iterator[list[str]]:
    """Lets another user look for a text; the list has its places once the context ends. Needs root."""
    found: list[str] = []
    # The environment of the test may hold the text, and an onlooker could read it in the processes of another one.
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert process.stdin is not None
    process.stdin.write(f"{text}\n{folder}\n")
    process.stdin.flush()
    try:
        yield found
    finally:
        answer, _ = process.communicate()
        found += json.loads(answer)


def places(text: str, folder: Path) -> set[str]:
    """Places of a text, until stdin ends."""
    found, begun = set[str](), False
    while not begun or not select.select([0], [], [], 0.05)[0]:
        begun = True
        if text in subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout:
            found.add("ps axww")
        found |= {str(path) for path in Path("/proc").glob("[0-9]*/environ") if _holds(path, text)}
    return found | {str(path) for path in folder.rglob("*") if path.is_file() and _holds(path, text)}


def _holds(path: Path, text: str) -> bool:
    with suppress(OSError):
        return text.encode() in path.read_bytes()
    return False


if __name__ == "__main__":
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    wanted, place = os.read(0, 10_000).decode().splitlines()
    print(json.dumps(sorted(places(wanted, Path(place)))))
