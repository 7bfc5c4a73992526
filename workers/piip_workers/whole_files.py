"""Files that are written whole or not at all."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Writes a text; who reads the file meanwhile, or after a process was killed, finds the old one or the new one."""
    with draft_of(path) as draft:
        draft.write_text(text, encoding="utf-8")


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A file that takes the place of another one once it is written; after an error it is removed.

    Its name is this process's own, so that several processes, on several machines too, may write the same file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
