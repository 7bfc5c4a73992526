"""Programs that a search names, such as a configuration in Python: kept in the ledger, and run only if trusted.

Whoever may write a ledger may name any file in it. So a path of a ledger is no reason to run the file: it has to be
one's own and as it was recorded, or the user has to trust the run. A configuration that only assigns values is no
exception: its `type` may name any function that can be imported, which is called when the model is built.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from piip_search.config import SearchSpec
from piip_search.errors import UserError
from piip_search.ledger.records import KeptFile
from piip_search.own_files import is_own

PROGRAMS_FOLDER = "programs"
"""Folder in a home with programs from ledgers."""
LONGEST = 2**20
"""Most bytes of a program that is kept."""


class KeepsFiles(Protocol):
    """The part of a ledger that keeps files."""

    def keep_file(self, name: str, path: str, content: str) -> KeptFile:
        """Records a file that a search names."""
        ...

    def kept_files(self, name: str) -> Mapping[str, KeptFile]:
        """The files that a search names, by path."""
        ...


def keep_programs(ledger: KeepsFiles, run: str, spec: SearchSpec) -> None:
    """Records the programs that a search names.

    Raises:
        UserError: A program cannot be read.
    """
    for field, path in spec.training.programs.items():
        ledger.keep_file(run, str(path), read_program(f"training.{field}", path))


def read_program(place: str, path: Path) -> str:
    """The text of a program.

    Args:
        place: Setting that names it, for messages.
        path: Its file.

    Raises:
        UserError: It is no readable text file, or too long.
    """
    try:
        if not path.is_file():  # another kind, such as a pipe, might never end
            raise UserError(f"{place}: no file {path}; name an existing configuration")
        with path.open(encoding="utf-8") as file:
            content = file.read(LONGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{place}: {path} cannot be read: {error}; give a readable file") from None
    if len(content) > LONGEST:
        raise UserError(f"{place}: {path} is longer than {LONGEST} characters; give a configuration")
    return content


def with_trusted_programs(ledger: KeepsFiles, run: str, spec: SearchSpec, home: Path, trust: bool) -> SearchSpec:
    """The search of a ledger with programs that may run: one's own, or trusted ones.

    Args:
        ledger: Ledger of the run.
        run: Name of the run.
        spec: Search as the ledger has it.
        home: Home folder, in which a recorded program is written.
        trust: Whether the user trusts the programs of this run.

    Raises:
        UserError: A program is of somebody else, has changed or is missing.
    """
    programs = spec.training.programs
    if not programs:
        return spec
    kept = ledger.kept_files(run)
    files = {
        field: str(_trusted(run, field, path, kept.get(str(path)), home, trust)) for field, path in programs.items()
    }
    return spec.model_copy(update={"training": spec.training.model_copy(update=files)})


def _trusted(run: str, field: str, path: Path, kept: KeptFile | None, home: Path, trust: bool) -> Path:
    """The file to run in the place of a ledger's path."""
    if kept is None:
        if is_own(path) or (trust and path.is_file()):
            return path
        raise UserError(
            f"run {run} names the program {path} (training.{field}), its ledger does not have the content, and the "
            "file is not yours alone to write; read it, and add --trust to run it"
        )
    if hashlib.sha256(kept.content.encode()).hexdigest() != kept.digest:
        raise UserError(
            f"run {run} keeps a content of {path} (training.{field}) that does not fit its digest {kept.digest[:12]}; "
            "the row was changed: see `piip-search ledger verify`"
        )
    if is_own(path) and _digest(path) == kept.digest:
        return path
    if trust:
        return _written(kept, home)
    raise UserError(
        f"run {run} trains with the program {path} (training.{field}), and no file of yours there has the content that "
        f"the ledger recorded ({kept.digest[:12]}); read it, and add --trust to run what is recorded"
    )


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _written(kept: KeptFile, home: Path) -> Path:
    """The recorded content as a file in the home, which nobody else may change."""
    folder = home.resolve() / PROGRAMS_FOLDER / kept.digest[:16]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / "program.py"
    if not (is_own(file) and _digest(file) == kept.digest):
        file.unlink(missing_ok=True)
        file.write_text(kept.content, encoding="utf-8")
        file.chmod(0o600)
    return file
