"""A file with secrets that only its owner can read; command lines, logs and environments have only its path."""

import json
import os
import re
import stat
import tempfile
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path

from piip_search.errors import UserError
from piip_search.own_files import check_private

SECRETS_VARIABLE = "PIIP_SEARCH_SECRETS"
"""Environment variable with the path of such a file: lines `NAME=value`, which become environment variables."""
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")


def load_secrets(environment: MutableMapping[str, str] = os.environ) -> None:
    """Adds the variables of the file that `PIIP_SEARCH_SECRETS` names; they replace variables of the same name.

    Args:
        environment: Environment with that variable, which receives the others.

    Raises:
        UserError: The file cannot be read, or others can read or change it.
    """
    if path := environment.get(SECRETS_VARIABLE):
        environment.update(read_secrets(Path(path)))


def read_secrets(path: Path) -> dict[str, str]:
    """The variables of a file with secrets.

    Raises:
        UserError: The file cannot be read, or others can read or change it.
    """
    try:
        with path.open(encoding="utf-8") as file:
            check_private(path, os.fstat(file.fileno()), "file of secrets", by_root=True)
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UserError(
            f"the file of secrets {path}, which {SECRETS_VARIABLE} names, cannot be read by {_user()}: {reason}; "
            "it must be on storage of this machine, and belong to the user who runs this process"
        ) from None
    return dict(_variable(path, number, line) for number, line in enumerate(lines, 1) if _has_content(line))


def write_secrets(path: Path, variables: Mapping[str, str]) -> None:
    """Writes variables into a file that nobody else can read; replaces an earlier one.

    Args:
        path: Path of the file; its folder is for such files alone, and becomes private too.
        variables: Variables by name.

    Raises:
        UserError: The folder belongs to somebody else, or nothing can be written.
    """
    folder = path.parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise UserError(
                f"{folder} is for secrets, and is no folder of this user; remove it, or name another --home"
            )
        folder.chmod(0o700)
        number, draft = tempfile.mkstemp(dir=folder)  # only its owner can read it
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.writelines(f"{name}={json.dumps(value)}\n" for name, value in variables.items())
            Path(draft).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(draft).unlink()
            raise
    except OSError as error:
        raise UserError(f"secrets cannot be written to {path}: {error.strerror}; name another --home") from None


def _variable(path: Path, number: int, line: str) -> tuple[str, str]:
    found = _LINE.fullmatch(line.strip())
    value: object = found[2] if found else None
    if found and found[2].startswith('"'):
        try:
            value = json.loads(found[2])
        except ValueError:
            value = None
    if found is None or not isinstance(value, str):
        raise UserError(
            f'{path}, line {number}: a line is NAME=value, or NAME="value" with the escapes of JSON; correct it'
        )
    return found[1], value


def _has_content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _user() -> str:
    return f"the user with id {os.geteuid()}"
