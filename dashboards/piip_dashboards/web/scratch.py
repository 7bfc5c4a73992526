"""Temporary folders of a dashboard."""

import shutil
import tempfile
import weakref
from pathlib import Path


class ScratchFolder:
    """A temporary folder that is made at its first use, and removed with this object at the latest."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._folder: Path | None = None
        self._remove: weakref.finalize[..., ScratchFolder] | None = None

    @property
    def path(self) -> Path:
        """The folder, which only this user may read."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix=self._prefix))
            # Also at the end of a process that never closes it.
            self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder

    def close(self) -> None:
        """Removes the folder; a later use makes another one."""
        if self._remove is not None:
            self._remove()
        self._folder = self._remove = None
