"""Writes the folder of an export: configurations, the architecture as data, and a README about training."""

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from piip_search.architecture import Architecture
from piip_search.errors import ExportError
from piip_search.export import provenance
from piip_search.export.readme import readme
from piip_search.export.request import NETWORK_FORMATS, Export
from piip_search.file_paths import located

ARCHITECTURE = "architecture.yaml"
"""File with the design as data."""
README = "README.md"
"""File about the contents of the folder and their use."""
WEIGHTS = "weights.pth"
"""File with a training's starting weights."""
PROOF = "proof.json"
"""File with the proof of the export."""
PROOF_LOG = "proof.log"
"""File with the output of libraries during the proof."""
PLAIN_TEXT = re.compile(r"[^'\"\\{}\x00-\x1f\x7f]+")
EXPORT_FILES = (ARCHITECTURE, README, WEIGHTS, PROOF, PROOF_LOG, provenance.PROVENANCE, *NETWORK_FORMATS)
"""Files and folders of an export, besides those of a task's own format."""


@contextmanager
def prepared_folder(folder: Path, files: Collection[str]) -> Iterator[None]:
    """Creates the folder, or removes the files of an earlier export from it, and keeps other exports out meanwhile.

    Args:
        folder: Folder of the export.
        files: Files of the task's own format.

    Raises:
        ExportError: The folder has other content, such as a training, or another process exports into it.
    """
    _check_folder(folder, files)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder):
        _check_folder(folder, files)
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield


def _check_folder(folder: Path, files: Collection[str]) -> None:
    if not PLAIN_TEXT.fullmatch(str(folder.resolve())):
        raise ExportError(
            f"{str(folder)!r}: mmengine writes the folder's path into the configuration that it runs; name one without "
            "quotes, backslashes, braces and characters that cannot be printed"
        )
    if folder.exists() and not folder.is_dir():
        raise ExportError(f"{located(folder)} is a file; name a folder for the export")
    other = sorted({path.name for path in folder.iterdir()} - {*EXPORT_FILES, *files}) if folder.is_dir() else []
    if other:
        raise ExportError(
            f"{located(folder)} holds other files ({', '.join(other[:3])}); name a new folder, or that of an earlier "
            "export"
        )


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Locks a folder while a block runs; the lock ends with the process. A file system without locks has none."""
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ExportError(
                f"another process exports into {located(folder)} at this moment; wait for its end, or name another one"
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EBADF):
                raise
        yield
    finally:
        os.close(held)


def write_export(export: Export, folder: Path) -> None:
    """Writes all files that need no network: configurations, architecture, provenance and README."""
    for name, text in export.plan.files(export).items():
        (folder / name).write_text(text, encoding="utf-8")
    content = yaml.safe_dump(architecture_content(export), sort_keys=False, allow_unicode=True)
    (folder / ARCHITECTURE).write_text(content, encoding="utf-8")
    if export.provenance is not None:
        export.provenance.write(folder)
    (folder / README).write_text(readme(export), encoding="utf-8")


def architecture_content(export: Export) -> dict[str, Any]:
    """The design as data: its description, input, and costs under every convention."""
    architecture = export.architecture
    width, height = export.box
    return {
        "architecture": architecture.name,
        "fingerprint": architecture.fingerprint,
        **architecture.to_dict(),
        "image": {"side": architecture.resolution, "fitted_into": [width, height], "multiple": architecture.multiple},
        "cost": {
            name: {"macs": cost.macs, "params": cost.params, "gmacs": cost.gmacs, "mparams": cost.mparams}
            for name, cost in export.costs.items()
        },
    }


def read_architecture(folder: Path) -> Architecture:
    """The design of an export.

    Raises:
        ExportError: The folder is no export.
    """
    path = folder / ARCHITECTURE
    if not path.is_file():
        raise ExportError(
            f"{located(folder)} is no export: it has no {ARCHITECTURE}; write one with piip-search export"
        )
    return Architecture.from_dict(yaml.safe_load(path.read_text(encoding="utf-8")))
